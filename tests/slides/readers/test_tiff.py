"""TIFF in all the forms that microscopes and other programs give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from skimage.data import immunohistochemistry

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides.readers.base import RGB, Level, Reader, open_reader
from napari_zoommil.slides.readers.shared_file import SharedFile
from napari_zoommil.slides.readers.tiff import TiffReader
from napari_zoommil.slides.readers.tiles import CACHE_BYTES, TILES

PICTURE = np.ascontiguousarray(immunohistochemistry()[:222, :301])
PLANES = PICTURE.transpose(2, 0, 1).copy()
GREY = PICTURE[..., 0].copy()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(image, name="a.tif", …)``: a TIFF by tifffile, without what tifffile adds by itself."""

    def make(image: NDArray[Any] = PICTURE, name: str = "a.tif", **options: Any) -> Path:
        guess = "rgb" if image.shape[-1] in (3, 4) else "minisblack"
        tifffile.imwrite(tmp_path / name, image, **{"photometric": guess, "metadata": None, **options})
        return tmp_path / name

    return make


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is fetched from files."""
    sizes: list[int] = []
    fetch = SharedFile.fetch

    def counted(self: SharedFile, offset: int, size: int) -> bytes:
        sizes.append(size)
        return fetch(self, offset, size)

    monkeypatch.setattr(SharedFile, "fetch", counted)
    return sizes


def whole(reader: Reader, level: int = 0) -> RGB:
    return reader.read(level, 0, 0, *reader.levels[level].shape)


def scaled(grey: NDArray[Any], white: int) -> RGB:
    return np.round(grey * (255 / white)).astype(np.uint8)[..., None].repeat(3, 2)


def refusal(path: Path) -> str:
    with pytest.raises(SlideError) as refused:
        open_reader(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path.name} ") and len(sentence.splitlines()) == 1
    return sentence


def test_files_are_told_by_content(write: Callable[..., Path], tmp_path: Path) -> None:
    for options in ({}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}):
        assert TiffReader.accepts(write(name="a.jpg", **options))
    (tmp_path / "a.tif").write_bytes(b"II")
    assert not TiffReader.accepts(tmp_path / "a.tif")
    assert not TiffReader.accepts(tmp_path / "missing.tif") and not TiffReader.accepts(tmp_path)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd", "packbits", "lzma", "webp", "png"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_flat_files(
    write: Callable[..., Path], compression: str | None, byteorder: str, bigtiff: bool
) -> None:
    lossless = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    rows = {"rowsperstrip": 50} if compression else {}
    path = write(compression=compression, byteorder=byteorder, bigtiff=bigtiff, **rows, **lossless)
    reader = open_reader(path)
    assert isinstance(reader, TiffReader) and reader.vendor == "tiff"
    assert reader.levels == (Level((222, 301), (1.0, 1.0)),)
    assert np.array_equal(whole(reader), PICTURE)
    assert reader.mpp is None and reader.objective is None and reader.damaged == 0
    if byteorder == "<" and not bigtiff:
        deep = open_reader(write(PICTURE.astype(np.uint16) * 257, compression="deflate", predictor=True))
        assert np.array_equal(whole(deep), PICTURE)


def test_a_flat_jpeg_is_what_pillow_decodes(write: Callable[..., Path]) -> None:
    path = write(compression="jpeg", rowsperstrip=64)
    assert np.array_equal(whole(open_reader(path)), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize(
    "options", [{}, {"tile": (128, 128)}, {"compression": "deflate", "rowsperstrip": 30}], ids=str
)
def test_ome_tiff_with_channels_in_planes_of_a_page(
    write: Callable[..., Path], options: dict[str, Any]
) -> None:
    metadata = {"axes": "SYX", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    reader = open_reader(
        write(PLANES, "a.ome.tif", photometric="rgb", planarconfig="separate", metadata=metadata, **options)
    )
    assert reader.vendor == "ome-tiff" and np.array_equal(whole(reader), PICTURE)
    assert reader.mpp == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64), "compression": "zstd"}], ids=str)
def test_ome_tiff_with_channels_in_pages_of_their_own(
    write: Callable[..., Path], options: dict[str, Any]
) -> None:
    metadata = {"axes": "TZCYX"}
    stack = np.stack([np.stack([PLANES, 255 - PLANES])] * 2)
    reader = open_reader(write(stack, "a.ome.tif", photometric="minisblack", metadata=metadata, **options))
    assert isinstance(reader, TiffReader) and np.array_equal(whole(reader), PICTURE), (
        "its first time and focus"
    )


@pytest.mark.parametrize("options", [{"compression": "deflate"}, {"tile": (64, 128)}], ids=str)
def test_ome_tiff_with_a_pyramid_in_subifds(tmp_path: Path, options: dict[str, Any]) -> None:
    levels = [PICTURE, PICTURE[::2, ::2], PICTURE[::5, ::5]]
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", bigtiff=True) as file:
        file.write(levels[0], subifds=2, photometric="rgb", metadata=metadata, **options)
        for level in levels[1:]:
            file.write(np.ascontiguousarray(level), subfiletype=1, photometric="rgb", **options)
        file.write(GREY, photometric="minisblack", metadata={"axes": "YX", "Name": "macro"})
    reader = open_reader(tmp_path / "a.ome.tif")
    assert [level.shape for level in reader.levels] == [(222, 301), (111, 151), (45, 61)]
    assert reader.levels[2].downsample == (222 / 45, 301 / 61)
    assert reader.mpp == (0.25, 0.25)
    for index, level in enumerate(levels):
        assert np.array_equal(whole(reader, index), level)
    assert np.array_equal(reader.read(1, 30, 40, 50, 60), levels[1][30:80, 40:100])


def test_deep_pixels_have_one_white_on_all_levels(tmp_path: Path) -> None:
    deep = np.full((256, 256), 200, np.uint16)
    deep[::4, ::4] = 4000
    means = np.asarray(deep.reshape(64, 4, 64, 4).mean((1, 3)), np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(deep, subifds=1, photometric="minisblack", compression="deflate")
        file.write(means, subfiletype=1, photometric="minisblack", compression="deflate")
    reader = open_reader(tmp_path / "a.ome.tif")
    assert np.array_equal(whole(reader, 0), scaled(deep, 4095))
    assert np.array_equal(whole(reader, 1), scaled(means, 4095))


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" NominalMagnification="40"/></Instrument>
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="301" SizeY="222"
 SizeC="3" SizeZ="1" SizeT="1" {scale}><Channel ID="Channel:0:0" SamplesPerPixel="3"/>
<TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>"""


