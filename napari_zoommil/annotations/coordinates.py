"""Validation of coordinates that callers pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.annotations.feature import LARGEST_PX
from napari_zoommil.errors import AnnotationError


def as_places(coordinates: ArrayLike) -> list[tuple[float, float]]:
    """(y, x) tuples of (n, 2) positions in level-0 px, or of one position (2,).

    Raises
    ------
    AnnotationError
        If they are not finite numbers of that shape.
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
    """Corners of a region, (n, 2) level-0 (y, x).

    Raises
    ------
    AnnotationError
        If they do not form a polygon.
    """
    places = as_places(corners)
    if len(set(places)) < 3:
        raise AnnotationError("a complete region needs at least three corners")
    return np.array(places)
