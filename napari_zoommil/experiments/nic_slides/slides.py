"""The tables of the cohort: a class and a number for each slide, in four partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_zoommil.experiments.nic_slides.trials import Extent, Task, Trial
from napari_zoommil.experiments.zooming.cohort import LABELS, PlannedSlide, planned
from napari_zoommil.files import write_table
from napari_zoommil.models.task import Classification, Regression

CLASSES = ("normal", "tumour")
SUBSETS = {"presence": ("test", "macro"), "share": ("test",)}
"""Beside *all*. Of the class they are parts of the cross-validation, as in the paper; the test slides of the
number are in none of its partitions."""


class Row(NamedTuple):
    """A slide of the cohort.

    Attributes
    ----------
    slide : PlannedSlide
    fold : str
        Partition that it is held out in; empty for a test slide of the number.
    subsets : tuple of str
    """

    slide: PlannedSlide
    fold: str
    subsets: tuple[str, ...]

    @property
    def percent(self) -> float:
        """The tumour's share of the tissue."""
        return 100 * self.slide.drawing.tumour_fraction if self.slide.drawing.tumour else 0.0

    def cells(self, task: Task, split: str) -> dict[str, str]:
        """Its row in a table."""
        named = CLASSES[self.slide.drawing.tumour] if task == "presence" else f"{self.percent:.4f}"
        stem = self.slide.name.removesuffix(".tif")
        known = {"slide": self.slide.name, "label": named, "group": stem, "split": split}
        return known | {"fold": "" if split else self.fold, "subset": " ".join(self.subsets)}


def rows_of(extent: Extent, task: Task) -> list[Row]:
    """All slides; each pattern is spread over the partitions alike."""
    counts: Counter[str] = Counter()
    found = []
    for slide in planned(extent.cohort):
        drawing, tests = slide.drawing, slide.split == "test"
        large = not drawing.tumour or drawing.tumour_fraction >= extent.macro
        if task == "share" and tests:
            found.append(Row(slide, "", ("test",)))
            continue
        subsets = (("test", "macro") if large else ("test",)) if tests and task == "presence" else ()
        kind = f"{slide.label} {tests}"
        # Patterns begin with different partitions, so that few slides do not meet in the first.
        fold = (counts[kind] + LABELS.index(slide.label)) % extent.folds + 1
        counts[kind] += 1
        found.append(Row(slide, str(fold), subsets))
    return found


def write_folds(extent: Extent, task: Task, folder: Path) -> Path:
    """The table of a cross-validation."""
    rows = rows_of(extent, task)
    return _write(folder / f"{task}.csv", [one.cells(task, "" if one.fold else "test") for one in rows])


def write_partition(extent: Extent, trial: Trial, fold: int, seed: int, folder: Path) -> Path:
    """The table of one partition with a part of its training slides, of each class the same share."""
    rng, task = np.random.default_rng((seed, fold, 41)), trial.task
    own = [one for one in rows_of(extent, task) if one.fold]
    validates = str(fold % extent.folds + 1)
    by_kind: dict[str, list[Row]] = {}
    for one in own:
        if one.fold not in (str(fold), validates):
            by_kind.setdefault(one.slide.label, []).append(one)
    kept = {
        rows[place].slide.name
        for rows in by_kind.values()
        for place in rng.permutation(len(rows))[: max(1, round(trial.share * len(rows)))]
    }
    split = {str(fold): "test", validates: "val"}
    told = [
        one.cells(task, split.get(one.fold, "train"))
        for one in own
        if one.fold in split or one.slide.name in kept
    ]
    return _write(folder / f"{task}-{round(100 * trial.share)}-{seed}-{fold}.csv", told)


def _write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    write_table(path, list(rows[0]), rows)
    return path


def task_of(task: Task) -> Any:
    """The task as models know it."""
    return Classification(CLASSES) if task == "presence" else Regression("%")
