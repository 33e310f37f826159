"""Regions of a slide: reading them from a file, and the area that they cover."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.feature import Feature, Kind
from napari_zoommil.annotations.geojson import Content, faults_of
from napari_zoommil.annotations.reading import read_content
from napari_zoommil.errors import AnnotationError
from napari_zoommil.geometry import Box, Pair

Region: TypeAlias = NDArray[np.float64] | shapely.Polygon | shapely.MultiPolygon | Box
"""An outline, (n, 2) level-0 (y, x), polygons of such coordinates, which may have holes, or a rectangle."""


def read_regions(
    path: Path, class_name: str = "", *, origin: Pair | None, needed: bool = True
) -> tuple[shapely.Polygon, ...]:
    """The polygons of the regions in a GeoJSON or XML file, level-0 (y, x), with their holes.

    Parameters
    ----------
    path : Path
    class_name : str
        Only regions of this class; all by default, with and without class.
    origin : (float, float) or None
        See :func:`~napari_zoommil.annotations.reading.read_content`; it matters on slides of which only a
        part was scanned.
    needed : bool
        Refuse a file without such a region; else there are none.

    Raises
    ------
    FileError
        If it cannot be read.
    AnnotationError
        If it is malformed, or there is none though one is needed. An outline that cannot be read is
        left out, which a warning says.
    """
    content = read_content(path, origin)
    faults = faults_of(content)
    if faults and not _regions(content):
        raise AnnotationError(
            f"{path.name} holds no polygon: {faults}; draw it again, and export it as GeoJSON"
        )
    if faults:
        warnings.warn(f"{path.name}: {faults}", stacklevel=2)
    if not needed and all(class_name not in ("", one.class_name) for one in _regions(content)):
        return ()
    return regions_of(content, path.name, class_name)


def _regions(content: Content) -> list[Feature]:
    return [feature for feature in content.features if feature.kind is Kind.REGION]


def regions_of(content: Content, name: str, class_name: str = "") -> tuple[shapely.Polygon, ...]:
    """The polygons of all regions of a document, or of those of one class.

    Raises
    ------
    AnnotationError
        If there is none; it says which there are. ``name`` is that of the file.
    """
    regions = _regions(content)
    chosen = [one for one in regions if class_name in ("", one.class_name)]
    if chosen:
        return tuple(polygon for one in chosen for polygon in one.polygons)
    if not regions:
        raise AnnotationError(f"{name} holds no polygon; draw a region and export it as GeoJSON")
    raise AnnotationError(f"{name} has no regions of {class_name}; {_what_there_is(regions)}")


def _what_there_is(regions: list[Feature]) -> str:
    names = dict.fromkeys(one.class_name for one in regions if one.class_name)
    return f"it has regions of: {', '.join(names)}" if names else "its regions have no class"


def area_of(region: Region) -> shapely.Geometry:
    """The area of a region, (y, x); a self-intersecting outline is made valid."""
    if isinstance(region, Box):
        return shapely.box(region.y, region.x, region.y + region.height, region.x + region.width)
    drawn = region if isinstance(region, shapely.Geometry) else shapely.Polygon(np.asarray(region))
    return shapely.make_valid(drawn)


def union_of(regions: Iterable[Region]) -> shapely.Geometry:
    """The union of regions, (y, x); overlaps count once."""
    return shapely.union_all([area_of(one) for one in regions])


def covered(regions: Iterable[Region], shape: tuple[int, int]) -> shapely.Geometry:
    """The union of regions clipped to a slide of ``shape``, level-0 px; empty if none is on it."""
    return shapely.intersection(union_of(regions), shapely.box(0, 0, *shape))
