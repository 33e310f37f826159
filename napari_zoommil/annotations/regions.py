"""Regions of a slide in a file, as QuPath and this project write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from napari_zoommil.errors import AnnotationError

AREAS = ("Polygon", "MultiPolygon")


def read_regions(path: Path) -> tuple[NDArray[np.float64], ...]:
    """Outlines of all polygons of a GeoJSON file, (n, 2) level-0 y and x each; holes belong to them.

    Raises
    ------
    AnnotationError
        If it cannot be read, or holds no polygon.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        areas = [shape(one) for one in map(_geometry, _features(document)) if one.get("type") in AREAS]
        outlines = [
            part.exterior for area in areas for part in getattr(area, "geoms", [area]) if not part.is_empty
        ]
        found = tuple(shapely.get_coordinates(one)[:, ::-1].astype(np.float64) for one in outlines)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise AnnotationError(f"{path} is not GeoJSON with regions: {error}") from error
    if not all(np.isfinite(one).all() for one in found):
        raise AnnotationError(f"{path} has a position that is no number")
    if not found:
        raise AnnotationError(f"{path} holds no polygon; draw a region and export it as GeoJSON")
    return found


def _features(document: Any) -> list[Any]:
    """Those of a collection, of a list as older programs write it, or a single one."""
    if isinstance(document, list):
        return document
    return list(document["features"]) if document.get("type") == "FeatureCollection" else [document]


def _geometry(feature: Any) -> dict[str, Any]:
    found: dict[str, Any] = (feature.get("geometry") or {}) if "geometry" in feature else feature
    return found
