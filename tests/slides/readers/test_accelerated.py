"""Tiles decoded past OpenSlide: its pixels, its holes, and its verdict on damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import immunohistochemistry

from napari_zoommil.errors import SlideError
from napari_zoommil.slides.readers.accelerated import FastReader
from napari_zoommil.slides.readers.base import RGB, Level, Reader, open_reader, shrunken
from napari_zoommil.slides.readers.openslide import OpenSlideReader
from napari_zoommil.slides.readers.tiles import TILES

SHRINKS = (1, 2, 4, 8)
APERIO = "Aperio Image Library v10.0.50\r\n400x333 (128x128) J2K/KDU Q=70|AppMag = 20|MPP = 0.4990"


@cache
def tissue(height: int = 333, width: int = 400) -> RGB:
    return np.ascontiguousarray(immunohistochemistry()[:height, :width])


@pytest.fixture(autouse=True)
def _nothing_decoded_yet() -> None:
    TILES.clear()


def whole(reader: Reader | OpenSlideReader, level: int = 0, shrink: int = 1) -> RGB:
    return reader.read(level, 0, 0, *shrunken(reader.levels[level].shape, shrink), shrink)


def largest_difference(path: Path) -> int:
    """Between the fast reader, which must be one, and OpenSlide, over every pixel of every level."""
    fast, slow = FastReader.open(path), OpenSlideReader(path)
    assert isinstance(fast, FastReader)
    assert (fast.levels, fast.mpp, fast.vendor) == (slow.levels, slow.mpp, slow.vendor)
    differences = []
    for level, (height, width) in enumerate(level.shape for level in fast.levels):
        for y in range(0, height, 2000):  # OpenSlide gives four bytes for each pixel
            window = level, y, 0, min(2000, height - y), width
            one, other = fast.read(*window).astype(np.int16), slow.read(*window)
            differences.append(int(np.abs(one - other).max()))
    assert fast.damaged == slow.damaged == 0
    fast.close()
    slow.close()
    return max(differences)


def test_every_tile_of_a_real_slide_is_openslides(cmu: Path) -> None:
    assert largest_difference(cmu) == 0


def test_every_level_of_a_real_pyramid_is_openslides(data: Path) -> None:
    fast, slow = (kind(data / "slides" / "yb10kx5k.zstd.tiff") for kind in (FastReader.open, OpenSlideReader))
    assert isinstance(fast, FastReader) and len(fast.levels) == 5
    for level, (height, width) in enumerate(level.shape for level in fast.levels):
        for y in range(0, height, 1700):  # bands of odd extent: every column, a third of the rows of level 0
            window = level, y, 0, min(600 if level == 0 else 1700, height - y), width
            assert np.array_equal(fast.read(*window), slow.read(*window)), window


def test_odd_files_that_openslide_opens_show_the_same(data: Path) -> None:
    seen = []
    for path in sorted((data / "odd").iterdir()):
        if openslide.OpenSlide.detect_format(path) is None:
            continue
        try:
            fast, slow = FastReader.open(path), OpenSlideReader(path)
        except SlideError as error:
            assert path.name in str(error)
            continue
        seen.append(path.name)
        if isinstance(fast, FastReader) and path.name != "small_la.tiff":  # grey with alpha it does not see
            for level in range(len(slow.levels)):
                assert np.array_equal(whole(fast, level), whole(slow, level)), path.name
    assert "😐.svs" in seen


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(tile=…, compression=…)``: a tiled TIFF of tissue."""

    def make(image: RGB | None = None, name: str = "a.tif", **options: Any) -> Path:
        options = {"photometric": "rgb", "tile": (128, 128), "metadata": None, **options}
        tifffile.imwrite(tmp_path / name, tissue() if image is None else image, **options)
        return tmp_path / name

    return make


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)])
@pytest.mark.parametrize("quality", [40, 75, 100])
def test_jpeg_in_ycbcr(write: Callable[..., Path], subsampling: tuple[int, int], quality: int) -> None:
    stated = subsampling if subsampling != (1, 2) else (1, 1)  # the stream says what it is
    streams = jpegs(tissue(), 128, quality, subsampling)
    path = write_streams(write, streams, photometric="ycbcr", subsampling=stated)
    assert largest_difference(path) == 0


