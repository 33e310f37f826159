"""Segments (tiles and strips) of a TIFF page: their position in the file and their decoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, TiffPage

from napari_zoommil.slides.readers.base import LARGEST_PIECE, RGB
from napari_zoommil.slides.readers.colour import SAMPLES, Colour, Model, misfit, to_rgb, white_of
from napari_zoommil.slides.readers.jpeg import SHRINKS, decode_jpeg, stream_head
from napari_zoommil.slides.readers.tiles import TiledLevel

Fetch = Callable[[int, int], bytes]
"""``fetch(offset, size)`` → bytes of the file."""

BAND_BYTES = 4 << 20
"""Bytes of uncompressed rows that are read at once."""

PROBE_BYTES = 1 << 16
"""Bytes of uncompressed rows that are read at once to estimate white."""

PROBES = 64
"""Segments that are read to estimate the white of deep pixels."""

MODELS: dict[int, Model] = {
    PHOTOMETRIC.MINISWHITE: "grey",
    PHOTOMETRIC.MINISBLACK: "grey",
    PHOTOMETRIC.RGB: "rgb",
    PHOTOMETRIC.PALETTE: "palette",
    PHOTOMETRIC.SEPARATED: "cmyk",
    PHOTOMETRIC.YCBCR: "ycbcr",
}

APERIO_MODELS: dict[int, Model] = {
    COMPRESSION.APERIO_JP2000_YCBC: "ycbcr",
    COMPRESSION.APERIO_JP2000_RGB: "rgb",
}
"""Colour models of JPEG 2000 that the compression tag states; they override the photometric tag."""


class UnreadablePage(Exception):
    """Why the pixels of a page cannot be read; the message continues a sentence that begins with a name."""


class RefusedPage(UnreadablePage):
    """A page that no other reader should try: the result would be wrong, or would never come."""


class MissingSegment(Exception):
    """A tile that is not in the file because it was not scanned."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one level and their decoder.

    Attributes
    ----------
    geometry : TiledLevel
        Extent of the level and of its segments.
    shrinks : tuple of int
        Factors by which a tile can be reduced while decoding.
    decode : callable
        ``decode(fetch, row, column, shrink)`` → the tile, (h, w, 3) uint8.
    white : int
        Largest sample value, 255 in the result.
    """

    geometry: TiledLevel
    shrinks: tuple[int, ...]
    decode: Callable[[Fetch, int, int, int], RGB]
    white: int = 255


def segments_of(pages: Sequence[TiffPage], fetch: Fetch, white: int | None = None) -> Segments:
    """The segments of a page, or of several pages with one channel each.

    Parameters
    ----------
    pages : sequence of TiffPage
    fetch : callable
        Used here only to estimate the white of deep pixels.
    white : int, optional
        White of deep pixels, if known from another level.

    Raises
    ------
    UnreadablePage
        If the page is damaged or its format is not supported.
    """
    _check(pages)
    page = pages[0]
    if len(pages) == 1 and _plain_jpeg(page):
        return _jpeg_segments(page)
    raw = _raw(pages)
    blocks = _raw_blocks(page, BAND_BYTES) if raw else _decoded_blocks(pages)
    if page.dtype == np.uint8:
        white = 255
    elif page.dtype == bool:
        white = 1
    colour = colour_of(
        pages, white or white_of(_probe(_raw_blocks(page, PROBE_BYTES) if raw else blocks, fetch))
    )

    samples = _samples(pages)

    def decode(fetch: Fetch, row: int, column: int, _shrink: int) -> RGB:
        return to_rgb(blocks.read(fetch, row, column)[..., :samples], colour)

    return Segments(blocks.geometry, (1,), decode, colour.white)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks of stored samples, each (h, w, s), by row and column."""

    geometry: TiledLevel
    read: Callable[[Fetch, int, int], NDArray[Any]]


