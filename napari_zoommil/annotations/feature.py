"""One GeoJSON feature and its meaning: cells, a region, or something else.

Rules:

- *cells*: a ``Point`` or ``MultiPoint`` of any object type; a ``Polygon`` or ``MultiPolygon`` whose
  ``objectType`` is ``cell`` or ``detection``, at the centroid of its nucleus if it has one;
- a *region*: a ``Polygon``, a ``MultiPolygon`` or a ``GeometryCollection`` with one of them that is an
  annotation, with or without a class. It is *complete*, so that every cell in it is annotated, if it is one
  polygon without holes and has the metadata entry ``zoommil: complete`` or the name ``complete region``;
- *other*: everything else, such as lines, tiles, and regions whose outline encloses nothing. It is kept and
  written back.

A feature keeps its JSON from the file as text, of which the properties are shared by features with equal
ones: a file of a million cells has few different ones.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import UNCLASSIFIED, Colour, as_colour
from napari_zoommil.annotations.feature_text import (
    LEGACY_TYPES,
    Json,
    KnownProperties,
    Properties,
    Text,
    as_dict,
)
from napari_zoommil.annotations.geojson_outlines import (
    AREAS,
    WHOLE_SLIDE,
    areas_of,
    centroid_of,
    moved_polygons,
    position,
)
from napari_zoommil.geometry import Pair

ANNOTATOR, DIAMETER, MARKER = "annotator", "cell_diameter_um", "zoommil"
"""Our entries in ``properties.metadata``, a map of strings that QuPath preserves."""

COMPLETE, COMPLETE_NAME = "complete", "complete region"


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
    parts : Text
        The feature as JSON.
    kind : Kind
    class_name : str
        Class of the cells or the region; empty for a region without class.
    marks : tuple of Mark
        The cells: several in a ``MultiPoint``, else one.
    polygons : tuple of shapely.Polygon
        A region's polygons, level-0 (y, x), with their holes.
    fault : str
        Why it cannot be read, if so; it is then kept, and means nothing here.
    origin : (float, float)
        Level-0 (y, x) from which the coordinates in ``raw`` count; all others count from the slide's corner.
    """

    id: str
    serial: int
    parts: Text
    kind: Kind
    class_name: str = ""
    marks: tuple[Mark, ...] = ()
    polygons: tuple[shapely.Polygon, ...] = ()
    fault: str = ""
    origin: Pair = WHOLE_SLIDE

    @property
    def text(self) -> bytes:
        """The feature as JSON text."""
        head, properties, tail = self.parts
        return head if tail is None else head + properties.text + tail

    @property
    def raw(self) -> Json:
        """The feature as JSON, decoded anew."""
        raw: Json = json.loads(self.text)
        return raw

    @property
    def properties(self) -> Json:
        """Never changed in place."""
        return self.parts.properties.value

    @property
    def metadata(self) -> Json:
        return as_dict(self.properties.get("metadata"))

    @property
    def annotator(self) -> str:
        """Who made it; empty if the file does not state it."""
        return str(self.metadata.get(ANNOTATOR, ""))

    @cached_property
    def complete(self) -> bool:
        """Whether it is a region in which every cell is annotated."""
        return self.kind is Kind.REGION and _marked_complete(self, self.raw["geometry"])

    @property
    def outline(self) -> NDArray[np.float64]:
        """Outer ring of a region's first polygon, (n, 2) level-0 (y, x); the first corner is not repeated."""
        return shapely.get_coordinates(self.polygons[0].exterior)[:-1]

    @cached_property
    def area_px(self) -> float:
        """Size of a region, level-0 px squared, without its holes."""
        return float(sum(shapely.make_valid(one).area for one in self.polygons))

    @property
    def colour(self) -> Colour | None:
        """Of an object without class, as QuPath shows it."""
        return _colour(self.properties)


