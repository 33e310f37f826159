"""JSON of many features, of which one is decoded at a time: together they take ten times their text."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class LazyList(Sequence[Any]):
    """An array in a JSON text, whose items are decoded whenever they are asked for.

    Parameters
    ----------
    text : str
    starts, ends : sequence of int
        Where in the text each item begins and ends.
    notes : list
        What was noted of each item, see :func:`decode`.
    """

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int], notes: list[Any]) -> None:
        self._text, self._starts, self._ends, self.notes = text, starts, ends, notes

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> LazyList: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return LazyList(self._text, self._starts[index], self._ends[index], self.notes[index])
        return _DECODER.raw_decode(self._text, self._starts[index])[0]

    def __iter__(self) -> Iterator[Any]:
        for start in self._starts:
            yield _DECODER.raw_decode(self._text, start)[0]

    @property
    def sources(self) -> Iterator[str]:
        """The text of each item."""
        return (self._text[start:end] for start, end in zip(self._starts, self._ends, strict=True))


Note = Callable[[Any], Any]


def decode(text: str, note: Note) -> Any:
    """What ``json.loads`` returns, but an array at the root, and the features of a collection, are lazy.

    Parameters
    ----------
    text : str
    note : callable
        Called with each item of a lazy array; what it returns is kept, to spare another decoding.

    Raises
    ------
    json.JSONDecodeError, RecursionError
    """
    try:
        found, end = _root(text, _space(text, 0), note)
        if _space(text, end) == len(text):
            return found
    except (ValueError, IndexError):
        pass
    return json.loads(text)  # the fault is stated as always


def _root(text: str, at: int, note: Note) -> tuple[Any, int]:
    if text[at] == "[":
        return _array(text, at, note)
    if text[at] != "{":
        return _DECODER.raw_decode(text, at)
    members: dict[str, Any] = {}
    at = _space(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _space(text, at)
        if not isinstance(key, str) or text[at] != ":":
            raise ValueError
        at = _space(text, at + 1)
        lazy = key == "features" and text[at] == "["
        members[key], at = _array(text, at, note) if lazy else _DECODER.raw_decode(text, at)
        at = _next(text, at, "}")
    features = members.get("features")
    if isinstance(features, LazyList) and members.get("type") != "FeatureCollection":
        members["features"] = list(features)
    return members, at + 1


def _array(text: str, at: int, note: Note) -> tuple[LazyList, int]:
    notes: list[Any] = []
    starts, ends, at = array("q"), array("q"), _space(text, at + 1)
    more = text[at] != "]"
    while more:
        starts.append(at)
        item, at = _DECODER.raw_decode(text, at)
        ends.append(at)
        notes.append(note(item))
        comma = _COMMA.match(text, at)  # faster than _next
        more, at = comma is not None, comma.end() if comma else _space(text, at)
    if text[at] != "]":
        raise ValueError
    return LazyList(text, starts, ends, notes), at + 1


def _next(text: str, at: int, end: str) -> int:
    """Where the next item begins, or the end is."""
    at = _space(text, at)
    if text[at] == end:
        return at
    at = _space(text, at + 1) if text[at] == "," else len(text)
    if text[at] == end:
        raise ValueError
    return at


def _space(text: str, at: int) -> int:
    if text[at : at + 1] > " ":  # mostly there is none
        return at
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