def _check(pages: Sequence[TiffPage]) -> None:
    page = pages[0]
    if why := misfit(page.dtype, page.dtype or f"{page.bitspersample}-bit"):
        raise RefusedPage(why)
    if page.photometric not in MODELS:
        name = _name(PHOTOMETRIC, page.photometric)
        raise UnreadablePage(f"stores colours as {name}; grey, RGB, YCbCr, CMYK and palettes can be shown")
    if page.imagedepth != 1:
        raise RefusedPage("holds a volume, not an image")
    if min(page.imagelength, page.imagewidth) < 1:
        raise UnreadablePage("has no pixels")
    _check_channels(pages)
    for one in pages:
        rows, columns = _counts(one)
        planes = one.samplesperpixel if one.planarconfig == PLANARCONFIG.SEPARATE else 1
        if min(len(one.dataoffsets), len(one.databytecounts)) < rows * columns * planes:
            raise RefusedPage("lacks a part of its index")
    height, width = edge_of(page)
    if height * width * 3 > LARGEST_PIECE and not _raw(pages):
        raise RefusedPage(
            f"is stored in pieces of {height * width / 1e6:,.0f} million pixels, too large to decode; "
            "convert it to a tiled pyramid, as with: vips tiffsave IN OUT --tile --pyramid --compression jpeg"
        )


def _check_channels(pages: Sequence[TiffPage]) -> None:
    """Refuse samples that are neither a colour, nor opacity, nor one more that the colour does without."""
    model, page = _model(pages), pages[0]
    channels = len(pages) if len(pages) > 1 else page.samplesperpixel
    more = channels - SAMPLES[model]
    if more not in (0, 1) or (more and model == "grey" and not _has_alpha(page)):
        raise RefusedPage(
            f"holds {channels} channels, which are not colours; "
            "grey, RGB, CMYK and palette images can be shown"
        )


def _has_alpha(page: TiffPage) -> bool:
    """Whether the first sample after the colours is opacity: the file says so, their number does not."""
    return page.extrasamples[:1] in ((EXTRASAMPLE.ASSOCALPHA,), (EXTRASAMPLE.UNASSALPHA,))


def _samples(pages: Sequence[TiffPage]) -> int:
    """Samples of a pixel that are shown: its colours, and its opacity if there is one."""
    alpha = len(pages) == 4 if len(pages) > 1 else _has_alpha(pages[0])
    return SAMPLES[_model(pages)] + alpha


def _name(kind: Any, value: int) -> str:
    return kind(value).name if value in kind._value2member_map_ else str(value)


def _model(pages: Sequence[TiffPage]) -> Model:
    page = pages[0]
    if len(pages) > 1 and len(pages) in (3, 4):
        return "rgb"
    model = APERIO_MODELS.get(page.compression, MODELS[page.photometric])
    if model == "grey" and page.samplesperpixel == 3:
        return "rgb"
    jpeg = page.compression in (COMPRESSION.OJPEG, COMPRESSION.JPEG)  # decoding has converted it
    return "rgb" if jpeg and model == "ycbcr" else model


def colour_of(pages: Sequence[TiffPage], white: int) -> Colour:
    """The meaning of the samples of a page."""
    page = pages[0]
    palette = None
    if page.photometric == PHOTOMETRIC.PALETTE:
        if page.colormap is None:
            raise UnreadablePage("lacks the palette of its colours")
        deep = page.colormap.max() > 255  # some writers fill the 16-bit table with 8-bit values
        palette = (page.colormap >> (8 if deep else 0)).astype(np.uint8).T
    return Colour(
        _model(pages),
        white,
        inverted=page.photometric == PHOTOMETRIC.MINISWHITE,
        premultiplied=EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
        palette=palette,
    )


def edge_of(page: TiffPage) -> tuple[int, int]:
    """Height and width of a page's tiles, or strips, px."""
    if page.is_tiled:
        edge = page.tilelength, page.tilewidth
    else:
        edge = min(page.rowsperstrip, page.imagelength), page.imagewidth
    if min(edge) < 1:
        raise RefusedPage("states tiles without extent")
    return edge


def _counts(page: TiffPage) -> tuple[int, int]:
    height, width = edge_of(page)
    return math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width)


def _geometry(page: TiffPage) -> TiledLevel:
    return TiledLevel((page.imagelength, page.imagewidth), edge_of(page))


