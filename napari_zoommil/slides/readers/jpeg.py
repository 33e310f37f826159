"""JPEG tiles of a TIFF, at full size or reduced by an inverse DCT of fewer coefficients."""

from __future__ import annotations

import simplejpeg

from napari_zoommil.slides.readers.base import RGB

SHRINKS = (1, 2, 4, 8)
"""Factors by which a JPEG can be reduced while decoding, at less cost."""

START = b"\xff\xd8"
JFIF = b"\xff\xe0"
ADOBE = b"\xff\xee"
MARK = ADOBE + b"\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's marker without its last byte, the colour transform: 0 for RGB, 1 for YCbCr."""


def stream_head(tables: bytes | None, stored_as_rgb: bool) -> bytes:
    """The head that an abbreviated stream lacks: colour space and tables of the page."""
    return START + MARK + (b"\0" if stored_as_rgb else b"\1") + (tables[2:-2] if tables else b"")


def decode_jpeg(data: bytes, head: bytes, tile: tuple[int, int], shrink: int) -> RGB:
    """A tile of the given full size, ``shrink`` times smaller.

    Decoding is strict like OpenSlide's: a damaged stream raises ValueError instead of returning grey.
    """
    start = 2
    while data[start : start + 2] in (JFIF, ADOBE):  # they would override the colour space of the TIFF
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    stream = head + data[start:]
    height, width = simplejpeg.decode_jpeg_header(stream)[:2]
    if height > tile[0] or width > tile[1]:
        raise ValueError(f"a JPEG of {height}×{width} px in a tile of {tile[0]}×{tile[1]}")
    if shrink == 1:
        return simplejpeg.decode_jpeg(stream)
    least = (-(-edge // shrink) for edge in (height, width))  # else simplejpeg may reduce further
    return simplejpeg.decode_jpeg(stream, "rgb", False, False, *least, shrink)
