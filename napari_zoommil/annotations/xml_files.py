"""Annotations as XML of ASAP and of Aperio ImageScope, converted to GeoJSON features as QuPath has them.

Coordinates are x, y in level-0 px in both. ASAP: the group of an annotation is its class. ImageScope: the
name of a layer is the class of its regions, and its negative regions are holes in the others. Lines, rulers
and arrows become lines, which are kept but have no meaning here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import Colour
from napari_zoommil.annotations.feature_text import Json
from napari_zoommil.annotations.geojson import Envelope
from napari_zoommil.annotations.geojson_outlines import position

MOST_BYTES = 256 << 20
"""Size of the largest file that is read; 2,000 regions of 1,000 corners have 100 MB."""

DEEPEST = 64

Floats = NDArray[np.float64]

MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Byte order marks."""

ELLIPSE, RECTANGLE, LINES = "2", "1", ("3", "4")
"""Kinds of regions of ImageScope; all others are polygons."""

CIRCLE = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]


def is_xml(content: bytes) -> bool:
    """Whether a file is XML; no JSON begins so."""
    start = content[:64]
    for mark in MARKS:
        start = start.removeprefix(mark)
    return start.replace(b"\0", b"").lstrip().startswith(b"<")


def opened_xml(content: bytes) -> tuple[Envelope, list[Json]]:
    """The features of a file, without ids.

    Raises
    ------
    ValueError
        If it is no XML of these programs; the message completes "it cannot be read: …".
    """
    root = _parsed(content)
    if root.tag == "ASAP_Annotations":
        return Envelope(), list(_asap(root))
    if root.tag == "Annotations":
        return Envelope(), [one for layer in root.iter("Annotation") for one in _layer(layer)]
    raise ValueError("it is XML, but neither of ASAP nor of ImageScope")


def _parsed(content: bytes) -> Element:
    """The elements of an XML document, without a document type: so without entities of any kind."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB")
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which is not supported")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"it is not XML ({error})") from error


# ASAP


def _asap(root: Element) -> Iterator[Json]:
    colours = {group.get("Name", ""): _hex(group.get("Color", "")) for group in root.iter("Group")}
    for one in root.iter("Annotation"):
        places = _places(one.iter("Coordinate"))
        name, own = _name(one.get("PartOfGroup", "")), _hex(one.get("Color", ""))
        properties = _properties(one.get("Name", ""), name, colours.get(name) or own, own)
        kind = one.get("Type", "")
        if kind == "Dot" or kind == "PointSet":
            yield from (_feature({"type": "Point", "coordinates": at}, properties) for at in places.tolist())
        elif kind == "Measurement":
            yield _line(places, properties)
        else:
            yield _feature(_outline(places), properties)


def _name(text: str) -> str:
    """A class; ASAP writes None for no group."""
    return "" if text.strip() == "None" else text.strip()


def _hex(text: str) -> Colour | None:
    """``#F4FA58`` as a colour."""
    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)[-3:]
    except ValueError:
        return None
    return red, green, blue


# ImageScope


def _layer(layer: Element) -> Iterator[Json]:
    """The regions of a layer; all its negative ones are cut out of the others."""
    colour = _packed(layer.get("LineColor", ""))
    name = _name(layer.get("Name", "")) or next(
        (text for one in layer.findall("Attributes/Attribute") if (text := _name(one.get("Name", "")))), ""
    )
    regions = [(one, _corners(one)) for one in layer.iter("Region")]
    holes = [_area(corners) for one, corners in regions if one.get("NegativeROA") == "1" and len(corners) > 2]
    cut = shapely.STRtree(holes)
    for one, corners in regions:
        properties = _properties(one.get("Text", ""), name, colour, colour)
        if one.get("Type") in LINES:
            yield _line(corners, properties)
        elif one.get("NegativeROA") != "1":
            yield _feature(_without(corners, [holes[at] for at in _hit(cut, corners)]), properties)


def _corners(region: Element) -> Floats:
    """(n, 2) x and y; rectangles and ellipses may be given by two opposite corners."""
    places, kind = _places(region.iter("Vertex")), region.get("Type")
    if kind not in (ELLIPSE, RECTANGLE) or not len(places):
        return places
    low, high = places.min(0), places.max(0)
    if kind == ELLIPSE:
        return (low + high) / 2 + np.hstack([np.cos(CIRCLE), np.sin(CIRCLE)]) * (high - low) / 2
    if len(places) == 2:
        return np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    return places


def _area(corners: Floats) -> shapely.Geometry:
    return shapely.make_valid(shapely.Polygon(corners))


def _hit(tree: shapely.STRtree, corners: Floats) -> list[int]:
    if len(corners) < 3:
        return []
    return tree.query(_area(corners), predicate="intersects").tolist()


def _without(corners: Floats, holes: list[shapely.Geometry]) -> Json:
    """An outline less what is cut out of it."""
    if not holes:
        return _outline(corners)
    left = shapely.difference(_area(corners), shapely.union_all(holes))
    return json.loads(shapely.to_geojson(left))


def _packed(text: str) -> Colour | None:
    """A colour as Windows has it: blue, green and red in one number."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value & 255, (value >> 8) & 255, (value >> 16) & 255


# Both


def _places(elements: Iterable[Element]) -> Floats:
    """(n, 2) x and y of elements with these attributes, in the order of the file."""
    found = [_place(one) for one in elements]
    return np.array(found, np.float64).reshape(-1, 2)


def _place(element: Element) -> tuple[float, float]:
    try:
        at = [float(element.get(name, "").replace(",", ".")) for name in ("X", "Y")]
    except ValueError as error:
        raise ValueError("a corner has no X and Y") from error
    y, x = position(at)
    return x, y


def _properties(name: str, class_name: str, colour: Colour | None, own: Colour | None) -> Json:
    """As QuPath has them: a class with its colour, else the colour of the object."""
    stated: Json = {"objectType": "annotation", **({"name": name} if name else {})}
    if class_name:
        return {
            **stated,
            "classification": {"name": class_name, **({"color": list(colour)} if colour else {})},
        }
    return {**stated, **({"color": list(own)} if own else {})}


def _outline(corners: Floats) -> Json:
    ring: list[Any] = corners.tolist()
    if ring and ring[0] != ring[-1]:
        ring.append(ring[0])
    return {"type": "Polygon", "coordinates": [ring]}


def _line(places: Floats, properties: Json) -> Json:
    return _feature({"type": "LineString", "coordinates": places.tolist()}, properties)


def _feature(geometry: Json, properties: Json) -> Json:
    return {"type": "Feature", "geometry": geometry, "properties": properties}
