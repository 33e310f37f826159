"""The tables of the cohort: a class and a number for each slide, in four partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_zoommil.experiments.nic_slides.trials import Extent, Task, Trial
from napari_zoommil.experiments.shipped.nic_encoder import TRAIN_TEXTURES
from napari_zoommil.experiments.zooming.cohort import LABELS, PlannedSlide, planned
from napari_zoommil.files import write_table
from napari_zoommil.models.task import Classification, Regression

CLASSES = ("normal", "tumour")
SUBSETS = {"presence": ("test", "macro"), "share": ("test",)}
"""Beside *all*. Test slides have other textures. Of the class they are a partition of their own, so that they
are told by a CNN that has not seen their textures; those of the number are in none of its partitions."""


class HeldSlide(NamedTuple):
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


def slides_of(extent: Extent, task: Task) -> list[HeldSlide]:
    """All slides; each pattern in each texture is spread alike over the partitions, so that a texture tells
    nothing of the class. Of the class, the last partition are the test slides."""
    counts: Counter[tuple[int, int]] = Counter()
    spread = extent.folds - (task == "presence")
    found = []
    for slide in planned(extent.cohort):
        drawing, tests = slide.drawing, slide.split == "test"
        large = not drawing.tumour or drawing.tumour_fraction >= extent.macro
        if tests:
            fold = str(extent.folds) if task == "presence" else ""
            subsets = ("test", "macro") if large and task == "presence" else ("test",)
            found.append(HeldSlide(slide, fold, subsets))
            continue
        kind = LABELS.index(slide.label), TRAIN_TEXTURES.index(drawing.texture_seed)
        # Kinds begin with different partitions, so that few slides do not meet in the first.
        fold = str((counts[kind] + sum(kind)) % spread + 1)
        counts[kind] += 1
        found.append(HeldSlide(slide, fold, ()))
    return found


def write_folds(extent: Extent, task: Task, folder: Path) -> Path:
    """The table of a cross-validation."""
    rows = slides_of(extent, task)
    return _write(folder / f"{task}.csv", [one.cells(task, "" if one.fold else "test") for one in rows])


def write_partition(extent: Extent, trial: Trial, fold: int, seed: int, folder: Path) -> Path:
    """The table of one partition: the next one validates, and of each pattern of the others the same share
    trains."""
    rng, task = np.random.default_rng((seed, fold, 41)), trial.task
    own = [one for one in slides_of(extent, task) if one.fold]
    validates = str(fold % extent.folds + 1)
    by_kind: dict[str, list[HeldSlide]] = {}
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
