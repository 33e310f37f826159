"""A feature as JSON text, of which the properties are shared by features with equal ones.

A file of a million cells has few different properties; only what is edited is formatted anew. What was read
from a file is cut from it and not formatted, which would take longer than all else of reading.
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

MOST_BRACKETS = 400
"""In a text that is kept as it was read: one of fewer cannot be nested too deeply to be formatted later."""

_DECODER = json.JSONDecoder()


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
    def of(cls, raw: Json, id: str, known: KnownProperties | None = None, source: str = "") -> Text:
        """The text of a feature that has this id.

        Parameters
        ----------
        raw : dict
            The feature.
        id : str
        known : dict, optional
            The properties of other features, which it may share.
        source : str
            The text that it was decoded from, which is kept if it has the form that we write.
        """
        stated, known = raw.get("properties"), {} if known is None else known
        exchangeable = (
            raw.get("id") == id and id not in LEGACY_TYPES
        )  # an edit writes the id into the feature
        if source and exchangeable and isinstance(stated, dict) and (cut := _cut(source, known)):
            return cut
        text = _encoded(raw)
        if not isinstance(stated, dict):
            return cls(text, NONE, None)
        key = marshal.dumps(stated, 2)  # faster than the text
        shared = known.get(key) or known.setdefault(key, Properties(_encoded(stated)))
        inner = shared.text
        before, found, after = text.partition(PROPERTIES + inner)
        # The same may be nested in another member.
        if not found or (PROPERTIES + inner) in after or not exchangeable:
            return cls(text, shared, None)
        return cls(before + PROPERTIES, shared, after)


KnownProperties = dict[str | bytes, Properties]
"""Properties by their text as it was read, or by their marshalled value."""


def _cut(source: str, known: KnownProperties) -> Text | None:
    """The text of a feature that states its properties, cut at them.

    None if it has more than one line or other characters than ASCII, which we write otherwise, more than one
    member of that name, or is so long or deep that formatting it could fail later.
    """
    if not (source.isascii() and source.isprintable()):
        return None
    if source.count("[") + source.count("{") > MOST_BRACKETS:
        return None
    if source.count('properties"') != 1:  # however the others are spelled
        return None
    inner = source.partition('"properties":')[2].lstrip(" ")
    if not inner:
        return None
    at = len(source) - len(inner)
    shared = known.get(inner[:-1])  # mostly they are the last member
    if shared is not None:
        return Text(source[:at].encode("ascii"), shared, b"}")
    end = _DECODER.raw_decode(inner)[1]
    if inner[end:].strip() != "}" and "\\u" in source:  # then it may be a member of another one
        return None
    shared = known.get(inner[:end]) or known.setdefault(inner[:end], Properties(inner[:end].encode("ascii")))
    return Text(source[:at].encode("ascii"), shared, inner[end:].encode("ascii"))


def _encoded(value: Json) -> bytes:
    return ENCODER.encode(value).encode("ascii")