@pytest.mark.parametrize(
    ("scale", "mpp"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.25"', (0.25, 0.5)),
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeXUnit="µm" PhysicalSizeYUnit="nm"', None),
        (
            'PhysicalSizeX="5e-4" PhysicalSizeY="5e-4" PhysicalSizeXUnit="mm" PhysicalSizeYUnit="mm"',
            (0.5, 0.5),
        ),
        (
            'PhysicalSizeX="5e-5" PhysicalSizeY="5e-7" PhysicalSizeXUnit="cm" PhysicalSizeYUnit="m"',
            (0.5, 0.5),
        ),
        ('PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeXUnit="pixel" PhysicalSizeYUnit="pixel"', None),
        ('PhysicalSizeX="0" PhysicalSizeY="-1"', None),
        ('PhysicalSizeX="NaN" PhysicalSizeY="INF"', None),
        ('PhysicalSizeX="0.5"', None),
        ("", None),
    ],
)
def test_what_ome_xml_states(write: Callable[..., Path], scale: str, mpp: tuple[float, float] | None) -> None:
    path = write(name="a.ome.tif", description=OME.format(scale=scale).encode())
    reader = open_reader(path)
    assert reader.vendor == "ome-tiff" and reader.objective == 40
    assert reader.mpp == (pytest.approx(mpp) if mpp else None)
    assert np.array_equal(whole(reader), PICTURE)