def jpegs(image: RGB, edge: int, quality: int, subsampling: tuple[int, int], **options: Any) -> list[bytes]:
    return [
        bytes(imagecodecs.jpeg8_encode(tile, level=quality, subsampling=subsampling, **options))
        for tile in tiles_of(image, edge)
    ]


def tiles_of(image: RGB, edge: int) -> Iterator[RGB]:
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % edge), (0, -width % edge), (0, 0)), mode="edge")
    for y in range(0, height, edge):
        for x in range(0, width, edge):
            yield np.ascontiguousarray(padded[y : y + edge, x : x + edge])


def write_streams(write: Callable[..., Path], streams: Iterable[bytes], **options: Any) -> Path:
    options = {"compression": "jpeg", "shape": tissue().shape, "dtype": np.uint8, **options}
    return write(iter(streams), **options)


def split(stream: bytes) -> tuple[bytes, bytes, bytes]:
    """The tables of a JPEG, its other markers without JFIF's and Adobe's, and its scan."""
    tables, frame, at = b"", b"", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        elif stream[at + 1] not in (0xE0, 0xEE):
            frame += stream[at:end]
        at = end
    return tables, frame, stream[at:]


JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
ADOBE_YCBCR, ADOBE_RGB = (b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + last for last in (b"\1", b"\0"))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("shared_tables", [False, True])
@pytest.mark.parametrize("marks", [b"", JFIF, ADOBE_RGB, ADOBE_YCBCR, JFIF + ADOBE_RGB], ids=len)
def test_the_colour_space_is_the_tiffs_whatever_the_streams_say(
    write: Callable[..., Path], photometric: str, shared_tables: bool, marks: bytes
) -> None:
    stored = {"colorspace": "RGB", "outcolorspace": "RGB" if photometric == "rgb" else "YCBCR"}
    streams, shared = [], b""
    for stream in jpegs(tissue(), 128, 80, (1, 1), **stored):
        tables, frame, scan = split(stream)
        shared = b"\xff\xd8" + tables + b"\xff\xd9"
        streams.append(b"\xff\xd8" + marks + (b"" if shared_tables else tables) + frame + scan)
    tags = [(347, 7, len(shared), shared, True)] if shared_tables else []
    in_rgb = {"compressionargs": {"outcolorspace": "rgb"}}
    form = {"subsampling": (1, 1)} if photometric == "ycbcr" else in_rgb
    path = write_streams(write, streams, photometric=photometric, extratags=tags, **form)
    with tifffile.TiffFile(path) as file:
        assert tifffile.PHOTOMETRIC(file.pages.first.photometric).name.lower() == photometric
    assert largest_difference(path) == 0
    assert np.abs(whole(FastReader.open(path)).astype(int) - tissue()).mean() < 5


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "deflate"},
        {"compression": "deflate", "predictor": True},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"compression": None},
        {"compression": None, "bigtiff": True},
        {"compression": "jpeg", "bigtiff": True},
        {"compression": "deflate", "tile": (16, 272)},
        {"compression": "jpeg", "tile": (272, 48)},
    ],
    ids=str,
)
def test_compressions_and_tiles(write: Callable[..., Path], options: dict[str, Any]) -> None:
    path = write(**options)
    assert largest_difference(path) == 0
    if options["compression"] != "jpeg":
        assert np.array_equal(whole(FastReader.open(path)), tissue())


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("compression", ["deflate", "jpeg", None])
def test_grey(write: Callable[..., Path], photometric: str, compression: str | None) -> None:
    if (photometric, compression) != ("miniswhite", "jpeg"):
        assert (
            largest_difference(write(tissue()[..., 0], photometric=photometric, compression=compression)) == 0
        )


