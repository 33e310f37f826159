"""Which image of a TIFF is the slide, which of its pages are resolutions, and what its channels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.data import immunohistochemistry

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB, open_reader

PICTURE = np.ascontiguousarray(immunohistochemistry()[:512, :384])
MACRO = np.ascontiguousarray(immunohistochemistry()[:150, :60])
TILED = {"tile": (128, 128), "photometric": "rgb"}
MICRONS = "µm"


def reduced(factor: int, image: RGB = PICTURE) -> RGB:
    return np.ascontiguousarray(image[::factor, ::factor])


def downsamples(path: Path) -> list[float]:
    with Slide.open(path) as slide:
        return [level.downsample[0] for level in slide.levels]


Write = Callable[..., Path]


@pytest.fixture
def pages(tmp_path: Path) -> Write:
    """``pages(image, …, name="a.tif", **options)``: one page after the other."""

    def write(*images: NDArray[Any], name: str = "a.tif", **options: Any) -> Path:
        with tifffile.TiffWriter(tmp_path / name) as file:
            for image in images:
                file.write(image, **{**TILED, "metadata": None, **options})
        return tmp_path / name

    return write


# Cases that users of other tools met


def test_channels_of_fluorescence_are_no_colours(data: Path) -> None:
    with pytest.raises(UnsupportedSlideError, match=r"4 channels \(DAPI, CD3, CD8, PanCK\), .* not colours"):
        Slide.open(data / "cases" / "fluorescence-4.ome.tif")


def test_the_largest_image_is_the_slide(data: Path) -> None:
    with Slide.open(data / "cases" / "macro-first.ome.tif") as slide:
        assert (slide.shape, slide.mpp, len(slide.levels)) == ((512, 640), (0.25, 0.25), 2)
        assert slide.associated == ("macro",) and slide.associated_image("macro").shape == (150, 60, 3)


@pytest.mark.parametrize("name", ["tiled-millimeter.tif", "strips-millimeter.tif"])
def test_millimetres_count_in_every_reader(data: Path, name: str) -> None:
    with Slide.open(data / "cases" / name) as slide:
        assert slide.mpp == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("name", ["pyramid-without-flag.tif", "pyramid-in-subifds.tif"])
def test_all_resolutions_are_found(data: Path, name: str) -> None:
    assert downsamples(data / "cases" / name) == [1, 2, 4]
    with Slide.open(data / "cases" / name) as slide:
        coarse = slide.read_level(2, 0, 0, 128, 160).astype(float)
        fine = slide.read_level(0, 0, 0, 512, 640).reshape(128, 4, 160, 4, 3).mean((1, 3))
    assert np.abs(coarse - fine).mean() < 6


# Resolutions


@pytest.mark.parametrize("options", [{}, {"metadata": {}}, {"tile": None, "compression": "deflate"}], ids=str)
@pytest.mark.parametrize("factors", [(2, 4), (4, 16), (3, 9), (2, 8, 16)], ids=str)
def test_resolutions_without_a_flag(pages: Write, factors: Sequence[int], options: dict[str, Any]) -> None:
    path = pages(PICTURE, *map(reduced, factors), **options)
    assert downsamples(path) == pytest.approx([1, *factors], rel=0.02)
    reader = open_reader(path)
    for level, factor in enumerate((1, *factors)):
        assert np.array_equal(reader.read(level, 0, 0, *reader.levels[level].shape), reduced(factor))


@pytest.mark.parametrize("ome", [False, True])
@pytest.mark.parametrize("options", [{}, {"tile": None, "compression": "deflate"}], ids=str)
def test_several_resolutions_in_subifds(tmp_path: Path, ome: bool, options: dict[str, Any]) -> None:
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    with tifffile.TiffWriter(path, ome=ome) as file:
        file.write(PICTURE, subifds=4, **{**TILED, **options})
        for factor in (2, 4, 8, 16):
            file.write(reduced(factor), **{**TILED, **options})
    assert downsamples(path) == [1, 2, 4, 8, 16]


def test_a_page_that_is_no_reduction_is_no_level(pages: Write) -> None:
    assert downsamples(pages(PICTURE, MACRO, reduced(2))) == [1, 2]
    label = np.ascontiguousarray(PICTURE[:100, :75])  # of the same proportions, by no whole factor
    assert downsamples(pages(PICTURE, label)) == [1]


@pytest.mark.parametrize("text", ["Label image", "label_image", "slide|MACRO"])
@pytest.mark.parametrize("flag", [0, 1])
def test_a_page_that_is_called_a_label_is_no_level(tmp_path: Path, text: str, flag: int) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(PICTURE, metadata=None, **TILED)
        file.write(
            reduced(4),
            metadata=None,
            description=text,
            subfiletype=flag,
            photometric="rgb",
            compression="zlib",
        )
    assert downsamples(path) == [1]


@pytest.mark.parametrize("text", ["macrophage study, unlabelled", "label image"])
@pytest.mark.parametrize("options", [{"subfiletype": 1}, {}], ids=["flag", "no flag"])
def test_how_a_level_is_stored_tells_more_than_its_text(
    tmp_path: Path, text: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(PICTURE, metadata=None, **TILED)
        for factor in (2, 4):
            file.write(reduced(factor), metadata=None, description=text, **options, **TILED)
    assert downsamples(path) == [1, 2, 4]


def test_a_text_that_the_slide_has_too_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    strips = {"photometric": "rgb", "metadata": None, "description": "overview of a label study"}
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 2, 4):
            file.write(reduced(factor), compression="zlib", **strips)
    assert downsamples(path) == [1, 2, 4]


@pytest.mark.parametrize("tiled", [True, False])
def test_a_page_of_another_picture_is_no_level(tmp_path: Path, tiled: bool) -> None:
    square = np.ascontiguousarray(immunohistochemistry()[:512, :512])
    stored = {**TILED, "metadata": None} if tiled else {"photometric": "rgb", "metadata": None}
    for other in (np.zeros((256, 256, 3), np.uint8), np.ascontiguousarray(square[::-2, ::2])):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as file:
            file.write(square, **stored)
            file.write(other, **stored)
        assert downsamples(path) == [1]


PADDED = ((384, 768), (256, 384), (128, 256))
"""Of 738×1500 px at factors of 2, 4 and 8, in whole tiles of 128 px."""


@pytest.mark.parametrize("subifds", [False, True])
@pytest.mark.parametrize("ome", [False, True])
def test_levels_may_be_padded_to_whole_tiles(tmp_path: Path, subifds: bool, ome: bool) -> None:
    full = np.tile(PICTURE, (2, 4, 1))[:738, :1500]
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    with tifffile.TiffWriter(path, ome=ome) as file:
        file.write(np.ascontiguousarray(full), subifds=3 if subifds or ome else None, **TILED)
        for number, (height, width) in enumerate(PADDED, 1):
            level = np.full((height, width, 3), 255, np.uint8)
            small = full[:: 2**number, :: 2**number]
            level[: small.shape[0], : small.shape[1]] = small
            file.write(level, subfiletype=1, metadata=None, **TILED)
    with Slide.open(path) as slide:
        assert tuple(level.shape for level in slide.levels) == ((738, 1500), *PADDED)
        assert [level.downsample for level in slide.levels] == [(one, one) for one in (1, 2, 4, 8)]
        fine, coarse = slide.read_level(0, 696, 1392, 16, 96), slide.read_level(2, 174, 348, 4, 24)
    assert np.array_equal(fine[::4, ::4], coarse), "far from the corner too"


def test_levels_of_which_the_file_speaks_are_kept_whatever_their_extents(tmp_path: Path) -> None:
    """As of TIFFs of CAMELYON16, whose coarse levels OpenSlide opens in spite of their padding."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for height, width in ((6144, 3056), (3072, 1536), (1536, 768)):
            level = np.full((height, width, 3), 230, np.uint8)
            flag = int(height < 6144)
            file.write(level, subfiletype=flag, metadata=None, compression="jpeg", tile=(512, 512))
    with Slide.open(path) as slide:
        assert [level.shape for level in slide.levels] == [(6144, 3056), (3072, 1536), (1536, 768)]
        assert [level.downsample for level in slide.levels] == [(1, 1), (2, 2), (4, 4)]


