"""JPEG tiles of a TIFF, at full size or smaller by an inverse transform of fewer coefficients."""

from __future__ import annotations

import simplejpeg

from napari_zoommil.slides.reader import RGB

SHRINKS = (1, 2, 4, 8)
"""Factors at which a JPEG decodes for less than its full size costs."""

START = b"\xff\xd8"
JFIF = b"\xff\xe0"
RGB_MARK = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Adobe's marker with transform 0: the three components are red, green and blue."""


def stream_head(tables: bytes | None, stored_as_rgb: bool) -> bytes:
    """What an abbreviated stream lacks before its frame: the page's tables and its colour space."""
    return START + (RGB_MARK if stored_as_rgb else b"") + (tables[2:-2] if tables else b"")


def decode_jpeg(data: bytes, head: bytes, tile: tuple[int, int], shrink: int) -> RGB:
    """A tile of the given full size, ``shrink`` times smaller.

    Decoding is strict, as OpenSlide's is: a damaged stream raises ValueError instead of giving grey.
    """
    start = 2
    if data[2:4] == JFIF:  # it would overrule the colour space that the TIFF states
        start = 4 + int.from_bytes(data[4:6], "big")
    height, width = tile[0] // shrink, tile[1] // shrink
    return simplejpeg.decode_jpeg(head + data[start:], min_height=height, min_width=width, min_factor=shrink)
