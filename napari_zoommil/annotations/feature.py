"""One GeoJSON feature and its meaning: cells, a complete region, or something else.

Rules:

- *cells*: a ``Point`` or ``MultiPoint`` of any object type; a ``Polygon`` or ``MultiPolygon`` whose
  ``objectType`` is ``cell`` or ``detection``, at the centroid of its nucleus if it has one;
- a *region* in which every cell is annotated: a ``Polygon`` without holes that is an annotation and
  has the metadata entry ``zoommil: complete`` or the name ``complete region``;
- *other*: everything else, such as regions drawn for another purpose. It is kept and written back.

A feature keeps its JSON from the file (``raw``), which is never changed in place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import UNCLASSIFIED, Colour, as_colour

Json = dict[str, Any]

ENCODER = json.JSONEncoder(separators=(",", ":"))

LARGEST_PX = 1e12
"""Largest coordinate that is accepted, px."""

ANNOTATOR, DIAMETER, MARKER = "annotator", "cell_diameter_um", "zoommil"
"""Our entries in ``properties.metadata``, a map of strings that QuPath preserves."""

COMPLETE, COMPLETE_NAME = "complete", "complete region"

LEGACY_TYPES = {
    "PathAnnotationObject": "annotation",
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathRootObject": "root",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
}
"""QuPath 0.2 wrote the type of an object into its id."""


class Kind(Enum):
    CELLS = "cells"
    REGION = "region"
    OTHER = "other"


class Mark(NamedTuple):
    """One cell: its id in this document, and its position (y, x) in level-0 px."""

    id: str
    y: float
    x: float


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature of the file.

    Attributes
    ----------
    id : str
    serial : int
        Position in the order of the document's features.
    raw : dict
        The feature as JSON.
    kind : Kind
    class_name : str
        Class of the cells.
    marks : tuple of Mark
        The cells: several in a ``MultiPoint``, else one.
    """

    id: str
    serial: int
    raw: Json
    kind: Kind
    class_name: str = ""
    marks: tuple[Mark, ...] = ()

    @cached_property
    def text(self) -> bytes:
        """The feature as JSON text; cached, so that saving formats only what changed."""
        return ENCODER.encode(self.raw).encode("ascii")

    @property
    def properties(self) -> Json:
        return self.raw.get("properties") or {}

    @property
    def metadata(self) -> Json:
        return as_dict(self.properties.get("metadata"))

    @property
    def annotator(self) -> str:
        """Who made it; empty if the file does not state it."""
        return str(self.metadata.get(ANNOTATOR, ""))

    @property
    def polygon(self) -> NDArray[np.float64]:
        """Outline of a region, (n, 2) level-0 (y, x); the first corner is not repeated."""
        ring = np.array([position(corner) for corner in self.raw["geometry"]["coordinates"][0]])
        return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def as_dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def position(value: object) -> tuple[float, float]:
    """(y, x) of a GeoJSON position.

    Raises
    ------
    ValueError
        If it is not a position.
    """
    if not (isinstance(value, list) and len(value) >= 2):
        raise ValueError("a position is not a list of x and y")
    for number in value[:2]:
        # NaN fails the comparison; integers of any size can be compared.
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) <= LARGEST_PX:
            raise ValueError("a coordinate is not a number of pixels")
    return float(value[1]), float(value[0])


def parse(raw: object, id: str, serial: int) -> Feature:
    """The feature of a GeoJSON object.

    Raises
    ------
    ValueError
        If it is malformed; the message completes "its feature 3 is malformed: …".
    """
    if not isinstance(raw, dict) or raw.get("type") != "Feature":
        raise ValueError('it is not an object of type "Feature"')
    if not isinstance(raw.get("properties", {}), (dict, type(None))):
        raise ValueError("its properties are not an object")
    if not isinstance(raw.get("geometry"), (dict, type(None))):
        raise ValueError("its geometry is not an object")
    feature = Feature(id, serial, raw, Kind.OTHER)
    kind = _kind(feature)
    if kind is Kind.CELLS:
        return Feature(id, serial, raw, kind, appearance(feature)[0], _marks(raw, id))
    if kind is Kind.REGION and len(feature.polygon) < 3:
        raise ValueError("its outline has fewer than three corners")
    return Feature(id, serial, raw, kind)


