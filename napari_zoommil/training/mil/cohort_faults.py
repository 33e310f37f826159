"""What is wrong with the slides of a cohort, as messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.files import real
from napari_zoommil.models.task import is_measurement, learns_numbers

if TYPE_CHECKING:
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide
    from napari_zoommil.training.mil.table import Row

SPLITS = ("train", "val", "test")

NO_SPLIT = "none"
"""Of slides that are divided, in messages on those of a table that states which slides test."""

OPEN_QUOTE = "has a line break; close the quote before it"

MISSING = ("na", "n/a", "nan", "null", "#n/a", "<na>")
"""Missing values as written by R, pandas and spreadsheets."""


Lack = Callable[[Path], str]


def no_slide(path: Path) -> str:
    """Why a slide cannot be read: it does not exist; empty if it does."""
    return "" if exists(path) else f"there is no slide at {path}"


def of_name(column: str, name: str) -> str:
    """What is wrong with the name of a slide in a table; empty if nothing is."""
    if not name:
        return f"{column} is empty"
    return f"{column} {OPEN_QUOTE}" if "\n" in name else ""


def of_entry(entry: LabelledSlide, lack: Lack = no_slide) -> Iterator[str]:
    """Faults of one slide; ``lack`` says why it cannot be used."""
    if why := of_name("slide", "" if entry.slide == Path() else entry.slide.name) or lack(entry.slide):
        yield f"{entry.place}: {why}"
    if not entry.label:
        yield f"{entry.place}: label is empty"
    elif is_missing(entry.label):
        yield f"{entry.place}: label is {entry.label!r}, which stands for a missing one"
    for column in ("label", "split", "group", "fold"):
        if "\n" in getattr(entry, column):
            yield f"{entry.place}: {column} {OPEN_QUOTE}"
    if entry.split not in ("", *SPLITS):
        yield f"{entry.place}: split is {entry.split!r}, not one of {', '.join(SPLITS)}"


def is_missing(value: str) -> bool:
    """Whether a value is empty, or a word for a missing one."""
    return not value or value.lower() in MISSING


def contradictions(entries: Iterable[LabelledSlide]) -> Iterator[str]:
    """Slides with two labels or in two lines, and slides or groups in two splits or folds."""
    slides: dict[Path, list[LabelledSlide]] = defaultdict(list)
    groups: dict[str, list[LabelledSlide]] = defaultdict(list)
    for entry in entries:
        if entry.slide != Path():
            slides[real(entry.slide)].append(entry)
    for found in slides.values():
        name = found[0].slide.name
        told = [
            *_several(f"{name} has the labels", found, attrgetter("label")),
            *_several(f"{name} is in the splits", found, attrgetter("split")),
            *_several(f"{name} is in the folds", found, attrgetter("fold")),
            *_several(f"{name} is of the groups", found, attrgetter("group")),
        ]
        if len(found) > 1 and not told:
            places = [one.place for one in found]
            told = [f"{name} is listed {len(found)} times ({', '.join(places)}); keep one line"]
        yield from told
        if len({(one.split, one.fold) for one in found}) == 1 and found[0].group:
            groups[found[0].group].append(found[0])
    for name, found in groups.items():
        free = NO_SPLIT if any(one.split == "test" for one in found) else ""
        yield from _several(f"group {name} is in the splits", found, lambda one, free=free: one.split or free)  # type: ignore[misc]
        yield from _several(f"group {name} is in the folds", found, attrgetter("fold"))


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


def of_labels(entries: Sequence[LabelledSlide]) -> Iterator[str]:
    """Labels that look like one class written in two ways."""
    alike: dict[str, list[LabelledSlide]] = defaultdict(list)
    for entry in entries:
        alike[" ".join(entry.label.lower().split())].append(entry)
    for found in alike.values():
        for told in _several("one class seems to be written as", found, attrgetter("label")):
            yield f"{told}; write it alike"


def of_splits(entries: Sequence[LabelledSlide], in_folds: bool = False) -> Iterator[str]:
    """Splits and folds of some slides only, and splits that are missing where there are no folds."""
    given = {entry.split for entry in entries}
    folds = {entry.fold for entry in entries if entry.split != "test"}
    if "" in given and given - {"", "test"}:
        yield "it gives a split for some slides only, not for all, for none, or for those to test on"
    elif given & set(SPLITS) and "" not in given and folds <= {""} and not in_folds:
        for split in ("train", "val"):
            if split not in given:
                yield f"it has no slides in its split {split!r}"
    if "" in folds and len(folds) > 1:
        yield "it gives a fold for some slides only, not for all or for none"
    elif len(folds) == 1 and folds != {""}:
        yield f"it has a single fold, {next(iter(folds))!r}; a cross-validation needs two or more"


def of_task(entries: Sequence[LabelledSlide], kind: str) -> Iterator[str]:
    """What prevents the labels from being learnt.

    Parameters
    ----------
    entries : sequence of LabelledSlide
    kind : {"auto", "classification", "regression"}
    """
    labelled = [entry for entry in entries if not is_missing(entry.label)]
    labels = [entry.label for entry in labelled]
    if learns_numbers(labels, kind):
        for entry in labelled:
            if not is_measurement(entry.label):
                yield f"{entry.place}: label {entry.label!r} is not a number, which a regression needs"
        return
    distinct = set(labels)
    if len(distinct) == 1:
        yield f"all labels are {labels[0]!r}; a classification needs two classes or more"
    elif len(distinct) == len(labels) > len(SPLITS):
        yield f"each slide has a label of its own, such as {labels[0]!r}; name the column of the classes"
    equal: dict[float, list[LabelledSlide]] = defaultdict(list)
    for entry in labelled:
        if is_measurement(entry.label):
            equal[float(entry.label)].append(entry)
    for found in equal.values():
        for told in _several("one class seems to be written as", found, attrgetter("label")):
            yield f"{told}; write it alike"


def untrained(entries: Sequence[LabelledSlide]) -> Iterator[str]:
    """Classes of divided slides that no training slide has."""
    trained = {entry.label for entry in entries if entry.split == "train"}
    first: dict[str, LabelledSlide] = {}
    for entry in entries:
        if entry.label not in trained:
            first.setdefault(entry.label, entry)
    for label, entry in first.items():
        yield f"no training slide has the label {label!r} of {entry.place}"


def of_patients(table: str, column: str, rows: Sequence[Row]) -> Iterator[str]:
    """Patients without a name, or in several lines."""
    lines: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        lines[row[column]].append(row.line)
    for name, found in lines.items():
        places = f"{table}, line{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
        if not name:
            yield f"{places}: {column} is empty"
        elif len(found) > 1:
            yield f"{places}: {column} {name} has several lines; keep one"