def test_ome_xml_that_is_cut_off_does_no_harm(write: Callable[..., Path]) -> None:
    reader = open_reader(write(name="a.ome.tif", description=OME[:300].encode()))
    assert reader.mpp is None and np.array_equal(whole(reader), PICTURE)


@pytest.mark.parametrize(
    ("unit", "per_unit"), [("INCH", 25_400.0), ("CENTIMETER", 10_000.0), ("MILLIMETER", 1_000.0)]
)
def test_resolution_tags(write: Callable[..., Path], unit: str, per_unit: float) -> None:
    path = write(resolution=(per_unit / 0.5, per_unit / 0.25), resolutionunit=unit)
    assert open_reader(path).mpp == pytest.approx((0.25, 0.5), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {"resolution": (1, 1), "resolutionunit": "NONE"},
        {"resolution": (0, 0), "resolutionunit": "INCH"},
    ],
    ids=str,
)
def test_what_is_no_resolution(write: Callable[..., Path], options: dict[str, Any]) -> None:
    assert open_reader(write(**options)).mpp is None


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "mm", "pixel", "cm"])
def test_units_of_imagej(write: Callable[..., Path], unit: str) -> None:
    microns = {"mm": 1e3, "cm": 1e4, "pixel": None}.get(unit, 1.0)
    counts = (2, 4) if microns is None else (2 * microns, 4 * microns)
    reader = open_reader(write(imagej=True, resolution=counts, metadata={"unit": unit}))
    assert reader.mpp == (None if microns is None else pytest.approx((0.25, 0.5)))
    assert np.array_equal(whole(reader), PICTURE)


def test_of_a_stack_of_imagej_the_first_image_is_shown(write: Callable[..., Path]) -> None:
    stack = np.stack([GREY, 255 - GREY, GREY // 2, GREY // 4, GREY // 5])
    reader = open_reader(write(stack, imagej=True, metadata={"axes": "ZYX"}))
    assert np.array_equal(whole(reader), GREY[..., None].repeat(3, 2))


@pytest.mark.parametrize("brightest", [100, 255, 256, 1000, 4095, 4096, 65535])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("options", [{}, {"tile": (64, 64), "byteorder": ">"}], ids=str)
def test_deep_pixels_are_shown_on_the_smallest_depth_that_holds_them(
    write: Callable[..., Path], brightest: int, colour: bool, options: dict[str, Any]
) -> None:
    grey = np.linspace(0, brightest, 222 * 301).round().astype(np.uint16).reshape(222, 301)
    white = 2 ** max(8, brightest.bit_length()) - 1
    image = np.stack([grey, grey // 2, grey // 3], 2) if colour else grey
    expected = np.round(image * (255 / white)).astype(np.uint8) if colour else scaled(grey, white)
    assert np.array_equal(whole(open_reader(write(image, **options))), expected)


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64)}, {"compression": "deflate"}], ids=str)
def test_one_bit(write: Callable[..., Path], options: dict[str, Any]) -> None:
    bits = GREY > 128
    expected = np.where(bits, 255, 0)[..., None].repeat(3, 2)
    assert np.array_equal(whole(open_reader(write(bits, **options))), expected)
    inverse = write(bits, photometric="miniswhite", **options)
    assert np.array_equal(whole(open_reader(inverse)), 255 - expected)


def test_grey_of_either_sense(write: Callable[..., Path]) -> None:
    grey = GREY[..., None].repeat(3, 2)
    assert np.array_equal(whole(open_reader(write(GREY))), grey)
    assert np.array_equal(whole(open_reader(write(GREY, photometric="miniswhite"))), 255 - grey)
    deep = write(GREY.astype(np.uint16) * 257, photometric="miniswhite")
    assert np.array_equal(whole(open_reader(deep)), 255 - grey)