def _kind(feature: Feature) -> Kind:
    geometry, properties = as_dict(feature.raw.get("geometry")), feature.properties
    shape = geometry.get("type")
    if shape in ("Point", "MultiPoint"):
        return Kind.CELLS
    if shape not in ("Polygon", "MultiPolygon"):
        return Kind.OTHER
    if object_type(feature.raw) in ("cell", "detection"):
        return Kind.CELLS
    marked = feature.metadata.get(MARKER) == COMPLETE or properties.get("name") == COMPLETE_NAME
    rings = geometry.get("coordinates")
    if marked and shape == "Polygon" and isinstance(rings, list) and len(rings) == 1:
        if not isinstance(rings[0], list):
            raise ValueError("its outline is not a list")
        return Kind.REGION if object_type(feature.raw) == "annotation" else Kind.OTHER
    return Kind.OTHER


def object_type(raw: Json) -> str:
    """``objectType`` in the spellings of all versions of QuPath; ``annotation`` if none is stated."""
    properties, legacy = as_dict(raw.get("properties")), raw.get("id")
    fallback = LEGACY_TYPES.get(legacy, "annotation") if isinstance(legacy, str) else "annotation"
    return str(properties.get("objectType") or properties.get("object_type") or fallback)


def appearance(feature: Feature) -> tuple[str, Colour | None, float | None]:
    """Name, colour and cell diameter (µm) of the class as the feature states them.

    Raises
    ------
    ValueError
        If the classification is malformed; an invalid colour counts as not stated.
    """
    stated = feature.properties.get("classification")
    names = stated.get("names") if isinstance(stated, dict) else None
    name = stated.get("name") if isinstance(stated, dict) else stated
    if name is None and isinstance(names, list) and all(isinstance(part, str) for part in names):
        name = ": ".join(names)
    if not isinstance(name, (str, type(None))):
        raise ValueError("its classification has no name")
    colour = as_colour(as_dict(stated).get("color"))
    packed = as_dict(stated).get("colorRGB")
    if colour is None and isinstance(packed, int):
        colour = (packed >> 16) & 255, (packed >> 8) & 255, packed & 255
    name = name if name and name.strip() else UNCLASSIFIED
    return name, colour, diameter_of(feature.metadata.get(DIAMETER))


def diameter_of(stated: object) -> float | None:
    """A diameter in µm from a number or its text; None if it is not positive."""
    try:
        diameter = float(stated)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return diameter if 0 < diameter < float("inf") else None


def _marks(raw: Json, id: str) -> tuple[Mark, ...]:
    geometry = raw["geometry"]
    if geometry["type"] == "MultiPoint":
        members = geometry.get("coordinates")
        if not isinstance(members, list):
            raise ValueError("its points are not a list")
        return tuple(Mark(str(uuid4()), *position(member)) for member in members)
    if geometry["type"] == "Point":
        return (Mark(id, *position(geometry.get("coordinates"))),)
    place, nucleus = _centroid(geometry), raw.get("nucleusGeometry")
    return (Mark(id, *(_centroid(nucleus) if isinstance(nucleus, dict) else place)),)


def _centroid(geometry: Json) -> tuple[float, float]:
    try:
        centre = shapely.MultiPolygon(polygons_of(geometry)).centroid
        return position([centre.y, centre.x])
    except (ValueError, shapely.errors.ShapelyError) as error:
        raise ValueError("its outline is not a polygon") from error


def polygons_of(geometry: Json) -> list[shapely.Polygon]:
    """The polygons, (y, x), of a ``Polygon`` or ``MultiPolygon``, with their holes; empty ones are left out.

    Raises
    ------
    ValueError
        If a position is invalid, or an outline has too few positions.
    """
    coordinates = geometry.get("coordinates")
    polygons: Any = coordinates if geometry.get("type") == "MultiPolygon" else [coordinates]
    try:
        rings = [[[position(corner) for corner in ring] for ring in polygon] for polygon in polygons]
        return [shapely.Polygon(ring[0], ring[1:]) for ring in rings if ring and ring[0]]
    except (TypeError, shapely.errors.ShapelyError) as error:
        raise ValueError("its outline is not a list of positions") from error
