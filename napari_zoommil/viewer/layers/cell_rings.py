"""Detected cells as a picture: a ring for each, a dot where it would be too small for one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.jobs.detect import Detection
from napari_zoommil.maps.colours import Pixels
from napari_zoommil.viewer.layers.stamps import (
    SIZE_STEP,
    Floats,
    Stamp,
    diameter_of,
    near,
    packed,
    painted,
    round_stamp,
    size_of,
    step_of,
)

RING = 0.12  # of the diameter
LEAST_RING_PX = 1.5
SMALLEST_RING_PX = 6.0
"""Cells of a smaller diameter in the picture are dots."""

DOT_PX = 3.0

DOT = math.floor(math.log(SMALLEST_RING_PX) / SIZE_STEP)
"""Size of the stamp of all dots."""

STRIP_PX = 512


@lru_cache(512)
def stamp(size: int) -> Stamp:
    """The ring or the dot of a cell."""
    diameter = diameter_of(size)
    ring = diameter >= SMALLEST_RING_PX
    outer = (diameter if ring else DOT_PX) / 2
    inner = outer - max(RING * diameter, LEAST_RING_PX) if ring else -1.0
    return round_stamp(outer, lambda r: np.clip(outer + 0.5 - r, 0, 1) * np.clip(r - inner + 0.5, 0, 1))


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
        See :func:`napari_zoommil.viewer.layers.stamps.packed`.
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
        return cls(
            finds.centres,
            (finds.boxes[:, 2:] - finds.boxes[:, :2]).mean(1),
            np.array([packed(one.colour) for one in classes], np.uint32)[finds.labels - 1],
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
        return size_of(self.diameters)

    def counting(self, least: float) -> CellRings:
        """The same from another score on."""
        other = replace(self, least=least)
        for name in ("_reach", "_columns", "_sizes"):
            other.__dict__[name] = getattr(self, name)
        return other

    def paint(self, y: Floats, x: Floats) -> Pixels:
        """RGBA of pixels by their centres, evenly spaced level-0 px; see
        :meth:`napari_zoommil.maps.overlay.Overlay.paint`."""
        reach = self._reach + DOT_PX * max(step_of(y), step_of(x))
        rows = np.flatnonzero(near(y, x, self._columns, reach) & (self.scores >= self.least))
        return painted(y, x, self._columns, self._sizes, self.colours, rows, DOT, stamp)

    def nearest(self, y: float, x: float) -> int | None:
        """Row of the painted cell at a place, level-0 px; None if there is none."""
        if not len(self.centres):
            return None
        away = np.hypot(*(self.centres - (y, x)).T)
        away[(self.scores < self.least) | (away > self.diameters / 2)] = np.inf
        row = int(away.argmin())
        return row if np.isfinite(away[row]) else None
