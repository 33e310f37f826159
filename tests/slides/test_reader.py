"""Which reader takes which file, and what is refused how."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil.errors import SlideError, UnsupportedSlideError, ZoomMILError
from napari_zoommil.slides.ome_zarr import OMEZarrReader
from napari_zoommil.slides.openslide import OpenSlideReader
from napari_zoommil.slides.reader import open_reader, plausible
from napari_zoommil.slides.slide import Slide


def test_each_format_goes_to_its_reader(data: Path, cmu: Path) -> None:
    assert isinstance(open_reader(cmu), OpenSlideReader)
    assert isinstance(open_reader(data / "slides" / "CMU-1-Small-Region_dicom"), OpenSlideReader)
    assert isinstance(open_reader(data / "slides" / "CMU-1-Small-Region.ome.zarr"), OMEZarrReader)


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


def test_odd_files_open_or_are_refused_in_one_clear_sentence(data: Path) -> None:
    outcomes = {}
    for path in sorted((data / "odd").iterdir()):
        try:
            with Slide.open(path) as slide:
                pixels = slide.read_level(len(slide.levels) - 1, 0, 0, 16, 16)
            assert pixels.shape == (16, 16, 3)
            outcomes[path.name] = "opens"
        except ZoomMILError as error:
            assert path.name in str(error) and "\n" not in str(error)
            outcomes[path.name] = "refused"
    assert outcomes["😐.svs"] == "opens"
    assert outcomes["test_orient0.tif"] == "opens"
    assert outcomes["unreadable.svs"] == outcomes["broken.svs"] == outcomes["unopenable.tiff"] == "refused"


def test_a_truncated_slide_is_refused_or_says_where_it_breaks(tmp_path: Path, cmu: Path) -> None:
    whole = cmu.read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9):
        path = tmp_path / "truncated.svs"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SlideError, match=r"truncated\.svs"), Slide.open(path) as slide:
            slide.read_level(0, 0, 0, *slide.shape)
