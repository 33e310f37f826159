"""Regions of a slide: reading from GeoJSON, and conversion to areas."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.feature import as_dict, polygons_of
from napari_zoommil.annotations.geojson import raw_features
from napari_zoommil.errors import AnnotationError
from napari_zoommil.files import read_file

AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")

Region: TypeAlias = NDArray[np.float64] | shapely.Polygon
"""An outline, (n, 2) level-0 (y, x), or a polygon of such coordinates, which may have holes."""


def read_regions(path: Path) -> tuple[shapely.Polygon, ...]:
    """All polygons of a GeoJSON file, level-0 (y, x), with their holes.

    Raises
    ------
    FileError
        If it cannot be read.
    AnnotationError
        If it is not GeoJSON, a polygon is malformed, or there is no polygon.
    """
    found: list[shapely.Polygon] = []
    for number, raw in enumerate(raw_features(read_file(path), path.name), 1):
        try:
            found += _polygons(as_dict(raw).get("geometry"))
        except ValueError as error:
            raise AnnotationError(
                f"{path.name} cannot be read as regions: its feature {number} is malformed: {error}; "
                "draw it again, and export it as GeoJSON"
            ) from error
    if not found:
        raise AnnotationError(f"{path.name} holds no polygon; draw a region and export it as GeoJSON")
    return tuple(found)


def _polygons(geometry: Any) -> list[shapely.Polygon]:
    """The polygons of a geometry; none if it is empty or not an area."""
    geometry = as_dict(geometry)
    if geometry.get("type") not in AREAS:
        return []
    if geometry["type"] != "GeometryCollection":
        return polygons_of(geometry)
    members = geometry.get("geometries")
    if not isinstance(members, list):
        raise ValueError("its geometries are not a list")
    return [polygon for member in members for polygon in _polygons(member)]


def area_of(region: Region) -> shapely.Geometry:
    """The area of a region, (y, x); a self-intersecting outline is made valid."""
    drawn = region if isinstance(region, shapely.Polygon) else shapely.Polygon(np.asarray(region))
    return shapely.make_valid(drawn)


def union_of(regions: Iterable[Region]) -> shapely.Geometry:
    """The union of regions, (y, x); overlaps count once."""
    return shapely.union_all([area_of(one) for one in regions])
