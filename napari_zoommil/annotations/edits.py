"""Edits of a document and their history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.feature import Feature, Kind

Classes = tuple[CellClass, ...]


class Change(NamedTuple):
    """One feature before and after; None if it does not exist."""

    before: Feature | None
    after: Feature | None

    @property
    def id(self) -> str:
        feature = self.after or self.before
        assert feature is not None
        return feature.id

    @property
    def reverse(self) -> Change:
        return Change(self.after, self.before)


@dataclass(frozen=True)
class Edit:
    """One action of the user: changes of any number of features, and of the list of classes.

    It holds only what changed, so its size does not grow with the document.
    """

    changes: tuple[Change, ...] = ()
    classes: tuple[Classes, Classes] | None = None
    """Before and after."""

    @property
    def reverse(self) -> Edit:
        classes = self.classes and (self.classes[1], self.classes[0])
        return Edit(tuple(change.reverse for change in reversed(self.changes)), classes)


@dataclass(frozen=True)
class Changed:
    """The points that an edit changed, by id, and whether it changed classes or regions."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    classes: bool = False
    regions: bool = False


def summary(changes: Sequence[Change], classes: bool) -> Changed:
    """The points affected by changes."""
    before, after, altered, regions = dict[str, None](), dict[str, None](), list[str](), False
    for old, new in changes:
        regions = regions or bool(old and old.kind is Kind.REGION) or bool(new and new.kind is Kind.REGION)
        if old and new and old.marks is new.marks:
            altered.extend([mark.id for mark in new.marks])
            continue
        before.update((mark.id, None) for mark in (old.marks if old else ()))
        after.update((mark.id, None) for mark in (new.marks if new else ()))
    return Changed(
        tuple(id for id in after if id not in before),
        tuple(id for id in before if id not in after),
        (*altered, *(id for id in after if id in before)),
        classes,
        regions,
    )


class History:
    """Edits done and undone, unlimited."""

    def __init__(self) -> None:
        self._done: list[Edit] = []
        self._undone: list[Edit] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def record(self, edit: Edit) -> None:
        self._done.append(edit)
        self._undone.clear()

    def undo(self) -> Edit:
        """The edit that undoes the last one."""
        edit = self._done.pop()
        self._undone.append(edit)
        return edit.reverse

    def redo(self) -> Edit:
        """The last undone edit."""
        edit = self._undone.pop()
        self._done.append(edit)
        return edit
