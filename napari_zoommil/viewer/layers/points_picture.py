"""Points of a document as a picture that looks as their markers do, where there are too many for markers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.maps.colours import Pixels
from napari_zoommil.viewer.layers.point_looks import BORDER, FACE_ALPHA, SMALLEST_ON_SCREEN_PX
from napari_zoommil.viewer.layers.stamps import (
    SIZE_STEP,
    Floats,
    Stamp,
    diameter_of,
    near,
    painted,
    round_stamp,
    size_of,
    step_of,
)

SMALLEST = math.ceil(math.log(SMALLEST_ON_SCREEN_PX) / SIZE_STEP)
"""Size of the smallest stamp."""


@lru_cache(512)
def stamp(size: int) -> Stamp:
    """A faint disc with a border of at least a pixel, half of it outside as in napari's markers."""
    radius = diameter_of(size) / 2
    outer = radius * (1 + BORDER)
    inner = outer - max(2 * BORDER * radius, 1.0)

    def opacity(away: Floats) -> Floats:
        border = np.clip(away - inner + 0.5, 0, 1)
        return np.clip(outer + 0.5 - away, 0, 1) * (FACE_ALPHA + (1 - FACE_ALPHA) * border)

    return round_stamp(outer, opacity)


@dataclass(frozen=True, eq=False)
class PointsPicture:
    """Points to paint.

    Attributes
    ----------
    places : (n, 2)
        Level-0 (y, x).
    diameters : (n,)
        Level-0 px.
    colours : (n,) uint32
        See :func:`napari_zoommil.viewer.layers.stamps.packed`.
    selected : (k,) of int
        Rows of the selected points, which lie above the others.
    highlight : uint32
        Colour of these.
    """

    places: Floats
    diameters: Floats
    colours: NDArray[np.uint32]
    selected: NDArray[np.intp]
    highlight: int

    def paint(self, y: Floats, x: Floats) -> Pixels:
        """RGBA of pixels by their centres, evenly spaced level-0 px."""
        columns, sizes = np.ascontiguousarray(self.places.T), size_of(self.diameters)
        least = SMALLEST_ON_SCREEN_PX * max(step_of(y), step_of(x))
        seen = near(y, x, columns, max(float(self.diameters.max(initial=0.0)), least))
        picture = painted(y, x, columns, sizes, self.colours, np.flatnonzero(seen), SMALLEST, stamp)
        rows = self.selected[seen[self.selected]]
        if len(rows):
            blue = np.full(len(self.places), self.highlight, np.uint32)
            above = painted(y, x, columns, sizes, blue, rows, SMALLEST, stamp)
            covered = above[..., 3] > 0
            picture[covered] = above[covered]
        return picture
