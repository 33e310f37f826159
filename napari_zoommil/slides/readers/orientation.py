"""Slides that are stored rotated or mirrored: orientation, tag 274 of TIFF and EXIF."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, Reader, shrunken

T = TypeVar("T")

TURNS = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""By orientation (TIFF 6.0, p. 36): flip the stored rows, flip the stored columns, then swap both."""


def _turned(pixels: RGB, orientation: int) -> RGB:
    """Stored pixels (height, width, 3) in the shown orientation."""
    rows, columns, swap = TURNS[orientation]
    shown = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(shown.swapaxes(0, 1) if swap else shown)


def _swapped(pair: tuple[T, T], orientation: int) -> tuple[T, T]:
    """Convert a (y, x) pair between the stored and the shown image, in either direction."""
    return (pair[1], pair[0]) if TURNS[orientation][2] else pair


def oriented(reader: Reader, orientation: int) -> Reader:
    """The reader in the given orientation; the reader itself if that is not one of 2 to 8."""
    if orientation not in TURNS:
        return reader
    return cast(Reader, OrientedReader(reader, orientation))


class OrientedReader:
    """A reader whose pixels are rotated and mirrored by a TIFF or EXIF orientation.

    All other attributes are those of the inner reader. Label and macro images are not changed: the
    slide's orientation does not apply to them.

    Parameters
    ----------
    reader : Reader
    orientation : int
        2 to 8.
    """

    def __init__(self, reader: Reader, orientation: int) -> None:
        self._reader = reader
        self._orientation = orientation
        self._flips = TURNS[orientation][:2]
        self.levels = tuple(
            Level(_swapped(level.shape, orientation), _swapped(level.downsample, orientation))
            for level in reader.levels
        )
        self.mpp: Pair | None = reader.mpp and _swapped(reader.mpp, orientation)
        # Larger px are counted from the stored origin. A flip moves that origin to the other end, which
        # gives the same px only if none of them overhangs.
        self.shrinks = tuple(
            shrink
            for shrink in reader.shrinks
            if not any(
                flip and extent % shrink
                for level in reader.levels
                for extent, flip in zip(level.shape, self._flips, strict=True)
            )
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        """As :meth:`Reader.read`, in px of the shown orientation."""
        start = _swapped((y, x), self._orientation)
        size = _swapped((height, width), self._orientation)
        extent = shrunken(self._reader.levels[level].shape, shrink)
        top, left = (
            whole - first - count if flip else first
            for whole, first, count, flip in zip(extent, start, size, self._flips, strict=True)
        )
        return _turned(self._reader.read(level, top, left, *size, shrink), self._orientation)
