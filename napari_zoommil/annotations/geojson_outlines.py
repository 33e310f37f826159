"""Positions and polygons of GeoJSON geometries, (y, x)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import shapely

from napari_zoommil.annotations.feature_text import Json, as_dict
from napari_zoommil.geometry import Pair

LARGEST_PX = 1e12
"""Largest coordinate that is accepted, px."""


AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")


SMALLEST_AREA = 1e-3
"""Least area of a ring, px squared, of which the centroid is a weighted mean of its corners."""


WHOLE_SLIDE: Pair = (0.0, 0.0)
"""Origin of coordinates that count from the corner of level 0."""


def position(value: object) -> tuple[float, float]:
    """(y, x) of a GeoJSON position.

    Raises
    ------
    ValueError
        If it is not a position.
    """
    if not (isinstance(value, list) and len(value) >= 2):
        raise ValueError("a position is not a list of x and y")
    x, y = value[0], value[1]
    if type(x) is type(y) is float and abs(x) <= LARGEST_PX and abs(y) <= LARGEST_PX:
        return y, x
    for number in value[:2]:
        # NaN fails the comparison; integers of any size can be compared.
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) <= LARGEST_PX:
            raise ValueError("a coordinate is not a number of pixels")
    return float(value[1]), float(value[0])


def polygons_of(geometry: Json) -> list[shapely.Polygon]:
    """The polygons, (y, x), of a ``Polygon`` or ``MultiPolygon``, with their holes.

    Empty ones are left out, and holes and parts of fewer than three corners, which enclose nothing.

    Raises
    ------
    ValueError
        If a position is invalid, or all outlines have too few corners.
    """
    coordinates = geometry.get("coordinates")
    polygons: Any = coordinates if geometry.get("type") == "MultiPolygon" else [coordinates]
    try:
        rings = [[[position(corner) for corner in ring] for ring in polygon] for polygon in polygons]
    except TypeError as error:
        raise ValueError("its outline is not a list of positions") from error
    stated = [ring for ring in rings if ring and ring[0]]
    found = [ring for ring in stated if len(set(ring[0])) > 2]
    if stated and not found:
        raise ValueError("its outline has fewer than three corners")
    return [shapely.Polygon(outer, [hole for hole in holes if len(set(hole)) > 2]) for outer, *holes in found]


def areas_of(geometry: Any) -> list[shapely.Polygon]:
    """The polygons, (y, x), of any geometry; none if it is no area.

    Raises
    ------
    ValueError
        As :func:`polygons_of`.
    """
    geometry = as_dict(geometry)
    if geometry.get("type") != "GeometryCollection":
        return polygons_of(geometry) if geometry.get("type") in AREAS else []
    members = geometry.get("geometries")
    if not isinstance(members, list):
        raise ValueError("its geometries are not a list")
    return [polygon for member in members for polygon in areas_of(member)]


def _ring_centroid(geometry: Json) -> tuple[float, float] | None:
    """(y, x) of the area of one closed ring, six times as fast as by shapely; None if that must tell."""
    rings = geometry.get("coordinates")
    if geometry.get("type") != "Polygon" or not isinstance(rings, list) or len(rings) != 1:
        return None
    try:
        places = [(y, x) for x, y in rings[0] if type(x) is type(y) is float]
    except (TypeError, ValueError):
        return None
    if len(places) < 4 or len(places) != len(rings[0]) or places[0] != places[-1]:
        return None
    if not (min(map(min, places)) >= -LARGEST_PX and max(map(max, places)) <= LARGEST_PX):
        return None
    (top, left), double_area, moment_y, moment_x = places[0], 0.0, 0.0, 0.0
    for (y, x), (next_y, next_x) in pairwise(places):
        cross = (x - left) * (next_y - top) - (next_x - left) * (y - top)
        double_area += cross
        moment_y += cross * (y + next_y - 2 * top)
        moment_x += cross * (x + next_x - 2 * left)
    if not abs(double_area) > SMALLEST_AREA:
        return None
    return top + moment_y / double_area / 3, left + moment_x / double_area / 3


def centroid_of(geometry: Json) -> tuple[float, float]:
    """(y, x) of a ``Polygon`` or ``MultiPolygon``; ValueError if it has none."""
    simple = _ring_centroid(geometry)
    if simple is not None:
        return simple
    try:
        polygons = polygons_of(geometry)
        if not polygons:
            raise ValueError("its outline is empty")
        centre = shapely.MultiPolygon(polygons).centroid
        if centre.is_empty:  # of an outline without an area
            centre = shapely.MultiPoint(shapely.get_coordinates(polygons)).centroid
        return position([centre.y, centre.x])
    except shapely.errors.ShapelyError as error:
        raise ValueError("its outline is not a polygon") from error


def moved_polygons(polygons: tuple[shapely.Polygon, ...], by: Pair) -> tuple[shapely.Polygon, ...]:
    """Polygons, (y, x), elsewhere."""
    if by == WHOLE_SLIDE:
        return polygons
    return tuple(shapely.transform(one, lambda places: places + by) for one in polygons)
