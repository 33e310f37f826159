"""Division of a cohort into slides to train on, to validate on and to test on, always by group."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_zoommil.training.mil.cohort import Cohort
from napari_zoommil.training.mil.cohort_faults import SPLITS, untrained
from napari_zoommil.training.mil.labelled_slide import LabelledSlide

SHARES = (0.7, 0.15, 0.15)
"""Shares of the groups that train, validate and test, where neither table nor recipe says otherwise."""

TOO_FEW = (
    "it has no column split, and {} slides are too few to be divided into some to train and some to validate "
    "on; add slides, or say in a column split which are train and which val"
)

PARTS = 7
"""Of the slides that a fold leaves, one of this number of parts validates, where the recipe says no other."""

QUANTILES = 5
"""Parts of measurements that are spread over the folds like classes, where there are enough slides."""


@dataclass(frozen=True)
class Division:
    """How a cohort is divided.

    Attributes
    ----------
    folds : int or None
        Of a cross-validation; None for one division.
    seed : int
    shares : (float, float, float)
        Of the groups that train, validate and test.
    by_class : bool
        Whether labels are classes, and not measurements.
    parts : int
        Of the slides that a fold leaves, one of this number of parts validates.
    """

    folds: int | None = None
    seed: int = 0
    shares: Sequence[float] = SHARES
    by_class: bool = True
    parts: int = PARTS

    def splits(self, cohort: Cohort) -> tuple[Cohort, ...]:
        """The cohort with a split for each slide: once, or for each fold."""
        return self._folds(cohort) if self.folds else (self._divided(cohort),)

    def faults(self, cohort: Cohort) -> tuple[str, ...]:
        """Why a cohort cannot be divided so.

        Parameters
        ----------
        cohort : Cohort
            Without other faults.
        """
        learnt = [entry for entry in cohort.entries if entry.split != "test"]
        if not learnt:
            return ("it has no slides to train on",)
        if self.folds:
            stated = {entry.fold for entry in learnt if entry.fold}
            if stated and self.folds != len(stated):
                return (f"it has {len(stated)} folds of its own, but {self.folds} were asked for",)
            numbers = self._groups_by_stratum(learnt)
            rarest = min(sorted(numbers), key=numbers.__getitem__)
            if not stated and numbers[rarest] < self.folds:
                what = f"class {rarest} has" if rarest else "it has"
                return (f"{what} {numbers[rarest]} groups, too few for {self.folds} folds",)
        return tuple(self._untrained(cohort))

    def _untrained(self, cohort: Cohort) -> Iterator[str]:
        """Divisions that leave nothing to train or validate on, or a class without training slides."""
        tested = [entry for entry in cohort.entries if entry.split == "test"] if self.folds else []
        for number, part in enumerate(self.splits(cohort), 1):
            where = f"fold {number}: " if self.folds else ""
            if not {"train", "val"} <= {entry.split for entry in part.entries}:
                told = "too few groups are left to train and validate on"
                yield where + told if self.folds else TOO_FEW.format(len(cohort))
            elif self.by_class:
                yield from (where + told for told in untrained([*part.entries, *tested]))

    def _divided(self, cohort: Cohort) -> Cohort:
        """The stated splits, and those of the other slides drawn by group, and by class.

        Where the table states which slides test, the others train and validate.
        """
        free = [entry for entry in cohort.entries if not entry.split]
        if not free:
            return cohort
        testing = 0.0 if len(free) < len(cohort) else self.shares[2]
        total = self.shares[0] + self.shares[1] + testing
        groups: dict[str, list[str]] = {}
        for entry in free:
            own = groups.setdefault(entry.label if self.by_class else "", [])
            if entry.group not in own:
                own.append(entry.group)
        rng = np.random.default_rng(self.seed)
        split_of: dict[str, str] = {}
        for names in groups.values():
            counts = _counts(len(names), self.shares[1] / total, testing / total)
            drawn = np.repeat(SPLITS, counts)
            for index, split in zip(rng.permutation(len(names)), drawn, strict=True):
                split_of.setdefault(names[index], str(split))
        entries = (
            entry if entry.split else replace(entry, split=split_of[entry.group]) for entry in cohort.entries
        )
        return replace(cohort, entries=tuple(entries))

    def _folds(self, cohort: Cohort) -> tuple[Cohort, ...]:
        """A cohort for each fold, in which its slides test, and a part of the others validates.

        Slides of the cohort's own split ``test`` are in none; other splits of it are not regarded. Without a
        column of folds they are drawn by group, with classes (or quantiles of measurements) in like shares.
        """
        assert self.folds is not None
        learnt = tuple(entry for entry in cohort.entries if entry.split != "test")
        if any(entry.fold for entry in learnt):
            names = sorted({entry.fold for entry in learnt}, key=lambda name: (len(name), name))
            held_out = [{place for place, one in enumerate(learnt) if one.fold == name} for name in names]
        else:
            held_out = self._parts(learnt, self.folds)
        return tuple(Cohort(self._with_splits(learnt, own)) for own in held_out)

    def _with_splits(self, entries: Sequence[LabelledSlide], held_out: set[int]) -> tuple[LabelledSlide, ...]:
        rest = [place for place in range(len(entries)) if place not in held_out]
        left = [entries[place] for place in rest]
        fewest = min(self._groups_by_stratum(left).values(), default=0)
        validates = (
            {rest[place] for place in self._parts(left, min(self.parts, fewest))[0]} if fewest > 1 else set()
        )
        return tuple(
            replace(one, split="test" if place in held_out else "val" if place in validates else "train")
            for place, one in enumerate(entries)
        )

    def _parts(self, entries: Sequence[LabelledSlide], count: int) -> list[set[int]]:
        """Places of the slides of each of several parts, which no group is in two of."""
        from sklearn.model_selection import StratifiedGroupKFold

        divider = StratifiedGroupKFold(count, shuffle=True, random_state=self.seed)
        groups = [_group(entry) for entry in entries]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a class with fewer slides than parts
            found = divider.split(np.zeros(len(entries)), self._strata(entries, count), groups)
            return [set(test.tolist()) for _, test in found]

    def _strata(self, entries: Sequence[LabelledSlide], parts: int) -> list[str]:
        """Class of each slide, or the quantile of the measurements that it is in, of which each has slides
        for all parts."""
        labels = [entry.label for entry in entries]
        if self.by_class:
            return labels
        bins = max(1, min(QUANTILES, len(labels) // parts))
        ranks = np.argsort(np.argsort([float(label) for label in labels], kind="stable"))
        return [str(bins * int(rank) // len(labels)) for rank in ranks]

    def _groups_by_stratum(self, entries: Sequence[LabelledSlide]) -> Counter[str]:
        """Number of groups of each class; of measurements, the number of all groups."""
        pairs = {(one.label if self.by_class else "", _group(one)) for one in entries}
        return Counter(label for label, _ in pairs)


def fold_count(cohort: Cohort, asked: int | None) -> int | None:
    """Number of folds: as asked, or as the cohort states them; None for a single division."""
    stated = {entry.fold for entry in cohort.entries if entry.fold and entry.split != "test"}
    return asked or len(stated) or None


def _group(entry: LabelledSlide) -> str:
    return entry.group or str(entry.slide)


def _counts(groups: int, validation: float, testing: float) -> tuple[int, int, int]:
    """Numbers of groups to train, validate and test on; of two or more, the first two are not 0."""
    val = max(1, int(groups * validation + 0.5)) if groups > 1 else 0
    test = int(groups * testing + 0.5) if groups > val + 1 else 0
    test = min(test, groups - val - 1) if groups > 1 else 0
    return groups - val - test, val, test
