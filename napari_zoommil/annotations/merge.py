"""Three-way merge of annotations: our changes and those of others since the last common version."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.edits import Classes
from napari_zoommil.annotations.feature import Feature, Kind, parse
from napari_zoommil.annotations.feature_text import ENCODER
from napari_zoommil.annotations.geojson import OWN_MEMBER, Content, Envelope, with_classes

ROUNDING_PX = 0.01
"""QuPath writes two decimals, so a smaller difference of position is not a move."""


@dataclass(frozen=True)
class Conflict:
    """A feature that was changed here and by others; the note tells which version was kept."""

    id: str
    note: str


@dataclass(frozen=True)
class Stranger(Conflict):
    """A document that took the place of ours on disk and shares nothing with it; it is not merged.

    Attributes
    ----------
    path : Path
        Where it was put aside.
    content : Content
        In the frame of our document.
    of_other_slide : bool
        Whether it says that it is of another slide.
    """

    path: Path
    content: Content
    of_other_slide: bool


def merge(base: Content, ours: Content, theirs: Content) -> tuple[Content, tuple[Conflict, ...]]:
    """Merge two versions.

    Additions of both are kept. A feature that one side deleted is deleted, unless the other changed it.
    If both changed a feature, ours is kept; of a ``MultiPoint``, added and removed points are merged.
    The order of classes is theirs, unless we changed our classes.

    Parameters
    ----------
    base, ours, theirs : Content
        The last common version, and the two versions to merge.

    Returns
    -------
    Content, tuple of Conflict
    """
    was, mine, other = ({one.id: one for one in content.features} for content in (base, ours, theirs))
    kept, conflicts = [], []
    for id in {**mine, **other}:
        feature, note = _merged(was.get(id), mine.get(id), other.get(id))
        if feature:
            kept.append(feature)
        if note:
            conflicts.append(Conflict(id, note))
    classes = _classes(base, ours, theirs, {one.class_name for one in kept})
    members = {**ours.envelope.members, **theirs.envelope.members}
    envelope = Envelope(theirs.envelope.form, members, ours.envelope.origin)
    if OWN_MEMBER in members or classes != theirs.classes:
        envelope = with_classes(envelope, classes)
    return Content(tuple(kept), classes, envelope), tuple(conflicts)


def same_content(one: Content, two: Content) -> bool:
    """Whether two documents are equal except for the order of their features."""
    if (one.classes, one.envelope.form) != (two.classes, two.envelope.form):
        return False
    members = [
        {key: ENCODER.encode(value) for key, value in each.envelope.members.items()} for each in (one, two)
    ]
    ours, theirs = (Counter(feature.text for feature in each.features) for each in (one, two))
    left = [Counter(map(_normal, each.elements())) for each in (ours - theirs, theirs - ours)]
    return members[0] == members[1] and left[0] == left[1]


def _merged(was: Feature | None, mine: Feature | None, other: Feature | None) -> tuple[Feature | None, str]:
    if mine and other and _same(mine, other):
        return mine, ""
    if _same(was, mine):
        return other, ""
    if _same(was, other) or (was and mine and other and _alike(was, other)):
        return mine, ""
    if mine is None:
        if was and other and _alike(was, other):
            return None, ""
        return other, "you deleted it and somebody else changed it: it was kept"
    if other is None:
        return mine, "somebody else deleted it and you changed it: it was kept"
    if was and _can_unite(was, mine, other):
        return _united(was, mine, other), ""
    return mine, "you and somebody else changed it: yours was kept"


def _same(one: Feature | None, two: Feature | None) -> bool:
    if one is None or two is None or one is two:
        return one is two
    return one.text == two.text or _normal(one.text) == _normal(two.text)


def _normal(text: bytes) -> str:
    """A feature as we write it; each program writes spaces and numbers in its own way."""
    return ENCODER.encode(json.loads(text))


def _alike(one: Feature, two: Feature) -> bool:
    """Whether they are equal up to rounding of their coordinates."""
    if (one.kind, one.class_name) != (two.kind, two.class_name) or one.kind is Kind.OTHER:
        return False
    places = _places(one), _places(two)
    if [len(part.interiors) for part in one.polygons] != [len(part.interiors) for part in two.polygons]:
        return False
    if places[0].shape != places[1].shape or not np.allclose(*places, rtol=0, atol=ROUNDING_PX):
        return False
    with suppress(RecursionError):
        return one.properties == two.properties
    return False


def _places(feature: Feature) -> NDArray[np.float64]:
    if feature.kind is Kind.REGION:
        return shapely.get_coordinates(feature.polygons)
    return np.array([mark[1:] for mark in feature.marks])


def _can_unite(was: Feature, mine: Feature, other: Feature) -> bool:
    """Whether all three are a ``MultiPoint``, and ours and theirs have the same class."""
    return mine.class_name == other.class_name and all(
        one.kind is Kind.CELLS and one.raw["geometry"]["type"] == "MultiPoint" for one in (was, mine, other)
    )


def _united(was: Feature, mine: Feature, other: Feature) -> Feature | None:
    """Their ``MultiPoint`` with the points that we added and without those that we removed; None if it is
    empty.

    Its other members are theirs, unless they changed only its points.
    """
    before, now = (Counter(_key(mark[1:]) for mark in one.marks) for one in (was, mine))
    gone, new = before - now, now - before
    members = []
    theirs, ours = other.raw, mine.raw
    for member in theirs["geometry"]["coordinates"]:
        key = _key(_placed(other, member))
        if gone[key]:
            gone[key] -= 1
        else:
            members.append(member)
    for member in ours["geometry"]["coordinates"]:
        key = _key(_placed(mine, member))
        if new[key]:
            new[key] -= 1
            members.append(member)
    stated = ours if ENCODER.encode(was.properties) == ENCODER.encode(other.properties) else theirs
    raw = {**stated, "geometry": {**theirs["geometry"], "coordinates": members}}
    return parse(raw, mine.id, mine.serial, mine.origin) if members else None


def _placed(feature: Feature, member: list[float]) -> tuple[float, float]:
    """(y, x) on the slide of a position of a feature."""
    return member[1] + feature.origin[0], member[0] + feature.origin[1]


def _key(place: tuple[float, float]) -> tuple[float, float]:
    return round(place[0], 2), round(place[1], 2)


def _classes(base: Content, ours: Content, theirs: Content, used: set[str]) -> Classes:
    was, mine, other = ({one.name: one for one in content.classes} for content in (base, ours, theirs))
    # Programs that do not know our member of the collection drop unused classes; that is not a deletion.
    stated = OWN_MEMBER in theirs.envelope.members
    kept: list[CellClass] = []
    for name in {**other, **mine} if ours.classes == base.classes else {**mine, **other}:
        if name not in mine and name in was and name not in used:
            continue
        if name not in other and name in was and name not in used and stated:
            continue
        yours = mine.get(name)
        kept.append(
            other[name] if name in other and (yours is None or yours == was.get(name)) else mine[name]
        )
    return tuple(kept)
