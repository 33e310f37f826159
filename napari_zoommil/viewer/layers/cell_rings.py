"""Detected cells as a picture: a ring for each, a dot where it would be too small for one.

Markers of napari's Points cost time with the number of points, also of those out of view (15 s a frame for
300,000, software OpenGL, napari 0.9.2). A picture costs time with the pixels in view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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

    @property
    def counted(self) -> Floats:
        """Centres of the cells that are painted."""
        return self.centres[self.scores >= self.least]

    @cached_property
    def _reach(self) -> float:
        return float(self.diameters.max(initial=0.0)) / 2

    @cached_property
    def _columns(self) -> Floats:
        return np.ascontiguousarray(self.centres.T)

    @cached_property
    def _sizes(self) -> Floats:
        """Sizes of stamps in a picture of level 0, see :func:`stamp`."""
        return np.log(np.maximum(self.diameters, 1e-3)) / SIZE_STEP

    def counting(self, least: float) -> CellRings:
        """The same from another score on."""
        other = replace(self, least=least)
        for name in ("_reach", "_columns", "_sizes"):
            other.__dict__[name] = getattr(self, name)
        return other

    def paint(self, y: Floats, x: Floats) -> Pixels:
        """RGBA of pixels by their centres, evenly spaced level-0 px; see
        :meth:`napari_zoommil.maps.overlay.Overlay.paint`."""
        picture = np.zeros((len(y), len(x)), np.dtype("<u4"))
        steps = _step(y), _step(x)
        reach = self._reach + DOT_PX * max(steps)
        seen = self.scores >= self.least
        for along, places in zip(self._columns, (y, x), strict=True):
            seen &= (along > places[0] - reach) & (along < places[-1] + reach)
        rows = np.flatnonzero(seen)
        at_y, at_x = (
            np.rint((along[rows] - places[0]) / step).astype(np.intp)
            for along, places, step in zip(self._columns, (y, x), steps, strict=True)
        )
        sizes = np.rint(self._sizes[rows] - math.log(steps[0] * steps[1]) / 2 / SIZE_STEP).astype(np.intp)
        sizes = np.maximum(sizes, DOT) - DOT
        for size in np.flatnonzero(np.bincount(sizes)):
            own = sizes == size
            _press(picture, at_y[own], at_x[own], self.colours[rows[own]], stamp(int(size) + DOT))
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
    picture: NDArray[np.uint32],
    at_y: NDArray[np.intp],
    at_x: NDArray[np.intp],
    colours: NDArray[np.uint32],
    one: Stamp,
) -> None:
    """Put a stamp at pixels of a picture; later cells cover earlier ones.

    Many small stamps are put pixel by pixel of the stamp, and few large ones cell by cell.
    """
    (height, width), reach = picture.shape, one.reach
    flat, alpha, offsets = picture.reshape(-1), one.alpha << np.uint32(24), one.y * width + one.x
    whole = (at_y >= reach) & (at_y < height - reach) & (at_x >= reach) & (at_x < width - reach)
    places, own = at_y[whole] * width + at_x[whole], colours[whole]
    if MANY * len(places) > len(offsets):
        for offset, opacity in zip(offsets.tolist(), alpha, strict=True):
            flat[places + offset] = own | opacity
    else:
        for place, colour in zip(places.tolist(), own, strict=True):
            flat[offsets + place] = alpha | colour
    for row, column, colour in zip(
        at_y[~whole].tolist(), at_x[~whole].tolist(), colours[~whole], strict=True
    ):
        y, x = one.y + row, one.x + column
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        picture[y[inside], x[inside]] = alpha[inside] | colour
