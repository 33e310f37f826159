"""Annotations as GeoJSON, as QuPath 0.2 to 0.6 writes and reads them.

A file is a FeatureCollection, a bare array of features, one feature, or one geometry. Coordinates are x, y
in level-0 px. A feature that was not edited is written as it was read. Classes are stored in each feature
(``classification``, and the cell diameter in ``metadata``, which QuPath preserves) and, with their order
and with the classes that have no cells yet, in a foreign member of the collection, which QuPath drops.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Literal
from uuid import UUID, uuid5

from napari_zoommil.annotations.classes import (
    DEFAULT_DIAMETER_UM,
    UNCLASSIFIED,
    UNCLASSIFIED_COLOUR,
    CellClass,
    Colour,
    as_colour,
    next_colour,
)
from napari_zoommil.annotations.collection import without_collection
from napari_zoommil.annotations.feature import (
    DIAMETER,
    Feature,
    Kind,
    appearance,
    diameter_of,
    may_state,
    parse,
)
from napari_zoommil.annotations.feature_edits import in_frame as feature_in_frame
from napari_zoommil.annotations.feature_text import (
    ENCODER,
    LEGACY_TYPES,
    Json,
    KnownProperties,
    Text,
    as_dict,
)
from napari_zoommil.annotations.geojson_outlines import AREAS, WHOLE_SLIDE, position
from napari_zoommil.annotations.json_text import LazyList, decode
from napari_zoommil.errors import AnnotationError
from napari_zoommil.geometry import Pair

OWN_MEMBER, ORIGIN, OWNER_KEY, DOCUMENT_KEY = "napari_zoommil", "origin", "slide", "document"

GEOMETRIES = (
    "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection",
)  # fmt: skip

NAMESPACE = UUID("0f5b1d0e-8f0c-4f5e-9a55-5a1d1f0f3c77")
"""Features without an id get a hash in this namespace, so that two programs agree on it."""


BLOCK = 256
"""Features per block; the joined text of a block is cached until one of them changes."""

STEP = 500
"""Features between two reports of how far a file has been read."""

SEPARATOR = b",\n"

DEEPEST = 16
"""Collections in collections that are looked into."""

Blocks = dict[int, tuple[tuple[Feature, ...], bytes]]
"""Features and text of each block, by the index of its first feature."""


@dataclass(frozen=True)
class Envelope:
    """The content of a file other than its features."""

    form: Literal["collection", "array", "feature"] = "collection"
    members: Json = field(default_factory=dict)
    """Other members of the collection."""
    origin: Pair | None = WHOLE_SLIDE
    """Level-0 (y, x) from which coordinates in the file count; None where the slide is not known."""


@dataclass(frozen=True)
class Content:
    """The content of a file."""

    features: tuple[Feature, ...]
    classes: tuple[CellClass, ...]
    envelope: Envelope


def loads(content: bytes, name: str, origin: Pair | None = None) -> Content:
    """Read a GeoJSON document; ``name`` is the file name for error messages, ``origin`` the slide's.

    Raises
    ------
    AnnotationError
        If it is not GeoJSON, or a feature is malformed.
    """
    return drained(read_steps(content, name, opened, origin))


Steps = Generator[tuple[int, int], None, "Content"]
"""Yields how many features have been read, and of how many."""


def drained(steps: Steps) -> Content:
    """The content at the end of its reading."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def read_steps(
    content: bytes,
    name: str,
    open_it: Callable[[bytes], tuple[Envelope, Sequence[Any]]],
    origin: Pair | None = None,
) -> Steps:
    """Read a document step by step; ``open_it`` finds its envelope and its features as GeoJSON objects.

    Coordinates count from ``origin``, the place (y, x) on the slide where what QuPath shows of it begins,
    unless the document says from where.

    Raises
    ------
    AnnotationError
        If it is not what it should be, or a feature is malformed.
    """
    with _refusing(content, name), without_collection():
        envelope, raws = open_it(content)
        ENCODER.encode(envelope.members)  # raises RecursionError now and not when writing
        envelope = replace(envelope, origin=_origin(envelope, origin))
        features: list[Feature] = []
        for feature in _features(raws, envelope.origin or WHOLE_SLIDE):
            features.append(feature)
            if len(features) % STEP == 0:
                yield len(features), len(raws)
        _check_any(features)
        return Content(tuple(features), classes_of(features, envelope), envelope)


def _origin(envelope: Envelope, origin: Pair | None) -> Pair | None:
    """From where a document counts: as it says itself, or from the corner of the slide if it is an older one
    of ours; else as QuPath does."""
    own = envelope.members.get(OWN_MEMBER)
    if not isinstance(own, dict):
        return origin
    try:
        return position(own[ORIGIN])
    except (KeyError, ValueError):
        return WHOLE_SLIDE