def test_planes_palettes_alpha_and_inks(write: Callable[..., Path]) -> None:
    planes = np.ascontiguousarray(tissue().transpose(2, 0, 1))
    assert largest_difference(write(planes, planarconfig="separate", compression="deflate")) == 0
    palette = np.random.default_rng(0).integers(0, 1 << 16, (3, 256), np.uint16)
    assert largest_difference(write(tissue()[..., 0], photometric="palette", colormap=palette)) == 0
    opacity = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(333, 0)
    straight = np.concatenate([tissue(), opacity], 2)
    weighted = np.concatenate([(tissue() * (opacity / 255)).astype(np.uint8), opacity], 2)
    assert largest_difference(write(straight, extrasamples=["unassalpha"])) <= 1
    assert largest_difference(write(weighted, extrasamples=["assocalpha"])) <= 1
    assert largest_difference(write(straight, photometric="separated")) <= 1


@pytest.mark.parametrize(("photometric", "subsampling"), [("rgb", 1), ("ycbcr", 1), ("ycbcr", 2)])
@pytest.mark.parametrize(("compression", "mode"), [(33003, "YCbCr"), (33005, "RGB")])
def test_the_compression_names_the_colours_of_jpeg_2000(
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    photometric: str,
    subsampling: int,
    compression: int,
    mode: str,
) -> None:
    monkeypatch.setattr(FastReader, "_rescued", lambda *_: pytest.fail("asked OpenSlide"))
    stored = np.asarray(Image.fromarray(tissue()).convert(mode))
    streams = [
        bytes(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=0, mct=False))
        for tile in tiles_of(stored, 128)
    ]
    options = {"photometric": photometric, "description": APERIO, "subsampling": (subsampling,) * 2}
    path = write_streams(write, streams, name="a.svs", compression="jpeg2000", **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["Compression"].overwrite(compression)
    assert largest_difference(path) == 0
    reader = FastReader.open(path)
    assert reader.vendor == "aperio" and reader.mpp == (0.499, 0.499)
    assert np.abs(whole(reader).astype(int) - tissue()).max() <= (0 if mode == "RGB" else 3)


def test_tiles_whose_edge_is_no_multiple_of_8(write: Callable[..., Path]) -> None:
    streams = jpegs(tissue(), 100, 80, (2, 2))
    shape = (-(-333 // 100) * 128, -(-400 // 100) * 128, 3)  # so that as many tiles are asked for
    path = write_streams(write, streams, photometric="ycbcr", subsampling=(2, 2), shape=shape)
    stated = {"TileWidth": 100, "TileLength": 100, "ImageWidth": 400, "ImageLength": 333}
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in stated.items():
            file.pages.first.tags[name].overwrite(value)
    assert largest_difference(path) == 0
    assert FastReader.open(path).shrinks == (1, 2, 4)


def forget_tiles(path: Path, page: int, *indices: int) -> None:
    """Sets byte counts to 0: these tiles were not scanned."""
    with tifffile.TiffFile(path) as file:
        described = file.pages[page]
        assert isinstance(described, tifffile.TiffPage)
        tag = described.tags["TileByteCounts"]
        size, start = {3: 2, 4: 4}[int(tag.dtype)], tag.valueoffset
    with path.open("r+b") as handle:
        for index in indices:
            handle.seek(start + index * size)
            handle.write(bytes(size))


@pytest.fixture
def pyramid(tmp_path: Path) -> Callable[..., Path]:
    """``pyramid("a.svs", 1, 2)``: levels of tissue at whole downsamples, 1024×768 px in JPEG tiles."""

    def make(name: str, *factors: int, **options: Any) -> Path:
        image = np.tile(immunohistochemistry(), (2, 2, 1))[:1024, :768]
        aperio: dict[str, Any] = {"description": APERIO} if name.endswith("svs") else {}
        with tifffile.TiffWriter(tmp_path / name) as file:
            for factor in factors:
                pixels = np.asarray(Image.fromarray(image).reduce(factor))
                options = {"photometric": "rgb", "compression": "jpeg", **options}
                reduced: dict[str, Any] = {"subfiletype": int(factor > 1), "metadata": None}
                file.write(pixels, tile=(128, 128), **reduced, **options, **aperio)
        return tmp_path / name

    return make


def test_tiles_that_were_not_scanned_are_as_openslide_fills_them(pyramid: Callable[..., Path]) -> None:
    path = pyramid("a.tif", 1, 2)
    forget_tiles(path, 0, 9, 47)
    forget_tiles(path, 1, 5)
    assert largest_difference(path) == 0
    reader = FastReader.open(path)
    assert (whole(reader)[128:256, 384:512] == 255).all()
    for shrink in SHRINKS[1:]:
        hole = reader.read(0, 128 // shrink, 384 // shrink, 128 // shrink, 128 // shrink, shrink)
        assert (hole == 255).all()
    assert reader.damaged == 0


def test_what_a_coarse_level_of_aperio_lacks_is_made_of_a_finer_one(pyramid: Callable[..., Path]) -> None:
    path = pyramid("a.svs", 1, 2)
    sound = whole(FastReader.open(path), 1)
    forget_tiles(path, 1, 5)
    reader = FastReader.open(path)
    shown = whole(reader, 1)
    assert np.array_equal(shown, whole(OpenSlideReader(path), 1))
    assert np.abs(shown.astype(int) - sound).mean() < 5 and reader.damaged == 0


def test_coarse_tiles_of_aperio_over_missing_ones_are_as_openslide_has_them(
    pyramid: Callable[..., Path],
) -> None:
    path = pyramid("a.svs", 1, 2)
    forget_tiles(path, 0, 9, 47)
    reader, slow = FastReader.open(path), OpenSlideReader(path)
    assert np.array_equal(whole(reader), whole(slow))
    assert np.array_equal(whole(reader, 1), whole(slow, 1))


@pytest.fixture
def damaged(tmp_path: Path, cmu: Path) -> Path:
    """A slide whose tile in row 3, column 4 is zeroed; tiles are of 240 px."""
    path = tmp_path / "damaged.svs"
    shutil.copyfile(cmu, path)
    overwrite(path, 3 * 10 + 4, bytes)
    return path


def overwrite(path: Path, index: int, change: Callable[[Any], bytes]) -> None:
    """Replaces ``n`` bytes of a tile by ``change(n)``."""
    with tifffile.TiffFile(path) as file:
        offset, size = (
            places[index] for places in (file.pages.first.dataoffsets, file.pages.first.databytecounts)
        )
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(change(size))


def test_a_damaged_tile_is_background_at_every_shrink_and_counts_once(damaged: Path, cmu: Path) -> None:
    reader, sound = FastReader.open(damaged), FastReader.open(cmu)
    reads = [(shrink, place) for shrink in reader.shrinks for place in ((700, 900), (760, 1000), (0, 0))] * 2

    def compare(read: tuple[int, tuple[int, int]]) -> bool:
        shrink, (y, x) = read
        window = y // shrink, x // shrink, 320 // shrink, 350 // shrink
        shown, expected = reader.read(0, *window, shrink), sound.read(0, *window, shrink).copy()
        top, left = 720 // shrink - window[0], 960 // shrink - window[1]
        rows, columns = slice(max(top, 0), top + 240 // shrink), slice(max(left, 0), left + 240 // shrink)
        if y:
            expected[rows, columns] = reader.background
        return np.array_equal(shown, expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compare, reads))
    assert reader.shrinks == SHRINKS and reader.damaged == 1 and sound.damaged == 0


def test_a_second_handle_knows_of_damage_that_the_first_has_seen(damaged: Path) -> None:
    first, second = FastReader.open(damaged), FastReader.open(damaged)
    first.read(0, 720, 960, 10, 10)
    second.read(0, 720, 960, 10, 10)
    assert first.damaged == second.damaged == 1


def test_openslide_is_asked_where_the_decoder_is_stricter(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros before the end marker are no pixels: libjpeg warns of them, and OpenSlide does not mind."""
    streams = jpegs(tissue(), 128, 80, (1, 1))
    sound = write_streams(write, streams, name="sound.tif", photometric="ycbcr", subsampling=(1, 1))
    streams[5] = streams[5][:-2] + bytes(40) + streams[5][-2:]
    path = write_streams(write, streams, photometric="ycbcr", subsampling=(1, 1))
    asked: list[tuple[int, ...]] = []
    read = OpenSlideReader.read_strictly

    def counted(self: OpenSlideReader, *window: int) -> RGB:
        asked.append(window)
        return read(self, *window)

    monkeypatch.setattr(OpenSlideReader, "read_strictly", counted)
    reader = FastReader.open(path)
    expected = whole(FastReader.open(sound))
    assert np.array_equal(whole(reader), expected)
    assert asked == [(0, 128, 128, 128, 128)] and reader.damaged == 0
    quarter = reader.read(0, 64, 64, 64, 64, 2)
    means = np.asarray(Image.fromarray(expected[128:256, 128:256]).reduce(2))
    assert np.array_equal(quarter, means) and len(asked) == 2


def test_a_jpeg_of_another_extent_than_its_tile_is_damage_and_never_shown_at_a_wrong_scale(
    write: Callable[..., Path],
) -> None:
    sound, streams = jpegs(tissue(), 128, 80, (1, 1)), jpegs(tissue(), 128, 80, (1, 1))
    streams[0], streams[1] = jpegs(tissue(), 256, 80, (1, 1))[0], jpegs(tissue(), 64, 80, (1, 1))[0]
    stored = {"photometric": "ycbcr", "subsampling": (1, 1)}
    expected = whole(FastReader.open(write_streams(write, sound, name="sound.tif", **stored))).copy()
    expected[:128, :256] = 255
    reader = FastReader.open(write_streams(write, streams, **stored))
    assert np.array_equal(whole(reader), expected)
    for shrink in SHRINKS[1:]:
        assert (reader.read(0, 0, 0, 128 // shrink, 256 // shrink, shrink) == 255).all()
    assert reader.damaged == 2


@pytest.mark.parametrize(("shrink", "most"), [(2, 4), (4, 3), (8, 1.5)])
def test_smaller_tiles_are_the_means_of_blocks(cmu: Path, shrink: int, most: float) -> None:
    """But for ringing, which clipping at white and black makes unequal."""
    reader = FastReader.open(cmu)
    full, small = whole(reader), whole(reader, 0, shrink).astype(float)
    assert small.shape[:2] == shrunken(full.shape[:2], shrink)
    means = np.asarray(Image.fromarray(full).reduce(shrink)).astype(float)
    difference = small - means
    assert np.abs(difference).mean() < most and abs(difference.mean()) < 0.5
    tissue_only = difference[(means > 40).all(2) & (means < 215).all(2)]
    assert abs(tissue_only.mean()) < 0.5


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, dict[tuple[int, int], RGB]]:
    """A pyramid of odd extents, and each of its levels at each shrink as put together of single tiles."""
    path = tmp_path_factory.mktemp("assembled") / "odd.tif"
    image = np.tile(immunohistochemistry(), (2, 2, 1))[:521, :703]
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 3):
            pixels = np.asarray(Image.fromarray(image).resize((703 // factor, 521 // factor)))
            reduced: dict[str, Any] = {"subfiletype": int(factor > 1), "metadata": None}
            file.write(pixels, tile=(64, 128), photometric="rgb", compression="jpeg", **reduced)
    reader = FastReader.open(path)
    wholes = {}
    for level, (height, width) in enumerate(level.shape for level in reader.levels):
        for shrink in reader.shrinks:
            rows = range(0, -(-height // 64))
            columns = range(0, -(-width // 128))
            wholes[level, shrink] = np.concatenate(
                [np.concatenate([tile_of(reader, level, r, c, shrink) for c in columns], 1) for r in rows]
            )
    return reader, wholes


def tile_of(reader: Reader, level: int, row: int, column: int, shrink: int) -> RGB:
    extent = shrunken(reader.levels[level].shape, shrink)
    y, x = row * 64 // shrink, column * 128 // shrink
    return reader.read(
        level, y, x, min(64 // shrink, extent[0] - y), min(128 // shrink, extent[1] - x), shrink
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_any_window_is_a_crop_of_the_whole(
    assembled: tuple[Reader, dict[tuple[int, int], RGB]], drawn: st.DataObject
) -> None:
    reader, wholes = assembled
    level, shrink = drawn.draw(st.sampled_from(sorted(wholes)))
    full = wholes[level, shrink]
    assert full.shape[:2] == shrunken(reader.levels[level].shape, shrink)
    (y0, y1), (x0, x1) = (
        sorted(drawn.draw(st.lists(st.integers(0, extent), min_size=2, max_size=2, unique=True)))
        for extent in full.shape[:2]
    )
    window = reader.read(level, y0, x0, y1 - y0, x1 - x0, shrink)
    assert np.array_equal(window, full[y0:y1, x0:x1])


def test_only_the_tiles_in_view_are_fetched(cmu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FastReader.open(cmu)
    assert isinstance(reader, FastReader)
    fetched: list[int] = []
    fetch = reader._file.fetch

    def counted(offset: int, size: int) -> bytes:
        fetched.append(size)
        return fetch(offset, size)

    monkeypatch.setattr(reader._file, "fetch", counted)
    reader.read(0, 230, 230, 20, 20)
    assert len(fetched) == 4 and sum(fetched) < 200_000
    reader.read(0, 200, 220, 40, 100)
    assert len(fetched) == 4, "they are kept"


def test_a_second_image_of_the_same_extent_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "twice.tif"
    with tifffile.TiffWriter(path) as file:
        for image in (tissue(), 255 - tissue()):
            file.write(image, tile=(128, 128), photometric="rgb", metadata=None)
    reader = FastReader.open(path)
    assert len(reader.levels) == 1 and np.array_equal(whole(reader), tissue())


def test_a_slide_of_which_nothing_can_be_decoded_is_refused(write: Callable[..., Path]) -> None:
    path = write(compression="jpeg")
    for index in range(12):
        overwrite(path, index, bytes)
    with pytest.raises(SlideError, match=r"^a\.tif cannot be decoded.+$"):
        open_reader(path)


def test_a_file_that_is_deleted_while_open_works_on(tmp_path: Path, cmu: Path) -> None:
    path = tmp_path / "gone.svs"
    shutil.copyfile(cmu, path)
    reader = FastReader.open(path)
    path.unlink()
    assert np.array_equal(whole(reader), whole(FastReader.open(cmu)))


def test_a_closed_slide_says_so(cmu: Path) -> None:
    reader = FastReader.open(cmu)
    reader.close()
    with pytest.raises(SlideError, match=r"CMU-1-Small-Region\.svs was closed"):
        reader.read(0, 0, 0, 10, 10)


def test_deep_pixels_are_equally_bright_on_all_levels(tmp_path: Path) -> None:
    fine = np.zeros((512, 512), np.uint16)
    fine[:, :256] = 200
    fine[::8, ::8] = 4000  # bright points, which averages lose
    with tifffile.TiffWriter(tmp_path / "deep.tif") as file:
        for factor in (1, 8):
            means = fine.reshape(512 // factor, factor, 512 // factor, factor).mean((1, 3)).astype(np.uint16)
            file.write(means, tile=(128, 128), photometric="minisblack", subfiletype=int(factor > 1))
    reader = open_reader(tmp_path / "deep.tif")
    fine_mean, coarse_mean = (whole(reader, level).mean() for level in range(2))
    assert coarse_mean == pytest.approx(fine_mean, abs=3)


@pytest.mark.parametrize("planar", [False, True])
def test_a_tiled_ome_tiff_keeps_its_pyramid_scale_and_colours(tmp_path: Path, planar: bool) -> None:
    image = tissue(320, 384).transpose(2, 0, 1).copy() if planar else tissue(320, 384)
    scale: dict[str, Any] = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "axes": "CYX" if planar else "YXS"}
    stored: dict[str, Any] = {"tile": (128, 128), "photometric": "minisblack" if planar else "rgb"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(image, subifds=1, metadata=scale, **stored)
        file.write(image[:, ::2, ::2] if planar else image[::2, ::2], subfiletype=1, **stored)
    reader = open_reader(tmp_path / "a.ome.tif")
    assert np.array_equal(whole(reader), tissue(320, 384))
    assert reader.mpp == (0.5, 0.25)
    assert reader.levels == (Level((320, 384), (1, 1)), Level((160, 192), (2, 2)))


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32"])
def test_tiled_pixels_that_cannot_be_shown_are_refused(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(200 * 300).reshape(200, 300).astype(dtype)
    tifffile.imwrite(tmp_path / "odd.tif", pixels, tile=(128, 128))
    with pytest.raises(SlideError, match=r"odd\.tif holds .*samples"):
        open_reader(tmp_path / "odd.tif")