def _plain_jpeg(page: TiffPage) -> bool:
    """Whether libjpeg alone decodes it to RGB: 8-bit JPEG, grey or with three interleaved components."""
    return (
        page.compression == COMPRESSION.JPEG
        and page.dtype == np.uint8
        and (page.samplesperpixel, page.photometric)
        in ((3, PHOTOMETRIC.RGB), (3, PHOTOMETRIC.YCBCR), (1, PHOTOMETRIC.MINISBLACK))
        and (page.planarconfig == PLANARCONFIG.CONTIG or page.samplesperpixel == 1)
        and not page.jpegheader
    )


def _jpeg_segments(page: TiffPage) -> Segments:
    geometry, (_, columns) = _geometry(page), _counts(page)
    offsets, sizes = page.dataoffsets, page.databytecounts
    head = stream_head(page.jpegtables, page.photometric == PHOTOMETRIC.RGB)
    tile = geometry.tile

    def decode(fetch: Fetch, row: int, column: int, shrink: int) -> RGB:
        index = row * columns + column
        if not sizes[index]:
            raise MissingSegment
        return decode_jpeg(fetch(offsets[index], sizes[index]), head, tile, shrink)

    shrinks = tuple(s for s in SHRINKS if page.is_tiled and all(edge % s == 0 for edge in tile))
    return Segments(geometry, shrinks or (1,), decode)


def _raw(pages: Sequence[TiffPage]) -> bool:
    """Whether the rows are stored uncompressed and one after the other."""
    if len(pages) > 1:
        return False
    page = pages[0]
    whole = page.planarconfig == PLANARCONFIG.CONTIG or page.samplesperpixel == 1
    return bool(page.is_contiguous) and whole and not page.is_tiled and page.dtype != bool


def _raw_blocks(page: TiffPage, band_bytes: int) -> _Blocks:
    """Uncompressed pixels in bands of rows, independent of the strips that the file states."""
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    samples, width = page.samplesperpixel, page.imagewidth
    row_bytes = width * samples * dtype.itemsize
    rows = max(1, min(band_bytes // row_bytes, page.imagelength))
    start = page.dataoffsets[0]

    def read(fetch: Fetch, row: int, _column: int) -> NDArray[Any]:
        count = min(rows, page.imagelength - row * rows)
        data = fetch(start + row * rows * row_bytes, count * row_bytes)
        return np.frombuffer(data, dtype).reshape(count, width, samples)

    return _Blocks(TiledLevel((page.imagelength, width), (rows, width)), read)


def _decoded_blocks(pages: Sequence[TiffPage]) -> _Blocks:
    """Pixels of any compression that tifffile supports; channels in separate planes or pages are joined."""
    rows, columns = _counts(pages[0])
    for page in pages:
        if page.compression in APERIO_MODELS:
            page.subsampling = 1, 1  # the stream states its own; with the tag, tifffile refuses to decode
    planes = [
        (page, plane * rows * columns, page.decode, page.jpegtables, page.jpegheader)
        for page in pages
        for plane in range(page.samplesperpixel if page.planarconfig == PLANARCONFIG.SEPARATE else 1)
    ]

    def read(fetch: Fetch, row: int, column: int) -> NDArray[Any]:
        parts = []
        for page, first, decode, tables, header in planes:
            index = first + row * columns + column
            size = page.databytecounts[index]
            if not size:
                raise MissingSegment
            options = {"jpegtables": tables, "jpegheader": header} if tables or header else {}
            block = decode(fetch(page.dataoffsets[index], size), index, **options)[0]
            assert block is not None
            parts.append(block[0])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    return _Blocks(_geometry(pages[0]), read)


def _probe(blocks: _Blocks, fetch: Fetch) -> list[NDArray[Any]]:
    shape, tile = blocks.geometry.shape, blocks.geometry.tile
    rows, columns = (math.ceil(extent / edge) for extent, edge in zip(shape, tile, strict=True))
    found = []
    for index in np.linspace(0, rows * columns - 1, min(PROBES, rows * columns)).astype(int):
        try:
            found.append(blocks.read(fetch, *divmod(int(index), columns)))
        except Exception:  # a damaged segment is skipped
            continue
    return found
