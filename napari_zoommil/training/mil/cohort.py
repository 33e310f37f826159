"""A labelled table of slides: ``slide,label[,split][,group]`` as CSV."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_zoommil.errors import CohortError
from napari_zoommil.models.task import are_measurements

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One slide of a cohort; ``group`` (a patient) is never divided between splits."""

    slide: Path
    label: str
    split: str = ""
    group: str = ""


def read_cohort(path: Path, seed: int = 0) -> list[Entry]:
    """Read a cohort; slides are looked up relative to the table.

    Where there is no ``split`` column, groups are divided 70/15/15 at random, class by class where labels
    name classes.

    Raises
    ------
    CohortError
        If the table is malformed, or a slide is not there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path} cannot be read as a CSV table: {error}") from error
    if not rows or not {"slide", "label"} <= rows[0].keys():
        raise CohortError(f"{path.name} needs a header with the columns slide and label, and a row at least")
    entries = [_entry(path, number, row) for number, row in enumerate(rows, 2)]
    if len({bool(entry.split) for entry in entries}) > 1:
        raise CohortError(f"{path.name} gives a split for some slides only; give it for all or for none")
    return entries if entries[0].split else _divided(entries, seed)


def _entry(path: Path, line: int, row: dict[str, str | None]) -> Entry:
    slide, label = (row.get("slide") or "").strip(), (row.get("label") or "").strip()
    split = (row.get("split") or "").strip()
    if not slide or not label:
        raise CohortError(f"{path.name}, line {line}: slide or label is empty")
    if split not in ("", *SPLITS):
        raise CohortError(f"{path.name}, line {line}: split is {split!r}, not one of {', '.join(SPLITS)}")
    place = path.parent / slide
    if not place.exists():
        raise CohortError(f"{path.name}, line {line}: there is no slide at {place}")
    return Entry(place, label, split, (row.get("group") or "").strip() or slide)


def _divided(entries: list[Entry], seed: int) -> list[Entry]:
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
    return [replace(entry, split=split_of[entry.group]) for entry in entries]


def class_names(entries: list[Entry]) -> tuple[str, ...]:
    """Labels, sorted.

    Raises
    ------
    CohortError
        If there is only one.
    """
    found = tuple(sorted({entry.label for entry in entries}))
    if len(found) < 2:
        raise CohortError(f"the cohort has a single label, {found[0]!r}; there is nothing to tell apart")
    return found
