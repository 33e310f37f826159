"""Slides whose rows and columns are stored turned or mirrored: tag 274 of TIFF and of EXIF."""

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
    """Stored pixels (height, width, 3) as they are to be shown."""
    rows, columns, swap = TURNS[orientation]
    shown = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(shown.swapaxes(0, 1) if swap else shown)


def _swapped(pair: tuple[T, T], orientation: int) -> tuple[T, T]:
    """A (y, x) pair of the stored image as one of the shown image, or the other way round."""
    return (pair[1], pair[0]) if TURNS[orientation][2] else pair


def oriented(reader: Reader, orientation: int) -> Reader:
    """The reader as ``orientation`` shows it; itself where that is 1 or not one of 1 to 8."""
    if orientation not in TURNS:
        return reader
    return cast(Reader, OrientedReader(reader, orientation))


class OrientedReader:
    """A reader whose pixels are shown as a TIFF or EXIF orientation says.

    Whatever else a reader has is the inner reader's, its label and macro too: they are images of
    their own, which the slide's orientation does not speak of.

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
        # The larger px count from the stored origin. A flip puts that origin at the other end, from
        # where the same px are had only if none of them overhangs.
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
        """As :meth:`Reader.read`, in px as they are shown."""
        start = _swapped((y, x), self._orientation)
        size = _swapped((height, width), self._orientation)
        extent = shrunken(self._reader.levels[level].shape, shrink)
        top, left = (
            whole - first - count if flip else first
            for whole, first, count, flip in zip(extent, start, size, self._flips, strict=True)
        )
        return _turned(self._reader.read(level, top, left, *size, shrink), self._orientation)
