"""Which reader takes which file, and what is refused how."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides.readers.accelerated import FastReader
from napari_zoommil.slides.readers.base import open_reader, plausible, slide_format
from napari_zoommil.slides.readers.image import ImageReader
from napari_zoommil.slides.readers.ome_zarr import OMEZarrReader
from napari_zoommil.slides.readers.openslide import OpenSlideReader
from napari_zoommil.slides.readers.orientation import OrientedReader
from napari_zoommil.slides.readers.tiff import TiffReader
from napari_zoommil.slides.slide import Slide


def test_each_format_goes_to_its_reader(data: Path) -> None:
    slides = data / "slides"
    expected = {
        "CMU-1-Small-Region.svs": FastReader,
        "yb10kx5k.zstd.tiff": FastReader,
        "CMU-1-Small-Region_dicom": OpenSlideReader,
        "CMU-1-Small-Region.ome.zarr": OMEZarrReader,
        "cells.ome.tif": TiffReader,
        "kidney-48-5_ihc_flat.tif": TiffReader,
        "../odd/truncated.jpg": ImageReader,
        "../odd/test_orient2.tif": OrientedReader,
    }
    for name, kind in expected.items():
        assert isinstance(open_reader(slides / name), kind), name


@pytest.mark.parametrize(
    ("mpp", "expected"),
    [
        ((0.5, 0.25), (0.5, 0.25)),
        ((25.4e3 / 72,) * 2, None),
        ((0.5, 353.0), None),
        ((1e-3, 1e-3), None),
        ((0.0, 0.0), None),
        ((float("nan"), 0.5), None),
        (None, None),
    ],
)
def test_a_printing_density_is_no_resolution(mpp, expected) -> None:
    assert plausible(mpp) == expected


@pytest.mark.parametrize("name", ["missing.svs", "no/such/folder.svs", "x" * 300 + ".svs", "~x.svs"])
def test_a_missing_slide_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlideError, match="there is no slide at"):
        Slide.open(tmp_path / name if name[0] != "~" else name)


def test_a_slide_that_goes_while_readers_look_at_it_is_missing(
    tmp_path: Path, cmu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(cmu, tmp_path))

    def gone(_path: Path) -> list[object]:
        path.unlink()
        return []

    monkeypatch.setattr("napari_zoommil.slides.readers.base._readers_for", gone)
    with pytest.raises(SlideError, match="there is no slide at"):
        open_reader(path)


def test_text_and_empty_files_are_refused_by_name(tmp_path: Path) -> None:
    for content in ("not a slide", ""):
        path = tmp_path / "report.svs"
        path.write_text(content)
        with pytest.raises(UnsupportedSlideError, match=r"report\.svs is not a slide"):
            Slide.open(path)


def test_a_folder_is_no_slide_even_if_slides_lie_in_it(tmp_path: Path, data: Path) -> None:
    for folder in (tmp_path, data / "slides", data / "odd"):
        with pytest.raises(UnsupportedSlideError, match=folder.name):
            Slide.open(folder)


def test_a_truncated_slide_is_refused_or_its_damage_counted(tmp_path: Path, cmu: Path) -> None:
    whole = cmu.read_bytes()
    outcomes = []
    with Slide.open(cmu) as slide:
        sound = slide.read_level(0, 0, 0, *slide.shape)
    for share in (0.001, 0.1, 0.5, 0.9):
        path = tmp_path / "truncated.svs"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            with Slide.open(path) as slide:
                pixels = slide.read_level(0, 0, 0, *slide.shape)
                outcomes.append(slide.damaged > 0 or np.array_equal(pixels, sound))
        except SlideError as error:
            outcomes.append("truncated.svs" in str(error))
    assert all(outcomes)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.svs")
    for path in (tmp_path / "fifo.svs", Path("/dev/zero")):
        with pytest.raises(SlideError, match=rf"^{path.name} is a pipe, a socket or a device; give a file$"):
            open_reader(path)
        assert not slide_format(path)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, cmu: Path) -> None:
    path = Path(shutil.copy(cmu, tmp_path / "a.svs"))
    path.chmod(0)
    with pytest.raises(SlideError, match=r"^a\.svs cannot be read \(Permission denied\)"):
        open_reader(path)
