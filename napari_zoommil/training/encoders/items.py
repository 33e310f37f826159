"""What patches are taken from: slides of a table, or pictures of a table or a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import CohortError
from napari_zoommil.files import PICTURES, has_ending, real
from napari_zoommil.training.encoders.patches import NO_LABEL, PARTS, parts_of
from napari_zoommil.training.mil.cohort import refuse
from napari_zoommil.training.mil.cohort_faults import contradictions, is_missing
from napari_zoommil.training.mil.labelled_slide import LabelledSlide
from napari_zoommil.training.mil.table import Row, read_table


class Item(NamedTuple):
    """A slide or picture.

    Attributes
    ----------
    path : Path
    label : str
        Class of all that is on it; empty where it is not known.
    group : str
        Patient.
    split : str
        train, val, test; empty where it is not stated.
    """

    path: Path
    label: str = ""
    group: str = ""
    split: str = ""


@dataclass(frozen=True)
class Items:
    """Slides or pictures, and which of these they are."""

    items: tuple[Item, ...]
    are_slides: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels, sorted."""
        return tuple(sorted({one.label for one in self.items if one.label}))

    def parted(self, seed: int, shares: tuple[float, float], by_class: bool) -> tuple[Item, ...]:
        """With a split each, those to train on first: as stated, or drawn by group.

        Raises
        ------
        CohortError
            If there are too few groups, or splits are stated for some only.
        """
        groups = list(dict.fromkeys(one.group for one in self.items))
        if any(one.split for one in self.items):
            found = tuple(self.items)
        else:
            kinds = [self._kind(group) if by_class else 0 for group in groups]
            part = dict(zip(groups, parts_of(kinds, seed, shares).tolist(), strict=True))
            found = tuple(one._replace(split=part[one.group]) for one in self.items)
        return tuple(sorted(found, key=lambda one: PARTS.index(one.split)))

    def _kind(self, group: str) -> int:
        """Number of the most frequent label of a group."""
        labels = [one.label for one in self.items if one.group == group and one.label]
        return self.classes.index(max(sorted(set(labels)), key=labels.count)) if labels else NO_LABEL


def read_items(cohort: Path, group_pattern: str | None = None) -> Items:
    """What a training takes patches from.

    Parameters
    ----------
    cohort : Path
        A table with the column ``slide``, or with ``image``, and optionally label, group and split; or a
        folder of pictures, where a picture's class is the folder inside it that the picture lies in.
    group_pattern : str, optional
        Regular expression of the patient in a picture's (or slide's) path below ``cohort``: its first
        group, or all of it. Without it and without a column group, each file is its own patient.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If there is nothing to read, or it has faults; the error lists them all.
    """
    pattern = _compiled(group_pattern)
    if cohort.is_dir():
        items = [Item(path, _folder_below(path, cohort)) for path in sorted(_pictures(cohort))]
        if not items:
            raise CohortError(f"{cohort.name} holds no pictures ({', '.join(PICTURES)})")
        found = _once(_grouped(items, cohort, pattern))
        refuse(cohort, tuple(contradictions(_labelled(one) for one in found)))
        return Items(found, False)
    rows, column = _rows(cohort)
    items = [_item(row, column, cohort.parent) for row in rows]
    told = _faults(items, rows, column)
    if not told:  # a group is told by a path, which has to be there
        items = _grouped(items, cohort.parent, pattern)
    lines = (_labelled(item, row.line) for item, row in zip(items, rows, strict=True) if row[column])
    refuse(cohort, (*told, *contradictions(lines)))
    return Items(tuple(items), column == "slide")


def has_pictures(folder: Path) -> bool:
    """Whether a folder or those in it hold pictures."""
    return next(_pictures(folder), None) is not None


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if has_ending(path, PICTURES) and path.is_file())


def grouped_slides(slides: Sequence[Path], root: Path, group_pattern: str | None = None) -> Items:
    """Slides in a folder, with the patient in their paths, or each its own.

    Raises
    ------
    CohortError
        If the pattern is none, or not in a path.
    """
    items = [Item(path) for path in slides]
    return Items(_once(_grouped(items, root, _compiled(group_pattern))), True)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise CohortError(f"{pattern!r} is no regular expression: {error}") from error


def _rows(table: Path) -> tuple[tuple[Row, ...], str]:
    """The rows of a table, and its column of paths."""
    try:
        return read_table(table, ("image",)), "image"
    except CohortError:
        return read_table(table, ("slide",)), "slide"


def _folder_below(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _item(row: Row, column: str, folder: Path) -> Item:
    def known(name: str) -> str:
        return "" if is_missing(row[name]) else row[name]

    return Item(folder / row[column], known("label"), known("group"), known("split"))


def _faults(items: Sequence[Item], rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """All that is wrong with the lines of a table by themselves, and with its splits."""
    found: list[str] = []
    for item, row in zip(items, rows, strict=True):
        place = f"line {row.line}"
        if row.fault:
            found.append(f"{place}: {row.fault}")
        elif not row[column]:
            found.append(f"{place}: {column} is empty")
        elif not item.path.exists():
            found.append(f"{place}: there is no {column} at {item.path}")
        if item.split not in ("", *PARTS):
            found.append(f"{place}: split is {item.split!r}, not one of {', '.join(PARTS)}")
    stated = {item.split for item in items}
    if stated != {""} and "" in stated:
        found.append("it gives a split for some lines only")
    elif stated != {""} and not {"train", "val"} <= stated:
        found.append("its split needs train and val")
    return tuple(found)


def _labelled(item: Item, line: int = 0) -> LabelledSlide:
    """As the reader of cohorts compares them."""
    return LabelledSlide(item.path, item.label, item.split, item.group, line)


def _once(items: Sequence[Item]) -> tuple[Item, ...]:
    """Without further links to a file in a folder, where these are of the same class."""
    found: dict[tuple[Path, str], Item] = {}
    for one in items:
        found.setdefault((real(one.path), one.label), one)
    return tuple(found.values())


def _grouped(items: Sequence[Item], root: Path, pattern: re.Pattern[str] | None) -> list[Item]:
    """With a group each."""
    found = []
    for item in items:
        text = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else str(item.path)
        group = item.group
        if pattern is not None and not group:
            matched = pattern.search(text)
            if matched is None:
                raise CohortError(f"the group's pattern {pattern.pattern!r} is not in {text}; correct it")
            group = matched.group(1) if pattern.groups else matched.group()
        found.append(item._replace(group=group or text))
    return found


def numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) number of each name."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