def test_a_page_of_its_own_scale_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image, per_cm in ((PICTURE, 40_000), (reduced(4), 500)):
            scale = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            file.write(image, metadata=None, **scale, **TILED)
    assert downsamples(path) == [1]


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("macro_first", [True, False])
def test_the_macro_may_come_first_or_last(tmp_path: Path, name: str, macro_first: bool) -> None:
    with tifffile.TiffWriter(tmp_path / name, ome="ome" in name) as file:
        images = [("label", MACRO, 16.0), ("slide", PICTURE, 0.25)]
        for title, image, mpp in images if macro_first else images[::-1]:
            scale = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            tags = {"resolution": (1e4 / mpp,) * 2, "resolutionunit": "CENTIMETER"}
            file.write(image, metadata={"Name": title, "axes": "YXS", **scale}, **tags, **TILED)
    with Slide.open(tmp_path / name) as slide:
        assert slide.shape == (512, 384) and slide.mpp == pytest.approx((0.25, 0.25))
        assert np.array_equal(slide.read_level(0, 0, 0, 512, 384), PICTURE)
        (other,) = slide.associated
        assert np.array_equal(slide.associated_image(other), MACRO)
        assert "ome" not in name or other == "label"


def test_the_objective_is_that_of_the_slide(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for image in (MACRO, PICTURE):
            file.write(image, **TILED)
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata or ""
    lens = '<Instrument ID="I"><Objective ID="A" NominalMagnification="1"/>'
    lens += '<Objective ID="B" NominalMagnification="20"/></Instrument>'
    xml = xml.replace("<Image ", f"{lens}<Image ", 1)
    for at, which in ((0, "A"), (1, "B")):
        xml = xml.replace(
            f'<Pixels ID="Pixels:{at}"', f'<ObjectiveSettings ID="{which}"/><Pixels ID="Pixels:{at}"'
        )
    tifffile.tiffcomment(path, xml.encode())
    assert open_reader(path).objective == 20


# Channels


def fluorescence(path: Path, count: int, **metadata: Any) -> Path:
    stack = np.stack([PICTURE[..., 0] // (at + 1) for at in range(count)])
    tifffile.imwrite(
        path, stack, photometric="minisblack", metadata={"axes": "CYX", **metadata}, tile=(128, 128)
    )
    return path


@pytest.mark.parametrize("names", [["DAPI", "FITC", "Cy5"], ["DAPI", "CD3", "CD8", "PanCK"], ["A", "B"]])
def test_named_channels_are_refused_with_their_names(tmp_path: Path, names: list[str]) -> None:
    path = fluorescence(tmp_path / "a.ome.tif", len(names), Channel={"Name": names})
    with pytest.raises(SlideError, match=rf"^a\.ome\.tif holds {len(names)} channels \({', '.join(names)}\)"):
        open_reader(path)


def test_channels_in_one_page_are_refused_by_their_names_too(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, planes, photometric="minisblack", planarconfig="separate", metadata={"axes": "SYX"}
    )
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata or ""
    one = '<Channel ID="Channel:0:0" SamplesPerPixel="3"><LightPath/></Channel>'
    assert one in xml
    names = enumerate(("DAPI", "FITC", "Cy5"))
    several = "".join(f'<Channel ID="Channel:0:{at}" Name="{name}"/>' for at, name in names)
    tifffile.tiffcomment(path, xml.replace(one, several).encode())
    with pytest.raises(SlideError, match="DAPI, FITC, Cy5"):
        open_reader(path)


def test_fluorescence_without_names_is_told_by_its_colours(tmp_path: Path) -> None:
    colours = [0x0000FFFF, 0x00FF00FF, -0x00FFFF01]  # blue, green and red
    with pytest.raises(SlideError, match="3 channels, which are not colours"):
        open_reader(fluorescence(tmp_path / "a.ome.tif", 3, Channel={"Color": colours}))
    waves = [461, 519, 670]
    with pytest.raises(SlideError, match="3 channels, which are not colours"):
        open_reader(fluorescence(tmp_path / "b.ome.tif", 3, Channel={"EmissionWavelength": waves}))


@pytest.mark.parametrize("names", [None, ["Red", "Green", "Blue"], ["Channel 0", "Channel 1", "Channel 2"]])
def test_three_channels_of_colour_are_shown(tmp_path: Path, names: list[str] | None) -> None:
    named = {"Channel": {"Name": names}} if names else {}
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX", **named})
    reader = open_reader(path)
    assert np.array_equal(reader.read(0, 0, 0, 512, 384), PICTURE)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("tile", [None, (128, 128)])
def test_a_fourth_sample_is_opacity_only_by_the_files_word(
    tmp_path: Path, photometric: str, tile: tuple[int, int] | None
) -> None:
    four = np.concatenate([PICTURE, np.zeros((512, 384, 1), np.uint8)], 2)
    stored = {"photometric": photometric, "planarconfig": "contig", "tile": tile, "metadata": None}
    extras = ["unspecified"] * (1 if photometric == "rgb" else 3)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, four, extrasamples=extras, **stored)
    if photometric == "rgb":
        assert np.array_equal(open_reader(path).read(0, 0, 0, 512, 384), PICTURE)
        tifffile.imwrite(path, four, extrasamples=["unassalpha"], **stored)
        assert (open_reader(path).read(0, 0, 0, 512, 384) == 255).all()
    else:
        with pytest.raises(SlideError, match="holds 4 channels, which are not colours"):
            open_reader(path)


# Bounds


def test_another_image_that_is_too_large_to_be_read_whole_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_zoommil.slides.readers.tiff_images.OTHER_PIXELS", 100 * 100)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, image in (("slide", PICTURE), ("scene", PICTURE[:200]), ("label", PICTURE[:80, :80])):
            file.write(np.ascontiguousarray(image), metadata={"Name": name, "axes": "YXS"}, **TILED)
    assert open_reader(path).associated == ("label",)


def test_a_file_of_very_many_pages_is_refused_at_once(pages: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_zoommil.slides.readers.shared_file.MOST_PAGES", 20)
    for options in ({}, {"bigtiff": True}):
        path = pages(*([MACRO[:16, :16]] * 21), tile=None, **options) if not options else _big(pages)
        with pytest.raises(SlideError, match=r"^a\.tif has more than 20 pages"):
            open_reader(path)
    assert open_reader(pages(*([MACRO[:16, :16]] * 20), tile=None)).levels[0].shape == (16, 16)


def _big(pages: Write) -> Path:
    path = pages(MACRO)
    with tifffile.TiffWriter(path, bigtiff=True, byteorder=">") as file:
        for _ in range(21):
            file.write(MACRO, metadata=None, photometric="rgb")
    return path