def parse(
    raw: object,
    id: str,
    serial: int,
    origin: Pair = WHOLE_SLIDE,
    known: KnownProperties | None = None,
    source: str = "",
) -> Feature:
    """The feature of a GeoJSON object.

    Parameters
    ----------
    raw : object
    id : str
    serial : int
    origin : (float, float)
        Level-0 (y, x) from which its coordinates count.
    known : dict, optional
        The properties of other features, which it may share.
    source : str
        The text that it was decoded from, if any.

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
    parts, kind = Text.of(raw, id, known, source), _kind(raw)
    if kind is Kind.CELLS:
        name = _class_name(as_dict(raw.get("properties"))) or UNCLASSIFIED
        return Feature(id, serial, parts, kind, name, _moved_marks(_marks(raw, id), origin), origin=origin)
    feature = Feature(id, serial, parts, Kind.OTHER, origin=origin)
    return _region(feature, raw["geometry"]) if kind is Kind.REGION else feature


def _moved_marks(marks: tuple[Mark, ...], by: Pair) -> tuple[Mark, ...]:
    if by == WHOLE_SLIDE:
        return marks
    return tuple(Mark(id, y + by[0], x + by[1]) for id, y, x in marks)


def _kind(raw: Json) -> Kind:
    shape = as_dict(raw.get("geometry")).get("type")
    if shape in ("Point", "MultiPoint"):
        return Kind.CELLS
    what = object_type(raw)
    if shape in ("Polygon", "MultiPolygon") and what in ("cell", "detection"):
        return Kind.CELLS
    return Kind.REGION if shape in AREAS and what == "annotation" else Kind.OTHER


def _region(feature: Feature, geometry: Json) -> Feature:
    """A region; one whose outline cannot be read is kept as something else.

    Without this the whole file would be refused for one outline of two corners.
    """
    try:
        polygons = tuple(areas_of(geometry))
        name = appearance(feature)[0]
    except ValueError as error:
        return replace(feature, fault=str(error))
    if not polygons:
        return replace(feature, fault="its outline is empty") if _is_area(geometry) else feature
    polygons = moved_polygons(polygons, feature.origin)
    return replace(feature, kind=Kind.REGION, class_name=name, polygons=polygons)


def _is_area(geometry: Json) -> bool:
    """Whether a geometry is an outline; a collection of lines is none."""
    return geometry["type"] in ("Polygon", "MultiPolygon")


def _marked_complete(feature: Feature, geometry: Json) -> bool:
    marked = feature.metadata.get(MARKER) == COMPLETE or feature.properties.get("name") == COMPLETE_NAME
    rings = geometry.get("coordinates") if geometry["type"] == "Polygon" else None
    return marked and isinstance(rings, list) and len(rings) == 1


def object_type(raw: Json) -> str:
    """``objectType`` in the spellings of all versions of QuPath; ``annotation`` if none is stated."""
    properties, legacy = as_dict(raw.get("properties")), raw.get("id")
    fallback = LEGACY_TYPES.get(legacy, "annotation") if isinstance(legacy, str) else "annotation"
    return str(properties.get("objectType") or properties.get("object_type") or fallback)


def appearance(feature: Feature) -> tuple[str, Colour | None, float | None]:
    """Name, colour and cell diameter (µm) of the class as the feature states them; no name is "".

    Programs that know only flat properties, such as those on GDAL, write the classification as JSON text.

    Raises
    ------
    ValueError
        If the classification is malformed; an invalid colour counts as not stated.
    """
    return _appearance(feature.parts.properties)


@lru_cache(4096)
def _appearance(properties: Properties) -> tuple[str, Colour | None, float | None]:
    stated = as_dict(_unpacked(properties.value.get("classification")))
    diameter = diameter_of(as_dict(properties.value.get("metadata")).get(DIAMETER))
    return _class_name(properties.value), _colour(stated), diameter


def _class_name(properties: Json) -> str:
    stated = _unpacked(properties.get("classification"))
    name = stated.get("name") if isinstance(stated, dict) else stated
    if name is None and isinstance(stated, dict):
        names = stated.get("names")
        if isinstance(names, list) and all(isinstance(part, str) for part in names):
            name = ": ".join(names)
    if not isinstance(name, (str, type(None))):
        raise ValueError("its classification has no name")
    return name if name and name.strip() else ""


def may_state(feature: Feature, colour: bool, diameter: bool) -> bool:
    """Whether its class may state a colour or a diameter; of a million features each is decoded else."""
    text = feature.parts.properties.text
    return (colour and b"color" in text) or (diameter and DIAMETER.encode() in text) or b"\\" in text


def _unpacked(stated: Any) -> Any:
    """A classification that was written as text; a name that only looks like it stays a name."""
    if not (isinstance(stated, str) and stated.startswith("{")):
        return stated
    with suppress(ValueError, RecursionError):
        return json.loads(stated)
    return stated


def _colour(stated: Json) -> Colour | None:
    """A colour in the spellings of all versions of QuPath; an invalid one counts as not stated."""
    colour, packed = as_colour(stated.get("color")), stated.get("colorRGB")
    if colour is None and isinstance(packed, int):
        colour = (packed >> 16) & 255, (packed >> 8) & 255, packed & 255
    return colour


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
    place, nucleus = centroid_of(geometry), raw.get("nucleusGeometry")
    return (Mark(id, *(centroid_of(nucleus) if isinstance(nucleus, dict) else place)),)
