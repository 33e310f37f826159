"""Cohorts: tables of labelled slides, ``slide,label[,split][,group]``, with commas, semicolons or tabs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.errors import CohortError
from napari_zoommil.models.task import are_measurements
from napari_zoommil.training.mil.table import Row, read_table

SPLITS = ("train", "val", "test")

MISSING = ("na", "n/a", "nan", "null", "#n/a", "<na>")
"""Missing values as written by R, pandas and spreadsheets."""

TOLD = 20
"""Most faults in an error message; all of them are in its ``faults``."""


@dataclass(frozen=True)
class LabelledSlide:
    """One slide of a cohort.

    Attributes
    ----------
    slide : Path
    label : str
    split : str
        ``train``, ``val`` or ``test``; empty if not stated.
    group : str
        Such as a patient; slides of a group are always in the same split.
    line : int
        Line of the table; 0 if there is no table.
    """

    slide: Path
    label: str
    split: str = ""
    group: str = ""
    line: int = field(default=0, compare=False)

    @property
    def place(self) -> str:
        """``line 3``, or the slide's name."""
        return f"line {self.line}" if self.line else self.slide.name


@dataclass(frozen=True)
class Cohort(Sequence[LabelledSlide]):
    """Labelled slides.

    Attributes
    ----------
    entries : tuple of LabelledSlide
    malformed : tuple of str
        Faults in lines of the table.
    """

    entries: tuple[LabelledSlide, ...]
    malformed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        return self.entries[index]

    def faults(self) -> tuple[str, ...]:
        """All faults that prevent training, each as a message; whether the slides exist is checked too."""
        return (*self.contents_faults(), *self._missing_splits())

    def contents_faults(self) -> tuple[str, ...]:
        """The faults of its lines, and contradictions between them."""
        return (
            *self.malformed,
            *(fault for entry in self.entries for fault in _entry_faults(entry)),
            *self._contradictions(),
        )

    def _contradictions(self) -> Iterator[str]:
        """Slides with two labels, and slides or groups in two splits."""
        slides: dict[Path, list[LabelledSlide]] = defaultdict(list)
        groups: dict[str, list[LabelledSlide]] = defaultdict(list)
        for entry in self.entries:
            slides[entry.slide.resolve()].append(entry)
        for found in slides.values():
            yield from _several(f"{found[0].slide.name} has the labels", found, attrgetter("label"))
            yield from _several(f"{found[0].slide.name} is in the splits", found, attrgetter("split"))
            if len({one.split for one in found}) == 1 and found[0].group:
                groups[found[0].group].append(found[0])
        for name, found in groups.items():
            yield from _several(f"group {name} is in the splits", found, attrgetter("split"))

    def _missing_splits(self) -> Iterator[str]:
        given = {entry.split for entry in self.entries}
        if "" in given and len(given) > 1:
            yield "it gives a split for some slides only, not for all or for none"
        elif given & set(SPLITS):
            for split in ("train", "val"):
                if split not in given:
                    yield f"it has no slides in its split {split!r}"


def _entry_faults(entry: LabelledSlide) -> Iterator[str]:
    if entry.slide == Path():
        yield f"{entry.place}: slide is empty"
    elif not entry.slide.exists():
        yield f"{entry.place}: there is no slide at {entry.slide}"
    if not entry.label:
        yield f"{entry.place}: label is empty"
    elif entry.label.lower() in MISSING:
        yield f"{entry.place}: label is {entry.label!r}, which stands for a missing one"
    if entry.split not in ("", *SPLITS):
        yield f"{entry.place}: split is {entry.split!r}, not one of {', '.join(SPLITS)}"


def _several(
    said: str, found: Iterable[LabelledSlide], value: Callable[[LabelledSlide], str]
) -> Iterator[str]:
    """``a.svs is in the splits train (line 2) and test (line 6)``, if values differ."""
    first: dict[str, LabelledSlide] = {}
    for entry in found:
        first.setdefault(value(entry), entry)
    named = [f"{one} ({entry.place})" for one, entry in first.items() if one]
    if len(named) > 1:
        yield f"{said} {', '.join(named[:-1])} and {named[-1]}"


_TOO_FEW = (
    "it has no column split, and {} slides are too few to be divided into some to train and some to validate "
    "on; add slides, or say in a column split which are train and which val"
)


def read_cohort(path: Path, seed: int = 0) -> Cohort:
    """Read a cohort; slides are looked up relative to the table.

    Without a ``split`` column, groups are split 70/15/15 at random, stratified by class if the labels are
    classes.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table, or has faults (see :meth:`Cohort.faults`); the error lists all of them.
    """
    cohort = read_entries(path)
    _refuse(path, cohort.faults())
    if any(entry.split for entry in cohort.entries):
        return cohort
    divided = Cohort(_divided(cohort.entries, seed))
    if any(divided._missing_splits()):
        _refuse(path, (_TOO_FEW.format(len(cohort)),))
    return divided


def read_entries(path: Path) -> Cohort:
    """The labelled slides of a table as they are there: with its faults, and without a split if it has none.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table with the columns slide and label.
    """
    rows = read_table(path, ("slide", "label"))
    malformed = tuple(f"line {row.line}: {row.fault}" for row in rows if row.fault)
    return Cohort(tuple(_entry(path.parent, row) for row in rows), malformed)


def read_to_predict(path: Path) -> Cohort:
    """The slides of a table to predict over and to compare with labels, where it has these.

    Labels and splits stay as they are in the table; splits without which one cannot train may be missing.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table with a column slide, or has faults; the error lists all of them.
    """
    rows = read_table(path, ("slide",))
    if "label" not in rows[0].cells:
        return Cohort(tuple(LabelledSlide(slide, "") for slide in slides_of_table(path)))
    cohort = read_entries(path)
    _refuse(path, cohort.contents_faults())
    return cohort


def slides_of_table(path: Path) -> list[Path]:
    """The column ``slide`` of a table, relative to it, without duplicates.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table with such a column, or a line has no slide.
    """
    rows = read_table(path, ("slide",))
    wrong = [(row.line, row.fault or "slide is empty") for row in rows if row.fault or not row["slide"]]
    _refuse(path, tuple(f"line {line}: {fault}" for line, fault in wrong))
    return list(dict.fromkeys(path.parent / row["slide"] for row in rows))


def _refuse(path: Path, faults: tuple[str, ...]) -> None:
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise CohortError(f"{path.name} cannot be used: {'; '.join(faults[:TOLD])}{more}", faults)


def _entry(folder: Path, row: Row) -> LabelledSlide:
    slide = folder / row["slide"] if row["slide"] else Path()
    return LabelledSlide(slide, row["label"], row["split"], row["group"] or row["slide"], row.line)


def _divided(entries: Sequence[LabelledSlide], seed: int) -> tuple[LabelledSlide, ...]:
    measured = are_measurements([entry.label for entry in entries])
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        own = groups["" if measured else entry.label]
        if entry.group not in own:
            own.append(entry.group)
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for names in groups.values():
        for place, index in enumerate(rng.permutation(len(names))):
            share = (place + 0.5) / len(names)
            split_of.setdefault(names[index], "train" if share < 0.7 else "val" if share < 0.85 else "test")
    return tuple(replace(entry, split=split_of[entry.group]) for entry in entries)


def class_names(entries: Iterable[LabelledSlide]) -> tuple[str, ...]:
    """Labels, sorted.

    Raises
    ------
    CohortError
        If there is only one.
    """
    found = tuple(sorted({entry.label for entry in entries}))
    if len(found) < 2:
        raise CohortError(f"the cohort has a single label, {found[0]!r}; classification needs two or more")
    return found
