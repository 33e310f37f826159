"""A feature as JSON text, of which the properties are shared by features with equal ones.

A file of a million cells has few different properties; only what is edited is formatted anew.
"""

from __future__ import annotations

import json
import marshal
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

Json = dict[str, Any]

ENCODER = json.JSONEncoder(separators=(",", ":"))

LEGACY_TYPES = {
    "PathAnnotationObject": "annotation",
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathRootObject": "root",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
}
"""QuPath 0.2 wrote the type of an object into its id."""


def as_dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, eq=False)
class Properties:
    """The properties of a feature as JSON text; features with equal ones share an object.

    Attributes
    ----------
    text : bytes
    """

    text: bytes

    @property
    def value(self) -> Json:
        return _decoded(self.text)


@lru_cache(4096)
def _decoded(text: bytes) -> Json:
    """Never changed in place."""
    return as_dict(json.loads(text))


NONE = Properties(b"{}")

PROPERTIES = b'"properties":'


class Text(NamedTuple):
    """A feature as JSON text.

    Attributes
    ----------
    head : bytes
        Up to its properties; all of it if they cannot be exchanged in the text.
    properties : Properties
    tail : bytes or None
        What follows them; None if they are in ``head``.
    """

    head: bytes
    properties: Properties
    tail: bytes | None

    @classmethod
    def of(cls, raw: Json, id: str, known: dict[bytes, Properties] | None = None) -> Text:
        """The text of a feature that has this id; it shares the properties of those in ``known``."""
        text, stated = _encoded(raw), raw.get("properties")
        if not isinstance(stated, dict):
            return cls(text, NONE, None)
        known = {} if known is None else known
        key = marshal.dumps(stated, 2)  # faster than the text
        shared = known.get(key) or known.setdefault(key, Properties(_encoded(stated)))
        inner = shared.text
        before, found, after = text.partition(PROPERTIES + inner)
        # The same may be nested in another member; and an edit writes the id into the feature.
        if not found or (PROPERTIES + inner) in after or raw.get("id") != id or id in LEGACY_TYPES:
            return cls(text, shared, None)
        return cls(before + PROPERTIES, shared, after)


def _encoded(value: Json) -> bytes:
    return ENCODER.encode(value).encode("ascii")
