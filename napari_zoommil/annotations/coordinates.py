"""Validation of coordinates that callers pass."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import ArrayLike

from napari_zoommil.annotations.feature_edits import Polygons
from napari_zoommil.annotations.geojson_outlines import LARGEST_PX
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


def as_polygons(drawn: ArrayLike | shapely.Geometry) -> Polygons:
    """The polygons of a region: of an outline, (n, 2) level-0 (y, x), or of a shapely geometry.

    Raises
    ------
    AnnotationError
        If they are not finite, or enclose no area.
    """
    if not isinstance(drawn, shapely.Geometry):
        places = as_places(drawn)
        if len(set(places)) < 3:
            raise AnnotationError("a region needs at least three corners")
        return (shapely.Polygon(places),)
    parts = shapely.get_parts(shapely.get_parts(drawn))
    polygons = tuple(part for part in parts if isinstance(part, shapely.Polygon) and not part.is_empty)
    if not polygons:
        raise AnnotationError("a region needs a polygon")
    as_places(shapely.get_coordinates(polygons))
    return polygons