def _check_any(features: Sequence[Feature]) -> None:
    """Refuse a document none of whose features can be read; an empty one can."""
    if features and all(one.fault for one in features) and not all(_is_area(one) for one in features):
        raise ValueError(f"its feature 1 is malformed: {features[0].fault}")


def _is_area(feature: Feature) -> bool:
    """An outline that encloses nothing is kept, whatever else there is."""
    return as_dict(feature.raw.get("geometry")).get("type") in AREAS


@contextmanager
def _refusing(content: bytes, name: str) -> Iterator[None]:
    """Convert errors of parsing to an AnnotationError that states the reason."""
    try:
        yield
        return
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    except json.JSONDecodeError as error:
        reason = f"it is not JSON ({error})" if content.strip() else "it is empty"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise AnnotationError(
        f"{name} cannot be read as annotations: {reason}; export it again as GeoJSON, or give another file"
    )


def opened(content: bytes) -> tuple[Envelope, Sequence[Any]]:
    """The envelope and the features of a document; a geometry counts as a feature, wherever it is."""
    document = _wrapped(decode(content.decode(json.detect_encoding(content)), _noted))
    if isinstance(document, (list, LazyList)):
        return Envelope("array"), _flat(document)
    if isinstance(document, dict) and document.get("type") == "Feature":
        return Envelope("feature"), [document]
    if isinstance(document, dict) and isinstance(document.get("features"), (list, LazyList)):
        members = {key: value for key, value in document.items() if key not in ("type", "features")}
        return Envelope("collection", members), _flat(document["features"])
    raise ValueError("it holds no features")


def _wrapped(one: Any) -> Any:
    """A geometry as a feature; anything else as it is."""
    if isinstance(one, dict) and one.get("type") in GEOMETRIES:
        return {"type": "Feature", "geometry": one, "properties": {}}
    return one


def _noted(one: Any) -> tuple[bool, str | None]:
    """Whether an item of a list is a feature as it is, and its id."""
    return isinstance(one, dict) and one.get("type") == "Feature", _stated_id(one)


def _flat(features: Sequence[Any]) -> Sequence[Any]:
    """The features of a list, and of the collections in it."""
    if isinstance(features, LazyList) and all(plain for plain, _ in features.notes):
        return features
    return list(_unfolded(features))


def _unfolded(features: Sequence[Any], depth: int = 0) -> Iterator[Any]:
    for one in features:
        inner = one.get("features") if isinstance(one, dict) else None
        if isinstance(inner, list) and one.get("type") == "FeatureCollection" and depth < DEEPEST:
            yield from _unfolded(inner, depth + 1)
        else:
            yield _wrapped(one)


def _features(raws: Sequence[Any], origin: Pair) -> Iterable[Feature]:
    """The features; one that is malformed is kept, with what is wrong with it, and does no harm to others."""
    known: KnownProperties = {}
    sources = raws.sources if isinstance(raws, LazyList) else repeat("", len(raws))
    for number, (raw, id, source) in enumerate(zip(raws, _ids(raws), sources, strict=True), 1):
        try:
            feature = parse(raw, id, number, origin, known, source)
        except ValueError as error:
            if not isinstance(raw, dict):
                raise ValueError(f"its feature {number} is malformed: {error}") from error
            feature = Feature(id, number, Text.of(raw, id), Kind.OTHER, fault=str(error), origin=origin)
        yield feature


def _ids(raws: Sequence[Any]) -> list[str]:
    """An id for each feature: its own, unless it has none or an earlier feature has the same."""
    ids = [id for _, id in raws.notes] if isinstance(raws, LazyList) else [_stated_id(raw) for raw in raws]
    known, taken, copies = {id for id in ids if id}, set[str](), Counter[str]()
    for index, id in enumerate(ids):
        if not id or id in taken:
            text = json.dumps(raws[index], sort_keys=True)
            while not id or id in known:
                id = str(uuid5(NAMESPACE, f"{text}#{copies[text]}"))
                copies[text] += 1
            known.add(id)
        taken.add(id)
        ids[index] = id
    return [id for id in ids if id]


def _stated_id(raw: Any) -> str | None:
    stated = raw.get("id") if isinstance(raw, dict) else None
    if isinstance(stated, bool) or not isinstance(stated, (str, int)) or stated in LEGACY_TYPES:
        return None
    return str(stated) or None