@pytest.mark.parametrize("depth", [1, 256])
def test_palettes_of_16_and_of_8_bits(write: Callable[..., Path], depth: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    path = write(GREY, photometric="palette", colormap=colours * depth)
    assert np.array_equal(whole(open_reader(path)), colours.T[GREY])


def test_inks(write: Callable[..., Path], data: Path) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (222, 301, 4), np.uint8)
    path = write(inks, photometric="separated")
    assert np.array_equal(whole(open_reader(path)), np.asarray(Image.open(path).convert("RGB")))
    real = data / "odd" / "tiff_strip_cmyk_jpeg.tif"
    shown, expected = whole(open_reader(real)).astype(int), np.asarray(Image.open(real).convert("RGB"))
    assert np.abs(shown - expected).mean() < 1


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64)}, {"compression": "lzw"}], ids=str)
def test_alpha_is_laid_on_white(write: Callable[..., Path], options: dict[str, Any]) -> None:
    alpha = np.linspace(0, 255, 301).astype(np.uint8)[None, :, None].repeat(222, 0)
    straight = np.concatenate([PICTURE, alpha], 2)
    weighted = np.concatenate([np.round(PICTURE * (alpha / 255)).astype(np.uint8), alpha], 2)
    expected = PICTURE * (alpha / 255) + 255 - alpha
    for image, kind in ((straight, "unassalpha"), (weighted, "assocalpha")):
        shown = whole(open_reader(write(image, extrasamples=[kind], **options)))
        np.testing.assert_allclose(shown, expected, atol=1.01)


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("dtype", ["float32", "int8", "int16", "uint32", "complex64"])
def test_samples_that_are_no_brightness_are_refused(
    write: Callable[..., Path], dtype: str, tile: tuple[int, int] | None
) -> None:
    assert f"holds {dtype} samples" in refusal(write(GREY.astype(dtype), tile=tile))


def test_more_channels_than_colours_are_refused(write: Callable[..., Path]) -> None:
    five = np.zeros((222, 301, 5), np.uint8)
    assert "holds 5 channels" in refusal(write(five, planarconfig="contig"))
    for count in (2, 5):
        stack = np.zeros((count, 222, 301), np.uint8)
        sentence = refusal(write(stack, "a.ome.tif", metadata={"axes": "CYX"}))
        assert f"holds {count} channels" in sentence


def test_a_volume_is_refused(write: Callable[..., Path]) -> None:
    volume = np.zeros((32, 64, 64), np.uint8)
    assert "volume" in refusal(write(volume, photometric="minisblack", volumetric=True, tile=(16, 64, 64)))


def test_what_else_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty.tif").write_bytes(b"II*\0" + bytes(4))
    assert "empty.tif" in refusal(tmp_path / "empty.tif")
    content = write().read_bytes()
    for size in (5, 8, 20, 100, 200):
        (tmp_path / "cut.tif").write_bytes(content[:size])
        refusal(tmp_path / "cut.tif")


def test_a_strip_that_is_damaged_is_background(write: Callable[..., Path]) -> None:
    path = write(compression="deflate", rowsperstrip=40)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages.first.dataoffsets[2], file.pages.first.databytecounts[2]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = bytes(size)
    path.write_bytes(content)
    reader = open_reader(path)
    expected = PICTURE.copy()
    expected[80:120] = reader.background
    for _ in range(2):
        assert np.array_equal(whole(reader), expected) and reader.damaged == 1


def test_strips_that_were_not_written_are_background_and_no_damage(write: Callable[..., Path]) -> None:
    path = write(compression="deflate", rowsperstrip=40)
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags["StripByteCounts"]
        start, size = tag.valueoffset + 2 * tag.valuebytecount // tag.count, tag.valuebytecount // tag.count
    content = bytearray(path.read_bytes())
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    reader = open_reader(path)
    assert (reader.read(0, 80, 0, 40, 301) == 255).all() and reader.damaged == 0
    assert np.array_equal(reader.read(0, 120, 0, 102, 301), PICTURE[120:])


