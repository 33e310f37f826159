"""Places on a slide as callers give them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.annotations.feature import LARGEST_PX
from napari_zoommil.errors import AnnotationError


def as_places(coordinates: ArrayLike) -> list[tuple[float, float]]:
    """(y, x) of each of (n, 2) places in level-0 px, or of one (2,).

    Raises
    ------
    AnnotationError
        If they are not numbers of pixels.
    """
    try:
        places = np.asarray(coordinates, np.float64)
        places = places[None] if places.shape == (2,) else places
        if not places.size:
            return []
        if places.ndim == 2 and places.shape[1] == 2 and (np.abs(places) <= LARGEST_PX).all():
            return [(y, x) for y, x in places.tolist()]
    except (TypeError, ValueError):
        pass
    raise AnnotationError("points need finite coordinates, y and x in level-0 px")


def as_outline(corners: ArrayLike) -> NDArray[np.float64]:
    """Corners of a region, (n, 2) level-0 y and x.

    Raises
    ------
    AnnotationError
        If they make no polygon.
    """
    places = as_places(corners)
    if len(set(places)) < 3:
        raise AnnotationError("a complete region needs at least three corners")
    return np.array(places)
