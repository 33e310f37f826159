"""A picture over a slide that is painted as the window asks for it: at any zoom in its pixels, and never
beyond the slide's edge.

napari shows a multiscale image by reading what is in view at the resolution of the screen. The levels here
hold no pixels; reading them paints. Painting something else costs no more than that, however large the slide
is.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from napari_zoommil.maps.colours import Pixels

SMALLEST_LEVEL = 512
CHUNK = 256


class Picture(Protocol):
    """What can be painted: see :meth:`napari_zoommil.maps.overlay.Overlay.paint`."""

    def paint(self, y: np.ndarray, x: np.ndarray) -> Pixels: ...


class PaintedLevel:
    """One resolution of a picture, as napari reads arrays.

    Parameters
    ----------
    shape : (int, int)
        Pixels.
    extent : (int, int)
        Level-0 pixels that they cover.
    pictures : list of Picture
        Whose only item is painted; it may be exchanged.
    """

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, shape: tuple[int, int], extent: tuple[int, int], pictures: list[Picture]) -> None:
        self.shape, self._extent, self._pictures = (*shape, 4), extent, pictures
        self.size = int(np.prod(self.shape))
        self.chunks = (min(CHUNK, shape[0]), min(CHUNK, shape[1]), 4)
        """napari reads whole chunks, and so paints a little more than is in view."""

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = (*(key if isinstance(key, tuple) else (key,)), slice(None), slice(None), slice(None))[:3]
        ranges = [np.arange(count)[one] for count, one in zip(self.shape, keys[:2], strict=False)]
        y, x = (
            (np.atleast_1d(cells) + 0.5) * self._extent[axis] / self.shape[axis]
            for axis, cells in enumerate(ranges)
        )
        painted: np.ndarray = self._pictures[0].paint(y, x)
        for axis in (1, 0):
            if np.ndim(ranges[axis]) == 0:
                painted = painted.take(0, axis)
        return painted[..., keys[2]]


def painted_levels(
    extent: tuple[int, int], pictures: list[Picture], finer: int = 1, apart: float = 2.0
) -> list[PaintedLevel]:
    """Resolutions of a picture, each coarser than the last, until small.

    Parameters
    ----------
    extent : (int, int)
        Level-0 pixels that they cover.
    pictures : list of Picture
    finer : int
        Pixels of the first to a level-0 pixel, for what has no pixels of its own.
    apart : float
        Factor between two of them. napari takes one of at least the resolution of the screen, and so paints
        up to ``apart`` squared times its pixels.
    """
    largest = np.array(extent) * finer
    count = 1 + max(0, math.ceil(math.log(largest.max() / SMALLEST_LEVEL, apart)))
    shapes = [np.ceil(largest / apart**level).astype(int).tolist() for level in range(count)]
    return [PaintedLevel((height, width), extent, pictures) for height, width in shapes]
