"""Edits of features: each function returns a new feature and does not change the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import shapely

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.feature import (
    ANNOTATOR,
    AREAS,
    COMPLETE,
    COMPLETE_NAME,
    DIAMETER,
    LEGACY_TYPES,
    MARKER,
    WHOLE_SLIDE,
    Feature,
    Json,
    Kind,
    Mark,
    as_dict,
    moved_polygons,
    object_type,
)
from napari_zoommil.geometry import Pair

Polygons = tuple[shapely.Polygon, ...]


def new_point(
    id: str, serial: int, place: Pair, of: CellClass, annotator: str, origin: Pair = WHOLE_SLIDE
) -> Feature:
    """A cell at (y, x) level-0 px, as QuPath writes a point annotation; its JSON counts from ``origin``."""
    geometry = {"type": "Point", "coordinates": [place[1] - origin[1], place[0] - origin[0]]}
    properties = {"objectType": "annotation", "metadata": _signed(annotator)}
    raw = {"type": "Feature", "id": id, "geometry": geometry, "properties": properties}
    bare = Feature(id, serial, raw, Kind.CELLS, of.name, (Mark(id, *place),), origin=origin)
    return classed(bare, of)


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
    bare = Feature(id, serial, raw, Kind.REGION, polygons=polygons, origin=origin)
    return classed(bare, of) if of else bare


def redrawn(feature: Feature, polygons: Polygons) -> Feature:
    """A region with other polygons; what a collection of geometries holds besides polygons stays."""
    old, new = feature.raw["geometry"], _geometry(polygons, feature.origin)
    if old["type"] == "GeometryCollection":
        others = [one for one in old["geometries"] if as_dict(one).get("type") not in AREAS]
        new = {**old, "geometries": [*others, new]}
    else:
        new = {**old, **new}
    return replace(feature, raw=_edited(feature, geometry=new), polygons=polygons)


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


def classed(feature: Feature, of: CellClass) -> Feature:
    """The same in another class, or in its class with a new colour or cell diameter."""
    old = as_dict(feature.properties.get("classification"))
    kept = {key: value for key, value in old.items() if key not in ("names", "colorRGB")}
    classification = {**kept, "name": of.name, "color": list(of.colour)}
    properties = {**feature.properties, "classification": classification}
    if feature.kind is Kind.CELLS:
        properties["metadata"] = {**feature.metadata, DIAMETER: repr(float(of.diameter_um))}
    return replace(feature, raw=_edited(feature, properties=properties), class_name=of.name)


def unclassed(feature: Feature) -> Feature:
    """A region without its class."""
    properties = {key: value for key, value in feature.properties.items() if key != "classification"}
    return replace(feature, raw=_edited(feature, properties=properties), class_name="")


def moved(feature: Feature, places: dict[str, tuple[float, float]]) -> Feature:
    """Cells at new positions (y, x), by the id of their mark; an outline moves with its centroid."""
    marks = tuple(Mark(mark.id, *places.get(mark.id, (mark.y, mark.x))) for mark in feature.marks)
    geometry = feature.raw["geometry"]
    if geometry["type"] in ("Point", "MultiPoint"):
        several = geometry["type"] == "MultiPoint"
        old = geometry["coordinates"] if several else [geometry["coordinates"]]
        top, left = feature.origin
        new = [[mark.x - left, mark.y - top, *rest[2:]] for mark, rest in zip(marks, old, strict=True)]
        geometry = {**geometry, "coordinates": new if several else new[0]}
        return replace(feature, raw=_edited(feature, geometry=geometry), marks=marks)
    dy, dx = marks[0].y - feature.marks[0].y, marks[0].x - feature.marks[0].x
    outlines = {
        name: _mapped(feature.raw[name], lambda at: [at[0] + dx, at[1] + dy, *at[2:]])
        for name in ("geometry", "nucleusGeometry")
        if isinstance(feature.raw.get(name), dict)
    }
    return replace(feature, raw=_edited(feature, **outlines), marks=marks)


def in_frame(feature: Feature, origin: Pair) -> Feature:
    """The same feature with its coordinates written from another origin."""
    if feature.origin == origin:
        return feature
    dy, dx = feature.origin[0] - origin[0], feature.origin[1] - origin[1]
    outlines = {
        name: _mapped_any(feature.raw[name], lambda at: [at[0] + dx, at[1] + dy, *at[2:]])
        for name in ("geometry", "nucleusGeometry")
        if isinstance(feature.raw.get(name), dict) and not feature.fault
    }
    return replace(feature, raw={**feature.raw, **outlines}, origin=origin)


def _mapped_any(geometry: Json, change: Callable[[list[Any]], list[Any]]) -> Json:
    """A geometry, or a collection of them, with its positions changed."""
    if geometry.get("type") == "GeometryCollection":
        return {**geometry, "geometries": [_mapped_any(one, change) for one in geometry["geometries"]]}
    return _mapped(geometry, change) if isinstance(geometry.get("coordinates"), list) else geometry


def without(feature: Feature, ids: set[str]) -> Feature | None:
    """The feature without some cells; None if no cell is left."""
    kept = [index for index, mark in enumerate(feature.marks) if mark.id not in ids]
    if not kept:
        return None
    geometry = feature.raw["geometry"]
    coordinates = [geometry["coordinates"][index] for index in kept]
    raw = _edited(feature, geometry={**geometry, "coordinates": coordinates})
    return replace(feature, raw=raw, marks=tuple(feature.marks[index] for index in kept))


def _edited(feature: Feature, **members: Any) -> Json:
    """Its JSON with other members, and with its id."""
    raw = {**feature.raw, **members}
    if isinstance(raw.get("id"), str) and raw["id"] in LEGACY_TYPES:
        raw["properties"] = {**as_dict(raw.get("properties")), "objectType": object_type(feature.raw)}
    return {**raw, "id": feature.id}


def _mapped(geometry: Json, change: Callable[[list[Any]], list[Any]]) -> Json:
    def walk(part: Any) -> Any:
        if isinstance(part, list) and part and not isinstance(part[0], list):
            return change(part)
        return [walk(one) for one in part]

    return {**geometry, "coordinates": walk(geometry["coordinates"])}
