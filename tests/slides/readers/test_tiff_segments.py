"""Tiles and strips of a TIFF page: what is asked of the file, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.data import immunohistochemistry
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from napari_zoommil.slides.readers import tiff_segments as module
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.tiff_segments import MissingSegment, Segments, UnreadablePage, segments_of

PICTURE = np.ascontiguousarray(immunohistochemistry()[:200, :300])


class Opened:
    """The segments of a file's first page, and the bytes that were asked for."""

    def __init__(self, path: Path, change: Callable[[TiffPage], object] | None = None) -> None:
        self.content = path.read_bytes() if path.stat().st_size < 1 << 27 else None
        self.path, self.asked = path, list[int]()
        with TiffFile(path) as file:
            page = file.pages.first
            assert isinstance(page, TiffPage)
            if change:
                change(page)
            self.segments: Segments = segments_of([page], self.fetch)

    def fetch(self, offset: int, size: int) -> bytes:
        self.asked.append(size)
        if self.content is not None:
            return self.content[offset : offset + size]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def block(self, row: int, column: int, shrink: int = 1) -> RGB:
        return self.segments.decode(self.fetch, row, column, shrink)

    def whole(self) -> RGB:
        (height, width), (tall, wide) = self.segments.geometry.shape, self.segments.geometry.tile
        rows, columns = -(-height // tall), -(-width // wide)
        parts = [[self.block(row, column) for column in range(columns)] for row in range(rows)]
        return np.concatenate([np.concatenate(row, 1) for row in parts])[:height, :width]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(image: NDArray[Any] = PICTURE, **options: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tif"
        tifffile.imwrite(path, image, **{"photometric": "rgb", "metadata": None, **options})
        return path

    return make


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd", "packbits", "lzma", "jpeg2000", None])
@pytest.mark.parametrize(
    "form", [{"tile": (64, 96)}, {"rowsperstrip": 37}, {"planarconfig": "separate"}], ids=str
)
def test_every_layout_gives_the_picture(
    write: Callable[..., Path], compression: str | None, form: dict[str, Any]
) -> None:
    planar = "planarconfig" in form
    image = PICTURE.transpose(2, 0, 1).copy() if planar else PICTURE
    opened = Opened(write(image, compression=compression, **form))
    assert opened.segments.geometry.shape == (200, 300) and opened.segments.shrinks == (1,)
    assert np.array_equal(opened.whole(), PICTURE)


@pytest.mark.parametrize("form", [{"tile": (64, 96)}, {"rowsperstrip": 48}], ids=str)
def test_jpeg_tiles_can_be_had_smaller_and_strips_cannot(
    write: Callable[..., Path], form: dict[str, Any]
) -> None:
    opened = Opened(write(compression="jpeg", **form))
    assert opened.segments.shrinks == ((1, 2, 4, 8) if "tile" in form else (1,))
    assert np.abs(opened.whole().astype(int) - PICTURE).mean() < 5
    if "tile" in form:
        assert opened.block(1, 2, 4).shape == (16, 24, 3)


def test_a_tile_is_asked_for_alone(write: Callable[..., Path]) -> None:
    path = write(compression="deflate", tile=(64, 96))
    opened = Opened(path)
    assert opened.asked == [], "nothing is read to learn where it lies"
    opened.block(1, 2)
    with TiffFile(path) as file:
        assert opened.asked == [file.pages.first.databytecounts[1 * 4 + 2]]


@pytest.mark.parametrize(
    ("image", "options"),
    [(PICTURE, {}), (PICTURE[..., 0], {"photometric": "minisblack"}), (PICTURE, {"byteorder": ">"})],
)
def test_raw_rows_are_read_in_bands(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, image: RGB, options: dict[str, Any]
) -> None:
    row_bytes = image[0].nbytes
    monkeypatch.setattr(module, "BAND_BYTES", 7 * row_bytes + 5)
    for deep in (False, True):
        stored = image.astype(np.uint16) * 257 if deep else image
        opened = Opened(write(stored, **options))
        opened.asked.clear()
        rows = 3 if deep else 7
        assert opened.segments.geometry.tile == (rows, 300)
        expected = image if image.ndim == 3 else image[..., None].repeat(3, 2)
        assert np.array_equal(opened.block(4, 0), expected[4 * rows : 5 * rows])
        assert opened.asked == [rows * row_bytes * (2 if deep else 1)]
        assert np.array_equal(opened.whole(), expected)


@pytest.mark.parametrize(("dtype", "photometric"), [("uint8", "rgb"), ("uint16", "minisblack")])
def test_of_a_raw_giant_in_one_strip_only_bands_are_read(
    tmp_path: Path, dtype: str, photometric: str
) -> None:
    """A sparse file of 1.4 GB or 900 MB; its header asks for one strip of 450 million px."""
    path = tmp_path / "giant.tif"
    shape = (30_000, 15_000, 3)[: 3 if photometric == "rgb" else 2]
    pixels = tifffile.memmap(path, shape=shape, dtype=dtype, photometric=photometric, bigtiff=True)
    pixels[20_000, 5:9] = 200 if dtype == "uint8" else 4000
    pixels.flush()
    del pixels
    opened = Opened(path)
    assert sum(opened.asked) <= module.PROBES * module.PROBE_BYTES, (
        "deep pixels are looked at for their white"
    )
    opened.asked.clear()
    rows = opened.segments.geometry.tile[0]
    block = opened.block(20_000 // rows, 0)
    assert sum(opened.asked) <= module.BAND_BYTES and block.nbytes <= 2 * module.BAND_BYTES
    assert (block[20_000 % rows, 5:9] > 190).all() and not block[20_000 % rows, 9:].any()


@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
def test_what_was_not_scanned_is_told_from_damage(write: Callable[..., Path], compression: str) -> None:
    path = write(compression=compression, tile=(64, 96))

    def forget(page: TiffPage) -> None:
        page.databytecounts = (page.databytecounts[0], 0, *page.databytecounts[2:])

    opened = Opened(path, forget)
    with pytest.raises(MissingSegment):
        opened.block(0, 1)
    opened.block(0, 0)


def attribute(name: str, value: Any) -> Callable[[TiffPage], None]:
    return lambda page: setattr(page, name, value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (attribute("dtype", np.dtype("float32")), "holds float32 samples"),
        (attribute("dtype", None), "holds 8-bit samples"),
        (attribute("photometric", PHOTOMETRIC.CIELAB), "stores colours as CIELAB"),
        (attribute("photometric", 4711), "stores colours as 4711"),
        (attribute("imagedepth", 8), "holds a volume"),
        (attribute("imagewidth", 0), "has no pixels"),
        (attribute("samplesperpixel", 5), "holds 5 channels"),
        (attribute("dataoffsets", (1, 2)), "lacks a part of its index"),
        (attribute("databytecounts", ()), "lacks a part of its index"),
        (attribute("tilewidth", 0), "states tiles without extent"),
        (attribute("photometric", PHOTOMETRIC.PALETTE), "holds 3 channels"),
    ],
)
def test_what_cannot_be_shown_is_said_in_half_a_sentence(
    write: Callable[..., Path], change: Callable[[TiffPage], None], reason: str
) -> None:
    with pytest.raises(UnreadablePage, match=reason) as refused:
        Opened(write(compression="deflate", tile=(64, 96)), change)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 250


def test_a_palette_that_is_missing_is_said(write: Callable[..., Path]) -> None:
    with pytest.raises(UnreadablePage, match="lacks the palette"):
        Opened(
            write(PICTURE[..., 0], photometric="minisblack"), attribute("photometric", PHOTOMETRIC.PALETTE)
        )


def test_a_compressed_giant_in_one_strip_is_refused_with_the_way_out(write: Callable[..., Path]) -> None:
    def enlarge(page: TiffPage) -> None:
        page.imagelength = page.rowsperstrip = 30_000
        page.imagewidth = 20_000
        page.dataoffsets = page.dataoffsets[:1]

    with pytest.raises(UnreadablePage, match=r"pieces of 600 million pixels, .*vips tiffsave"):
        Opened(write(compression="deflate", rowsperstrip=200), enlarge)


def test_deep_pixels_are_judged_by_samples_of_all_of_the_page(write: Callable[..., Path]) -> None:
    deep = np.full((640, 640), 900, np.uint16)
    deep[-20:, -20:] = 3000
    opened = Opened(write(deep, photometric="minisblack", tile=(64, 64), compression="deflate"))
    assert opened.segments.white == 4095 and len(opened.asked) == module.PROBES
    assert opened.block(0, 0)[0, 0].tolist() == [round(900 * 255 / 4095)] * 3


def test_the_compression_of_aperio_names_the_colours(write: Callable[..., Path]) -> None:
    def like(compression: int, photometric: int) -> Callable[[TiffPage], None]:
        def change(page: TiffPage) -> None:
            page.compression, page.photometric = compression, photometric

        return change

    path = write(compression="jpeg2000", tile=(64, 96))
    for photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR):
        rgb = Opened(path, like(COMPRESSION.APERIO_JP2000_RGB, photometric))
        ycbcr = Opened(path, like(COMPRESSION.APERIO_JP2000_YCBC, photometric))
        assert np.array_equal(rgb.whole(), PICTURE)
        assert np.abs(ycbcr.whole().astype(int) - PICTURE).mean() > 20
