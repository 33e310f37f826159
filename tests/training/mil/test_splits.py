from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from napari_zoommil.training.mil.cohort import Cohort
from napari_zoommil.training.mil.cohort_faults import SPLITS
from napari_zoommil.training.mil.labelled_slide import LabelledSlide
from napari_zoommil.training.mil.splits import divided, faults_of_division, fold_count, folds_of


def cohort(labels: Iterable[str], per_group: int = 1) -> Cohort:
    return Cohort(
        tuple(
            LabelledSlide(Path(f"{n}.svs"), label, group=f"{label}{n // per_group}")
            for n, label in enumerate(labels)
        )
    )


def test_division_is_by_class_and_reproducible() -> None:
    entries = divided(cohort("xy" * 100), seed=3)
    for label in "xy":
        counts = [sum((e.label, e.split) == (label, split) for e in entries) for split in SPLITS]
        assert counts == [70, 15, 15]
    assert entries == divided(cohort("xy" * 100), seed=3) != divided(cohort("xy" * 100), seed=4)


def test_a_group_is_never_divided() -> None:
    splits = defaultdict(set)
    for entry in divided(cohort("xy" * 100, 6), 0):
        splits[entry.group].add(entry.split)
    assert len(splits) == 68 and all(len(found) == 1 for found in splits.values())


def test_two_slides_of_a_class_train_and_validate() -> None:
    entries = divided(cohort("xxy"), 0)
    assert sorted(e.split for e in entries if e.label == "x") == ["train", "val"]


def test_slides_that_cannot_be_divided_are_told() -> None:
    (fault,) = faults_of_division(cohort("xy"), None)
    assert "no column split, and 2 slides are too few" in fault
    assert not faults_of_division(cohort("xxyy"), None)


def test_measurements_are_divided_as_a_whole() -> None:
    """Hardly two slides have the same one: class by class, all would be training slides."""
    entries = divided(cohort(f"{number / 7:.3f}" for number in range(100)), 0)
    counts = {split: sum(one.split == split for one in entries) for split in SPLITS}
    assert counts == {"train": 70, "val": 15, "test": 15}


@given(
    some.lists(some.sampled_from("xyz"), min_size=30, max_size=60).filter(
        lambda labels: min(labels.count(one) for one in "xyz") >= 8
    ),
    some.integers(3, 4),
    some.integers(1, 2),
    some.integers(0, 5),
)
def test_each_slide_is_held_out_once_with_its_patient(
    labels: list[str], count: int, per_group: int, seed: int
) -> None:
    whole = cohort(sorted(labels), per_group)
    if faults_of_division(whole, count, seed):
        return
    found = folds_of(whole, count, seed)
    assert len(found) == count
    held_out = [entry.slide for fold in found for entry in fold if entry.split == "test"]
    assert sorted(held_out) == sorted(entry.slide for entry in whole)
    for fold in found:
        splits = defaultdict(set)
        for entry in fold:
            splits[entry.group].add(entry.split)
        assert all(len(own) == 1 for own in splits.values())
        assert {entry.label for entry in fold if entry.split == "train"} == set("xyz")
        assert {entry.split for entry in fold} == set(SPLITS)
    assert found == folds_of(whole, count, seed)


def test_classes_and_measurements_are_spread_over_the_folds() -> None:
    for fold in folds_of(cohort("xxxxy" * 20), 5, 0):
        own = [entry.label for entry in fold if entry.split == "test"]
        assert len(own) == 20 and own.count("y") == 4
    for fold in folds_of(cohort(f"{number}.5" for number in range(50)), 5, 0):
        own = sorted(float(entry.label) for entry in fold if entry.split == "test")
        assert len(own) == 10 and own[0] < 15 and own[-1] > 35


def test_folds_of_the_table_and_its_test_slides_are_kept() -> None:
    entries = [
        replace(entry, fold=str(n % 3), split="test" if n >= 24 else "")
        for n, entry in enumerate(cohort("xyxy" * 7))
    ]
    whole = Cohort(tuple(entries))
    assert fold_count(whole, None) == 3 and not faults_of_division(whole, 3)
    assert "3 folds of its own, but 5 were asked for" in faults_of_division(whole, 5)[0]
    for number, fold in enumerate(folds_of(whole, 3, 0)):
        own = {entry.slide.name for entry in fold if entry.split == "test"}
        assert own == {f"{n}.svs" for n in range(24) if n % 3 == number}


@pytest.mark.parametrize(
    ("labels", "count", "said"),
    [
        ("xxxxxxyy", 3, "class y has 2 groups, too few for 3 folds"),
        (["0.5", "1.5"], 3, "it has 2 groups, too few for 3 folds"),
    ],
)
def test_folds_that_cannot_be_made_are_told(labels: Iterable[str], count: int, said: str) -> None:
    assert faults_of_division(cohort(labels), count) == (said,)


def test_too_few_groups_to_validate_on_are_told() -> None:
    assert faults_of_division(cohort("xxyy"), 2) == tuple(
        f"fold {number} leaves too few groups to train and validate on" for number in (1, 2)
    )
