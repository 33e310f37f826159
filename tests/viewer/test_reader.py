"""napari's way in: what is claimed, and the layer it becomes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_zoommil.annotations import Points
from napari_zoommil.viewer.reader import get_reader


def test_a_slide_becomes_one_multiscale_layer_in_micrometres(make_napari_viewer, cmu: Path) -> None:
    viewer = make_napari_viewer()
    viewer.open(str(cmu), plugin="napari-zoommil")
    (layer,) = viewer.layers
    assert layer.multiscale and layer.rgb
    assert layer.name == "CMU-1-Small-Region"
    np.testing.assert_allclose(layer.scale, (0.499, 0.499))
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_annotations_come_with_a_slide_without_any_dock(make_napari_viewer, small_slide, tmp_path) -> None:
    path = Path(shutil.copy(small_slide, tmp_path / "small.tif"))
    points = Points("them")
    points.add([(300, 300), (400, 500)], points.add_class("tumour"))
    points.write(path.with_name("small.points.geojson"))
    viewer = make_napari_viewer()
    viewer.open(str(path), plugin="napari-zoommil")
    assert [layer.name for layer in viewer.layers] == ["small", "small · regions", "small · points"]
    assert len(viewer.layers[-1].data) == 2 and not viewer.window.dock_widgets


def test_a_pyramidal_tiff_is_claimed(small_slide: Path) -> None:
    assert get_reader(str(small_slide)) is not None


def test_a_plain_tiff_is_left_to_napari(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((300, 300, 3), np.uint8), tile=(128, 128))
    assert get_reader(str(path)) is None


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.csv"])
def test_other_files_open_as_ever(name: str) -> None:
    from npe2 import PluginManager

    readers = PluginManager.instance().iter_compatible_readers([name])
    assert "napari-zoommil" not in {reader.plugin_name for reader in readers}


@pytest.mark.parametrize("name", ["notes.txt", "picture.png", "absent.svs"])
def test_what_is_no_slide_is_not_claimed(tmp_path: Path, name: str) -> None:
    if name != "absent.svs":
        (tmp_path / name).write_bytes(b"not a slide")
    assert get_reader(str(tmp_path / name)) is None


def test_folders_are_told_apart(data: Path, tmp_path: Path) -> None:
    assert get_reader(str(data / "slides" / "CMU-1-Small-Region_dicom")) is not None
    assert get_reader(str(data / "slides" / "CMU-1-Small-Region.ome.zarr")) is not None
    assert get_reader(str(tmp_path)) is None
