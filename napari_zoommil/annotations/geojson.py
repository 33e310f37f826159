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
from dataclasses import dataclass, field
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
from napari_zoommil.annotations.feature import (
    DIAMETER,
    ENCODER,
    LEGACY_TYPES,
    Feature,
    Json,
    Properties,
    appearance,
    as_dict,
    diameter_of,
    parse,
)
from napari_zoommil.annotations.json_text import LazyList, decode
from napari_zoommil.errors import AnnotationError

OWN_MEMBER = "napari_zoommil"

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

Blocks = dict[int, tuple[tuple[Feature, ...], bytes]]
"""Features and text of each block, by the index of its first feature."""


@dataclass(frozen=True)
class Envelope:
    """The content of a file other than its features."""

    form: Literal["collection", "array", "feature"] = "collection"
    members: Json = field(default_factory=dict)
    """Other members of the collection."""


@dataclass(frozen=True)
class Content:
    """The content of a file."""

    features: tuple[Feature, ...]
    classes: tuple[CellClass, ...]
    envelope: Envelope


def loads(content: bytes, name: str) -> Content:
    """Read a GeoJSON document; ``name`` is the file name for error messages.

    Raises
    ------
    AnnotationError
        If it is not GeoJSON, or a feature is malformed.
    """
    return drained(read_steps(content, name, opened))


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
    content: bytes, name: str, open_it: Callable[[bytes], tuple[Envelope, Sequence[Any]]]
) -> Steps:
    """Read a document step by step; ``open_it`` finds its envelope and its features as GeoJSON objects.

    Raises
    ------
    AnnotationError
        If it is not what it should be, or a feature is malformed.
    """
    with _refusing(content, name):
        envelope, raws = open_it(content)
        ENCODER.encode(envelope.members)  # raises RecursionError now and not when writing
        features: list[Feature] = []
        for feature in _features(raws):
            features.append(feature)
            if len(features) % STEP == 0:
                yield len(features), len(raws)
        return Content(tuple(features), classes_of(features, envelope), envelope)


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
    """The envelope and the features of a document; a single geometry counts as a feature."""
    document = decode(content.decode("utf-8-sig"), _stated_id)
    if isinstance(document, dict) and document.get("type") in GEOMETRIES:
        document = {"type": "Feature", "geometry": document, "properties": {}}
    if isinstance(document, (list, LazyList)):
        return Envelope("array"), document
    if isinstance(document, dict) and document.get("type") == "Feature":
        return Envelope("feature"), [document]
    if isinstance(document, dict) and isinstance(document.get("features"), (list, LazyList)):
        members = {key: value for key, value in document.items() if key not in ("type", "features")}
        return Envelope("collection", members), document["features"]
    raise ValueError("it holds no features")


def _features(raws: Sequence[Any]) -> Iterable[Feature]:
    known: dict[bytes, Properties] = {}
    for number, (raw, id) in enumerate(zip(raws, _ids(raws), strict=True), 1):
        try:
            feature = parse(raw, id, number, known)
        except ValueError as error:
            raise ValueError(f"its feature {number} is malformed: {error}") from error
        yield feature


def _ids(raws: Sequence[Any]) -> list[str]:
    """An id for each feature: its own, unless it has none or an earlier feature has the same."""
    ids = list(raws.notes) if isinstance(raws, LazyList) else [_stated_id(raw) for raw in raws]
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
        known = stated.get(feature.class_name, (None, None))
        if feature.class_name and not all(known):
            _, colour, diameter = appearance(feature)
            stated[feature.class_name] = known[0] or colour, known[1] or diameter
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
    return Envelope("collection", {**envelope.members, OWN_MEMBER: own})


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