def classes_of(features: Iterable[Feature], envelope: Envelope) -> tuple[CellClass, ...]:
    """Classes in the order of the file; the first stated colour and diameter of each count."""
    stated: dict[str, tuple[Colour | None, float | None]] = {}
    own = as_dict(envelope.members.get(OWN_MEMBER)).get("classes")
    for entry in own if isinstance(own, list) else []:
        name = as_dict(entry).get("name")
        if isinstance(name, str) and name.strip():
            stated[name] = as_colour(entry.get("color")), diameter_of(entry.get(DIAMETER))
    for feature in features:
        if not feature.class_name:
            continue
        colour, diameter = stated.setdefault(feature.class_name, (None, None))
        if not (colour and diameter) and may_state(feature, not colour, not diameter):
            _, own_colour, own_diameter = appearance(feature)
            stated[feature.class_name] = colour or own_colour, diameter or own_diameter
    classes: list[CellClass] = []
    taken = [CellClass(name, colour) for name, (colour, _) in stated.items() if colour]
    for name, (colour, diameter) in stated.items():
        fallback = UNCLASSIFIED_COLOUR if name == UNCLASSIFIED else next_colour([*taken, *classes])
        classes.append(CellClass(name, colour or fallback, diameter or DEFAULT_DIAMETER_UM))
    return tuple(classes)


def with_classes(envelope: Envelope, classes: Sequence[CellClass]) -> Envelope:
    """The envelope with the list of classes, which includes those without cells."""
    stated = [
        {"name": one.name, "color": list(one.colour), DIAMETER: float(one.diameter_um)} for one in classes
    ]
    own = {**as_dict(envelope.members.get(OWN_MEMBER)), "classes": stated}
    if envelope.origin is not None and envelope.origin != WHOLE_SLIDE:
        own[ORIGIN] = list(envelope.origin[::-1])
    return Envelope("collection", {**envelope.members, OWN_MEMBER: own}, envelope.origin)


def owned(content: Content, fingerprint: str, document: str) -> Content:
    """The same document with a statement of the slide that it is of, if that is known, and of which document
    it is a state.

    It is a collection, whatever it was, because nothing else has members to state it in.
    """
    stated = with_classes(content.envelope, content.classes)
    of = {OWNER_KEY: fingerprint} if fingerprint else {}
    of[DOCUMENT_KEY] = document
    rest = {key: value for key, value in stated.members[OWN_MEMBER].items() if key not in of}
    own = {**of, **rest}  # first, so that they are found without reading the file
    return replace(content, envelope=replace(stated, members={**stated.members, OWN_MEMBER: own}))


def in_frame(content: Content, origin: Pair | None) -> Content:
    """The same document with its coordinates counted from another origin.

    One whose origin was not known is counted from this one; else it is the same on the slide.
    """
    origin = origin or WHOLE_SLIDE
    if content.envelope.origin == origin:
        return content
    envelope = replace(content.envelope, origin=origin)
    if content.envelope.origin is None:
        features = tuple(_again(one, origin) for one in content.features)
    else:
        features = tuple(feature_in_frame(one, origin) for one in content.features)
    if OWN_MEMBER in envelope.members:
        envelope = replace(with_classes(envelope, content.classes), form=envelope.form)
    return Content(features, content.classes, envelope)


def _again(feature: Feature, origin: Pair) -> Feature:
    """A feature read again, from another origin."""
    return feature if feature.fault else parse(feature.raw, feature.id, feature.serial, origin)


def faults_of(content: Content) -> str:
    """What of a document cannot be read, in a sentence's end; empty if all can."""
    found = [(at, one.fault) for at, one in enumerate(content.features, 1) if one.fault]
    if not found:
        return ""
    count = f"{len(found):,} of its {len(content.features):,} features cannot be read and count for nothing"
    return f"{count} (its feature {found[0][0]} is malformed: {found[0][1]})"


def dumps(content: Content, blocks: Blocks | None = None) -> bytes:
    """A document as text, one feature per line; ``blocks`` is a cache of the last text, updated here."""
    features, blocks = content.features, {} if blocks is None else blocks
    starts = range(0, len(features), BLOCK)
    parts = [_joined(features[start : start + BLOCK], start, blocks) for start in starts] or [b""]
    if content.envelope.form == "feature" and len(features) == 1:
        head, tail = "", "\n"
    elif content.envelope.form == "array":
        head, tail = "[\n", "\n]\n"
    else:
        members = "".join(
            f"{json.dumps(key)}:{ENCODER.encode(value)},\n" for key, value in content.envelope.members.items()
        )
        head, tail = f'{{"type":"FeatureCollection",\n{members}"features":[\n', "\n]}\n"
    parts[0] = head.encode("ascii") + parts[0]
    parts[-1] += tail.encode("ascii")
    return SEPARATOR.join(parts)


def _joined(features: tuple[Feature, ...], start: int, blocks: Blocks) -> bytes:
    known = blocks.get(start)
    if known and known[0] == features:  # features are compared by identity
        return known[1]
    text = SEPARATOR.join([feature.text for feature in features])
    blocks[start] = features, text
    return text
