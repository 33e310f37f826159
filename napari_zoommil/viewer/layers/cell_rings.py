"""Detected cells as a picture: a ring for each, a dot where it would be too small for one.

Markers of napari's Points cost time with the number of points, also of those out of view (15 s a frame for
300,000, software OpenGL, napari 0.9.2). A picture costs time with the pixels in view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.jobs.detect import Detection
from napari_zoommil.maps.colours import Pixels

RING = 0.12  # of the diameter
LEAST_RING_PX = 1.5
SMALLEST_RING_PX = 6.0
"""Cells of a smaller diameter in the picture are dots."""

DOT_PX = 3.0
SIZE_STEP = 0.04
"""Diameters are rounded to this, relative to them: cells of one size share one stamp."""

MANY = 4
"""Stamps are put pixel by pixel if there are at most so many pixels to a stamp."""

DOT = math.floor(math.log(SMALLEST_RING_PX) / SIZE_STEP)
"""Size of the stamp of all dots."""

STRIP_PX = 512

Floats = NDArray[np.float64]


class Stamp(NamedTuple):
    """Pixels of a cell around its centre: (n,) y, x, and opacity 0 to 255, the faint ones first."""

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    alpha: NDArray[np.uint32]
    reach: int


@lru_cache(512)
def stamp(size: int) -> Stamp:
    """The ring or the dot of a cell of a diameter of ``exp(SIZE_STEP * size)`` px."""
    diameter = math.exp(SIZE_STEP * size)
    ring = diameter >= SMALLEST_RING_PX
    outer = (diameter if ring else DOT_PX) / 2
    inner = outer - max(RING * diameter, LEAST_RING_PX) if ring else -1.0
    reach = math.ceil(outer)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(y, x)
    alpha = np.clip(outer + 0.5 - radius, 0, 1) * np.clip(radius - inner + 0.5, 0, 1)
    order = np.argsort(alpha, axis=None, kind="stable")
    order = order[alpha.ravel()[order] > 1 / 255]
    return Stamp(
        y.ravel()[order], x.ravel()[order], np.round(alpha.ravel()[order] * 255).astype(np.uint32), reach
    )


@dataclass(frozen=True, eq=False)
class CellRings:
    """Cells to paint.

    Attributes
    ----------
    centres : (n, 2)
        Level-0 (y, x).
    diameters : (n,)
        Level-0 px.
    colours : (n,) uint32
        Red, green and blue from the lowest byte on.
    names : (n,) object
        Of their classes.
    scores : (n,)
    least : float
        Score from which cells are painted.
    """

    centres: Floats
    diameters: Floats
    colours: NDArray[np.uint32]
    names: NDArray[np.object_]
    scores: Floats
    least: float

    @classmethod
    def of(cls, detection: Detection, least: float) -> CellRings:
        """The finds of a detection, neighbours next to each other: memory is then written in order."""
        finds, classes = detection.finds, detection.classes
        order = np.lexsort((finds.centres[:, 1], finds.centres[:, 0] // STRIP_PX))
        finds = finds.chosen(order)
        colours = [red | green << 8 | blue << 16 for red, green, blue in (one.colour for one in classes)]
        return cls(
            finds.centres,
            (finds.boxes[:, 2:] - finds.boxes[:, :2]).mean(1),
            np.array(colours, np.uint32)[finds.labels - 1],
            np.array([one.name for one in classes], object)[finds.labels - 1],
            finds.scores,
            least,
        )

    @cached_property
    def _largest(self) -> float:
        return float(self.diameters.max(initial=0.0))

    def paint(self, y: Floats, x: Floats) -> Pixels:
        """RGBA of pixels by their centres, evenly spaced level-0 px; see
        :meth:`napari_zoommil.maps.overlay.Overlay.paint`."""
        picture = np.zeros((len(y), len(x)), np.dtype("<u4"))
        step = _step(y), _step(x)
        reach = self._largest / 2 + DOT_PX * max(step)
        seen = self.scores >= self.least
        for axis, places in enumerate((y, x)):
            along = self.centres[:, axis]
            seen &= (along > places[0] - reach) & (along < places[-1] + reach)
        rows = np.flatnonzero(seen)
        at = np.rint((self.centres[rows] - (y[0], x[0])) / step).astype(np.intp)
        sizes = np.rint(
            np.log(np.maximum(self.diameters[rows] / math.sqrt(step[0] * step[1]), 1)) / SIZE_STEP
        )
        sizes = np.maximum(sizes, DOT).astype(np.intp)
        for size in np.unique(sizes):
            own = sizes == size
            _press(picture, at[own], self.colours[rows[own]], stamp(int(size)))
        return picture.view(np.uint8).reshape(*picture.shape, 4)

    def nearest(self, y: float, x: float) -> int | None:
        """Row of the painted cell at a place, level-0 px; None if there is none."""
        if not len(self.centres):
            return None
        away = np.hypot(*(self.centres - (y, x)).T)
        away[(self.scores < self.least) | (away > self.diameters / 2)] = np.inf
        row = int(away.argmin())
        return row if np.isfinite(away[row]) else None


def _step(places: Floats) -> float:
    return float(places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 1.0


def _press(
    picture: NDArray[np.uint32], at: NDArray[np.intp], colours: NDArray[np.uint32], one: Stamp
) -> None:
    """Put a stamp at (n, 2) pixels of a picture; later cells cover earlier ones.

    Many small stamps are put pixel by pixel of the stamp, and few large ones cell by cell.
    """
    height, width = picture.shape
    flat, alpha, offsets = picture.reshape(-1), one.alpha << np.uint32(24), one.y * width + one.x
    whole = ((at >= one.reach) & (at < np.subtract(picture.shape, one.reach))).all(1)
    places, own = at[whole] @ (width, 1), colours[whole]
    if MANY * len(places) > len(offsets):
        for offset, opacity in zip(offsets.tolist(), alpha, strict=True):
            flat[places + offset] = own | opacity
    else:
        for place, colour in zip(places.tolist(), own, strict=True):
            flat[offsets + place] = alpha | colour
    for (row, column), colour in zip(at[~whole].tolist(), colours[~whole], strict=True):
        y, x = one.y + row, one.x + column
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        picture[y[inside], x[inside]] = alpha[inside] | colour
