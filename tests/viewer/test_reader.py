"""napari's way in: what is claimed, and the layer it becomes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import Points
from napari_zoommil.errors import SlideError
from napari_zoommil.slides import Slide
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


CASES = ("slide20x.tif", "tile.tif", "pyramid-without-flag.tif", "unit-micron.ome.zarr", "anisotropic.tif")


@pytest.mark.parametrize("name", CASES)
def test_what_the_commands_take_is_taken(data: Path, name: str) -> None:
    path = str(data / "cases" / name)
    reader = get_reader(path)
    assert reader is not None
    ((levels, arguments, kind),) = reader(path)
    with Slide.open(path) as slide:
        assert kind == "image" and levels[0].shape == (*slide.shape, 3)
        assert arguments["scale"] == slide.mpp


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.csv"])
def test_other_files_open_as_ever(name: str) -> None:
    from npe2 import PluginManager

    readers = PluginManager.instance().iter_compatible_readers([name])
    assert "napari-zoommil" not in {reader.plugin_name for reader in readers}


@pytest.mark.parametrize("name", ["notes.svs", "absent.svs", "folder.zarr", "fluorescence-4.ome.tif"])
def test_what_the_commands_refuse_is_refused_with_their_sentence(
    data: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "notes.svs").write_bytes(b"not a slide")
    (tmp_path / "folder.zarr").mkdir()
    path = data / "cases" / name if name.endswith("tif") else tmp_path / name
    with pytest.raises(SlideError) as expected:
        Slide.open(path)
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(SlideError) as refused:
        reader(str(path))
    assert str(refused.value) == str(expected.value)


def test_a_stack_of_files_is_left_to_napari() -> None:
    assert get_reader(["a.svs", "b.svs"]) is None
