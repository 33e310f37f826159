"""Division of a cohort into slides to train on, to validate on and to test on, always by group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from napari_zoommil.models.task import are_measurements
from napari_zoommil.training.mil.cohort import Cohort
from napari_zoommil.training.mil.cohort_faults import SPLITS
from napari_zoommil.training.mil.labelled_slide import LabelledSlide

SHARES = (0.7, 0.85)
"""Where training and validation slides end, as shares of the groups."""

TOO_FEW = (
    "it has no column split, and {} slides are too few to be divided into some to train and some to validate "
    "on; add slides, or say in a column split which are train and which val"
)

PARTS = 7
"""Of the slides that a fold leaves, one of this number of parts validates."""


def divided(cohort: Cohort, seed: int) -> Cohort:
    """A cohort with a split for each slide: its own, or 70/15/15 of the groups at random.

    The division is by class if the labels are classes. Where the cohort cannot be divided, slides that are
    needed are missing, which :func:`faults_of_division` tells.
    """
    if any(entry.split for entry in cohort.entries):
        return cohort
    measured = are_measurements([entry.label for entry in cohort.entries])
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in cohort.entries:
        own = groups["" if measured else entry.label]
        if entry.group not in own:
            own.append(entry.group)
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for names in groups.values():
        for place, index in enumerate(rng.permutation(len(names))):
            share = (place + 0.5) / len(names)
            split_of.setdefault(names[index], SPLITS[sum(share >= end for end in SHARES)])
    return replace(
        cohort, entries=tuple(replace(entry, split=split_of[entry.group]) for entry in cohort.entries)
    )


def faults_of_division(cohort: Cohort, folds: int | None, seed: int = 0) -> tuple[str, ...]:
    """Why a cohort cannot be divided, or divided into so many folds.

    Parameters
    ----------
    cohort : Cohort
        Without other faults.
    folds : int, optional
    seed : int
    """
    if not folds:
        whole = {entry.split for entry in divided(cohort, seed).entries} >= {"train", "val"}
        return () if whole else (TOO_FEW.format(len(cohort)),)
    learnt = [entry for entry in cohort.entries if entry.split != "test"]
    stated = {entry.fold for entry in learnt if entry.fold}
    if stated and folds != len(stated):
        return (f"it has {len(stated)} folds of its own, but {folds} were asked for",)
    numbers = _groups_by_stratum(learnt)
    rarest = min(numbers, key=numbers.__getitem__)
    if not stated and numbers[rarest] < folds:
        what = f"class {rarest} has" if rarest else "it has"
        return (f"{what} {numbers[rarest]} groups, too few for {folds} folds",)
    return tuple(_untrained(folds_of(cohort, folds, seed)))


def _untrained(folds: Sequence[Cohort]) -> Iterator[str]:
    """Folds that leave nothing to validate on, or a class without training slides."""
    for number, fold in enumerate(folds, 1):
        labels = [{one.label for one in fold.entries if one.split == split} for split in SPLITS]
        measured = are_measurements([one.label for one in fold.entries])
        lost = set() if measured else set.union(*labels) - labels[0]
        if not all(labels[:2]):
            yield f"fold {number} leaves too few groups to train and validate on"
        elif lost:
            yield f"fold {number} leaves no training slide of {', '.join(sorted(lost))}"


def fold_count(cohort: Cohort, asked: int | None) -> int | None:
    """Number of folds: as asked, or as the cohort states them; None for a single division."""
    stated = {entry.fold for entry in cohort.entries if entry.fold and entry.split != "test"}
    return asked or len(stated) or None


def folds_of(cohort: Cohort, count: int, seed: int) -> tuple[Cohort, ...]:
    """A cohort for each fold, in which the slides of the fold test, and a part of the others validates.

    Slides of the cohort's own split ``test`` are in none; other splits of it are not regarded. Without a
    column of folds they are drawn by group, with classes (or quantiles of measurements) in like shares.

    Parameters
    ----------
    cohort : Cohort
        That can be divided so, see :func:`faults_of_division`.
    count : int
    seed : int
    """
    learnt = tuple(entry for entry in cohort.entries if entry.split != "test")
    if any(entry.fold for entry in learnt):
        names = sorted({entry.fold for entry in learnt}, key=lambda name: (len(name), name))
        held_out = [{place for place, one in enumerate(learnt) if one.fold == name} for name in names]
    else:
        held_out = _parts(learnt, count, seed)
    return tuple(Cohort(_with_splits(learnt, own, seed)) for own in held_out)


def _with_splits(
    entries: Sequence[LabelledSlide], held_out: set[int], seed: int
) -> tuple[LabelledSlide, ...]:
    rest = [place for place in range(len(entries)) if place not in held_out]
    left = [entries[place] for place in rest]
    fewest = min(_groups_by_stratum(left).values(), default=0)
    validates = {rest[place] for place in _parts(left, min(PARTS, fewest), seed)[0]} if fewest > 1 else set()
    return tuple(
        replace(one, split="test" if place in held_out else "val" if place in validates else "train")
        for place, one in enumerate(entries)
    )


def _parts(entries: Sequence[LabelledSlide], count: int, seed: int) -> list[set[int]]:
    """Places of the slides of each of several parts, which no group is in two of."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    divider = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    groups = [entry.group or str(entry.slide) for entry in entries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer slides than parts
        found = divider.split(np.zeros(len(entries)), _strata(entries), groups)
        return [set(test.tolist()) for _, test in found]


def _strata(entries: Sequence[LabelledSlide]) -> list[str]:
    """Class of each slide, or the fifth of the measurements that it is in."""
    labels = [entry.label for entry in entries]
    if not are_measurements(labels):
        return labels
    ranks = np.argsort(np.argsort([float(label) for label in labels], kind="stable"))
    return [str(5 * int(rank) // len(labels)) for rank in ranks]


def _groups_by_stratum(entries: Sequence[LabelledSlide]) -> Counter[str]:
    """Number of groups of each class; of measurements, the number of all groups."""
    measured = are_measurements([entry.label for entry in entries])
    return Counter(
        label
        for label, _ in {("" if measured else one.label, one.group or str(one.slide)) for one in entries}
    )
