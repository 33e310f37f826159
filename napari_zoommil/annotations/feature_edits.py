"""Edits of features: each function returns a new feature and does not change the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import shapely

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.feature import (
    ANNOTATOR,
    COMPLETE,
    COMPLETE_NAME,
    DIAMETER,
    MARKER,
    Feature,
    Kind,
    Mark,
    object_type,
)
from napari_zoommil.annotations.feature_text import ENCODER, LEGACY_TYPES, Json, Properties, Text, as_dict
from napari_zoommil.annotations.geojson_outlines import AREAS, WHOLE_SLIDE, moved_polygons, position
from napari_zoommil.geometry import Pair

Polygons = tuple[shapely.Polygon, ...]
Restyled = dict[tuple[Properties, bool], Properties]
"""Properties in a new class, by the old ones and whether they are of cells."""


def new_point(
    id: str, serial: int, place: Pair, of: CellClass, annotator: str, origin: Pair = WHOLE_SLIDE
) -> Feature:
    """A cell at (y, x) level-0 px, as QuPath writes a point annotation; its JSON counts from ``origin``."""
    (y, x), (top, left) = place, origin
    head = (
        f'{{"type":"Feature","id":{ENCODER.encode(id)},'
        f'"geometry":{{"type":"Point","coordinates":[{float(x - left)!r},{float(y - top)!r}]}},"properties":'
    )
    parts = Text(head.encode("ascii"), _classified(_signed_point(annotator), of, True), b"}")
    return Feature(id, serial, parts, Kind.CELLS, of.name, (Mark(id, y, x),), origin=origin)


@lru_cache(64)
def _signed_point(annotator: str) -> Properties:
    return _as_properties({"objectType": "annotation", "metadata": _signed(annotator)})


def new_region(
    id: str,
    serial: int,
    polygons: Polygons,
    annotator: str,
    of: CellClass | None = None,
    complete: bool = False,
    origin: Pair = WHOLE_SLIDE,
) -> Feature:
    """A region as QuPath writes an annotation, with or without a class."""
    named = {"name": COMPLETE_NAME} if complete else {}
    metadata = {**({MARKER: COMPLETE} if complete else {}), **_signed(annotator)}
    properties = {"objectType": "annotation", **named, "metadata": metadata}
    geometry = _geometry(polygons, origin)
    raw = {"type": "Feature", "id": id, "geometry": geometry, "properties": properties}
    bare = Feature(id, serial, Text.of(raw, id), Kind.REGION, polygons=polygons, origin=origin)
    return classed(bare, of) if of else bare


def redrawn(feature: Feature, polygons: Polygons) -> Feature:
    """A region with other polygons; what a collection of geometries holds besides polygons stays."""
    raw, new = feature.raw, _geometry(polygons, feature.origin)
    old = raw["geometry"]
    if old["type"] == "GeometryCollection":
        others = [one for one in old["geometries"] if as_dict(one).get("type") not in AREAS]
        new = {**old, "geometries": [*others, new]}
    else:
        new = {**old, **new}
    return replace(feature, parts=_edited(feature, raw, geometry=new), polygons=polygons)


def _geometry(polygons: Polygons, origin: Pair) -> Json:
    written = moved_polygons(polygons, (-origin[0], -origin[1]))
    parts = [[_ring(one.exterior), *map(_ring, one.interiors)] for one in written]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _ring(ring: shapely.LinearRing) -> list[list[float]]:
    return shapely.get_coordinates(ring)[:, ::-1].tolist()


def _signed(annotator: str) -> Json:
    return {ANNOTATOR: annotator} if annotator else {}


def classed(feature: Feature, of: CellClass, known: Restyled | None = None) -> Feature:
    """The same in another class, or in its class with a new colour or cell diameter.

    Parameters
    ----------
    feature : Feature
    of : CellClass
    known : dict, optional
        Properties of other features that got the same class; they are shared.
    """
    old, cells = feature.parts.properties, feature.kind is Kind.CELLS
    known = {} if known is None else known
    new = known.get((old, cells))
    if new is None:
        new = known[old, cells] = _classified(old, of, cells)
    parts = replaced(feature, new)
    return Feature(
        feature.id,
        feature.serial,
        parts,
        feature.kind,
        of.name,
        feature.marks,
        feature.polygons,
        origin=feature.origin,
    )


def replaced(feature: Feature, properties: Properties) -> Text:
    """The text with other properties."""
    parts = feature.parts
    if parts.tail is None:
        return _edited(feature, feature.raw, properties=properties.value)
    return Text(parts.head, properties, parts.tail)


@lru_cache(4096)
def _classified(old: Properties, of: CellClass, cells: bool) -> Properties:
    """Properties with a class, which many features share."""
    stated = as_dict(old.value.get("classification"))
    kept = {key: value for key, value in stated.items() if key not in ("names", "colorRGB")}
    new = {**old.value, "classification": {**kept, "name": of.name, "color": list(of.colour)}}
    if cells:
        metadata = as_dict(old.value.get("metadata"))
        new["metadata"] = {**metadata, DIAMETER: repr(float(of.diameter_um))}
    return _as_properties(new)


def _as_properties(value: Json) -> Properties:
    return Properties(ENCODER.encode(value).encode("ascii"))


def unclassed(feature: Feature) -> Feature:
    """A region without its class."""
    properties = {key: value for key, value in feature.properties.items() if key != "classification"}
    return replace(feature, parts=replaced(feature, _as_properties(properties)), class_name="")


def moved(feature: Feature, places: dict[str, tuple[float, float]]) -> Feature:
    """Cells at new positions (y, x), by the id of their mark; an outline moves with its centroid."""
    marks = tuple(Mark(mark.id, *places.get(mark.id, (mark.y, mark.x))) for mark in feature.marks)
    raw = feature.raw
    geometry = raw["geometry"]
    if geometry["type"] in ("Point", "MultiPoint"):
        several = geometry["type"] == "MultiPoint"
        old = geometry["coordinates"] if several else [geometry["coordinates"]]
        top, left = feature.origin
        new = [[mark.x - left, mark.y - top, *rest[2:]] for mark, rest in zip(marks, old, strict=True)]
        geometry = {**geometry, "coordinates": new if several else new[0]}
        return replace(feature, parts=_edited(feature, raw, geometry=geometry), marks=marks)
    dy, dx = marks[0].y - feature.marks[0].y, marks[0].x - feature.marks[0].x
    outlines = {
        name: _mapped(raw[name], lambda at: [at[0] + dx, at[1] + dy, *at[2:]])
        for name in ("geometry", "nucleusGeometry")
        if isinstance(raw.get(name), dict)
    }
    return replace(feature, parts=_edited(feature, raw, **outlines), marks=marks)


def in_frame(feature: Feature, origin: Pair) -> Feature:
    """The same feature with its coordinates written from another origin.

    A geometry with something else in place of positions stays as it is, which the fault says.
    """
    if feature.origin == origin:
        return feature
    by = feature.origin[0] - origin[0], feature.origin[1] - origin[1]
    raw, faults = feature.raw, [feature.fault] if feature.fault else []
    outlines = {
        name: _moved_any(raw[name], by, faults)
        for name in ("geometry", "nucleusGeometry")
        if isinstance(raw.get(name), dict) and not feature.fault
    }
    # of cells and regions all that counts has been read
    fault = faults[0] if faults and feature.kind is Kind.OTHER else feature.fault
    return replace(feature, parts=Text.of({**raw, **outlines}, feature.id), origin=origin, fault=fault)


def _moved_any(geometry: Any, by: Pair, faults: list[str]) -> Any:
    """A geometry, or a collection of them, elsewhere; ``faults`` gets what is wrong with those that stay."""
    if not isinstance(geometry, dict):
        return geometry
    if isinstance(geometry.get("geometries"), list):
        return {**geometry, "geometries": [_moved_any(one, by, faults) for one in geometry["geometries"]]}

    def moved(at: list[Any]) -> list[Any]:
        y, x = position(at)
        return [x + by[1], y + by[0], *at[2:]]

    try:
        return _mapped(geometry, moved) if isinstance(geometry.get("coordinates"), list) else geometry
    except ValueError as error:
        faults.append(str(error))
        return geometry


def without(feature: Feature, ids: set[str]) -> Feature | None:
    """The feature without some cells; None if no cell is left."""
    kept = [index for index, mark in enumerate(feature.marks) if mark.id not in ids]
    if not kept:
        return None
    raw = feature.raw
    coordinates = [raw["geometry"]["coordinates"][index] for index in kept]
    parts = _edited(feature, raw, geometry={**raw["geometry"], "coordinates": coordinates})
    return replace(feature, parts=parts, marks=tuple(feature.marks[index] for index in kept))


def _edited(feature: Feature, raw: Json, **members: Any) -> Text:
    """Its text with other members, and with its id."""
    new = {**raw, **members}
    if isinstance(raw.get("id"), str) and raw["id"] in LEGACY_TYPES:
        new["properties"] = {**as_dict(new.get("properties")), "objectType": object_type(raw)}
    return Text.of({**new, "id": feature.id}, feature.id)


def _mapped(geometry: Json, change: Callable[[list[Any]], list[Any]]) -> Json:
    def walk(part: Any) -> Any:
        if part == []:
            return part
        nested = isinstance(part, list) and isinstance(part[0], list)
        return [walk(one) for one in part] if nested else change(part)

    return {**geometry, "coordinates": walk(geometry["coordinates"])}