def test_of_a_raw_giant_only_the_rows_asked_for_are_read(tmp_path: Path, fetched: list[int]) -> None:
    """1.35 GB in one strip, most of it a hole in the file."""
    path = tmp_path / "giant.tif"
    pixels = tifffile.memmap(path, shape=(30_000, 15_000, 3), dtype="uint8", photometric="rgb", bigtiff=True)
    pixels[20_000:20_222, 7_000:7_301] = PICTURE
    pixels.flush()
    del pixels
    TILES.clear()
    reader = open_reader(path)
    assert sum(fetched) <= 8 << 20
    fetched.clear()
    assert np.array_equal(reader.read(0, 20_000, 7_000, 222, 301), PICTURE)
    assert sum(fetched) <= 222 * 45_000 + (8 << 20)
    assert TILES.nbytes <= CACHE_BYTES
    reader.close()


def test_of_a_striped_giant_only_the_strips_asked_for_are_read(
    write: Callable[..., Path], fetched: list[int]
) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3000, 400), np.uint8)
    path = write(rows, compression="deflate", rowsperstrip=100)
    reader = open_reader(path)
    fetched.clear()
    assert np.array_equal(reader.read(0, 1510, 20, 80, 30)[..., 0], rows[1510:1590, 20:50])
    assert len(fetched) == 1 and fetched[0] < path.stat().st_size / 25


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied(write: Callable[..., Path], orientation: int) -> None:
    path = write(extratags=[(274, 3, 1, orientation, True)], resolution=(20_000, 40_000), resolutionunit=3)
    reader = open_reader(path)
    shown = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.swapaxes(0, 1),
        6: PICTURE[::-1].swapaxes(0, 1),
        7: PICTURE[::-1, ::-1].swapaxes(0, 1),
        8: PICTURE[:, ::-1].swapaxes(0, 1),
    }[orientation]
    assert np.array_equal(whole(reader), shown)
    assert reader.mpp == pytest.approx((0.25, 0.5) if orientation < 5 else (0.5, 0.25))


def test_a_profile_is_found(write: Callable[..., Path]) -> None:
    assert open_reader(write(iccprofile=b"a profile")).icc == b"a profile"
    assert open_reader(write()).icc is None


def test_real_files(data: Path) -> None:
    cells = open_reader(data / "slides" / "cells.ome.tif")
    assert cells.vendor == "ome-tiff" and whole(cells).std() > 1
    kidney = data / "slides" / "kidney-48-5_ihc_flat.tif"
    assert np.array_equal(whole(open_reader(kidney)), tifffile.imread(kidney))


def test_a_closed_file_says_so(write: Callable[..., Path]) -> None:
    reader = open_reader(write())
    TILES.clear()
    reader.close()
    with pytest.raises(SlideError, match=r"^a\.tif was closed$"):
        whole(reader)


def test_an_image_that_is_not_there_is_said(write: Callable[..., Path]) -> None:
    with pytest.raises(SlideError, match=r"^a\.tif has no image 'macro'$"):
        open_reader(write()).associated_image("macro")


def test_a_codec_that_is_unknown_is_refused(write: Callable[..., Path]) -> None:
    path = write(compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["Compression"].overwrite(4711)
    with pytest.raises(UnsupportedSlideError, match=r"^a\.tif cannot be decoded"):
        open_reader(path)


def test_ome_tiff_whose_channels_lie_in_files_of_their_own(tmp_path: Path) -> None:
    names = [f"urn:uuid:00000000-0000-0000-0000-00000000000{index}" for index in range(3)]
    planes = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{c}.ome.tif">{name}</UUID></TiffData>'
        for c, name in enumerate(names)
    )
    channels = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(3))
    for c, name in enumerate(names):
        xml = OME.replace("<OME ", f'<OME UUID="{name}" ').format(scale="")
        xml = xml.replace('<TiffData IFD="0" PlaneCount="1"/>', planes)
        xml = xml.replace('<Channel ID="Channel:0:0" SamplesPerPixel="3"/>', channels)
        plane = PLANES[c]
        tifffile.imwrite(tmp_path / f"{c}.ome.tif", plane, description=xml.encode(), metadata=None)
    try:
        reader = open_reader(tmp_path / "0.ome.tif")
    except SlideError as error:
        assert "0.ome.tif" in str(error)
    else:
        assert np.array_equal(whole(reader), PICTURE)
