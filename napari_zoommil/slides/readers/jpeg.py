"""JPEG tiles of a TIFF, at full size or smaller by an inverse transform of fewer coefficients."""

from __future__ import annotations

import simplejpeg

from napari_zoommil.slides.readers.base import RGB

SHRINKS = (1, 2, 4, 8)
"""Factors at which a JPEG decodes for less than its full size costs."""

START = b"\xff\xd8"
JFIF = b"\xff\xe0"
ADOBE = b"\xff\xee"
MARK = ADOBE + b"\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's marker but for its last byte, the transform: 0 for red, green and blue, 1 for YCbCr."""


def stream_head(tables: bytes | None, stored_as_rgb: bool) -> bytes:
    """What an abbreviated stream lacks before its frame: the page's tables and its colour space."""
    return START + MARK + (b"\0" if stored_as_rgb else b"\1") + (tables[2:-2] if tables else b"")


def decode_jpeg(data: bytes, head: bytes, tile: tuple[int, int], shrink: int) -> RGB:
    """A tile of the given full size, ``shrink`` times smaller.

    Decoding is strict, as OpenSlide's is: a damaged stream raises ValueError instead of giving grey.
    """
    start = 2
    while data[start : start + 2] in (JFIF, ADOBE):  # they would overrule the colour space of the TIFF
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    stream = head + data[start:]
    height, width = simplejpeg.decode_jpeg_header(stream)[:2]
    if height > tile[0] or width > tile[1]:
        raise ValueError(f"a JPEG of {height}×{width} px in a tile of {tile[0]}×{tile[1]}")
    if shrink == 1:
        return simplejpeg.decode_jpeg(stream)
    least = (-(-edge // shrink) for edge in (height, width))  # or it would come shrunk even further
    return simplejpeg.decode_jpeg(stream, "rgb", False, False, *least, shrink)
