from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from napari_zoommil.training.mil.cohort import Cohort
from napari_zoommil.training.mil.cohort_faults import SPLITS
from napari_zoommil.training.mil.labelled_slide import LabelledSlide
from napari_zoommil.training.mil.splits import Division, fold_count


def cohort(labels: Iterable[str], per_group: int = 1) -> Cohort:
    return Cohort(
        tuple(
            LabelledSlide(Path(f"{n}.svs"), label, group=f"{label}{n // per_group}")
            for n, label in enumerate(labels)
        )
    )


def test_division_is_by_class_and_reproducible() -> None:
    entries = Division(seed=3).splits(cohort("xy" * 100))[0]
    for label in "xy":
        counts = [sum((e.label, e.split) == (label, split) for e in entries) for split in SPLITS]
        assert counts == [70, 15, 15]
    assert (
        entries
        == Division(seed=3).splits(cohort("xy" * 100))[0]
        != Division(seed=4).splits(cohort("xy" * 100))[0]
    )


def test_a_group_is_never_divided() -> None:
    splits = defaultdict(set)
    for entry in Division().splits(cohort("xy" * 100, 6))[0]:
        splits[entry.group].add(entry.split)
    assert len(splits) == 68 and all(len(found) == 1 for found in splits.values())


def test_two_slides_of_a_class_train_and_validate() -> None:
    entries = Division().splits(cohort("xxy"))[0]
    assert sorted(e.split for e in entries if e.label == "x") == ["train", "val"]


def test_slides_that_cannot_be_divided_are_told() -> None:
    (fault,) = Division().faults(cohort("xy"))
    assert "no column split, and 2 slides are too few" in fault
    assert not Division().faults(cohort("xxyy"))


def test_measurements_are_divided_as_a_whole() -> None:
    """Hardly two slides have the same one: class by class, all would be training slides."""
    entries = Division(by_class=False).splits(cohort(f"{number / 7:.3f}" for number in range(100)))[0]
    counts = {split: sum(one.split == split for one in entries) for split in SPLITS}
    assert counts == {"train": 70, "val": 15, "test": 15}


@settings(max_examples=25)
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
    whole, division = cohort(sorted(labels), per_group), Division(count, seed)
    assume(not division.faults(whole))
    found = division.splits(whole)
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
    assert found == division.splits(whole)


def test_classes_and_measurements_are_spread_over_the_folds() -> None:
    for fold in Division(5).splits(cohort("xxxxy" * 20)):
        own = [entry.label for entry in fold if entry.split == "test"]
        assert len(own) == 20 and own.count("y") == 4
    for fold in Division(5, by_class=False).splits(cohort(f"{number}.5" for number in range(50))):
        own = sorted(float(entry.label) for entry in fold if entry.split == "test")
        assert len(own) == 10 and own[0] < 15 and own[-1] > 35


def test_folds_of_the_table_and_its_test_slides_are_kept() -> None:
    entries = [
        replace(entry, fold=str(n % 3), split="test" if n >= 24 else "")
        for n, entry in enumerate(cohort("xyxy" * 7))
    ]
    whole = Cohort(tuple(entries))
    assert fold_count(whole, None) == 3 and not Division(3).faults(whole)
    assert "3 folds of its own, but 5 were asked for" in Division(5).faults(whole)[0]
    for number, fold in enumerate(Division(3).splits(whole)):
        own = {entry.slide.name for entry in fold if entry.split == "test"}
        assert own == {f"{n}.svs" for n in range(24) if n % 3 == number}


@pytest.mark.parametrize(
    ("labels", "division", "said"),
    [
        ("xxxxxxyy", Division(3), "class y has 2 groups, too few for 3 folds"),
        (["0.5", "1.5"], Division(3, by_class=False), "it has 2 groups, too few for 3 folds"),
    ],
)
def test_folds_that_cannot_be_made_are_told(labels: Iterable[str], division: Division, said: str) -> None:
    assert division.faults(cohort(labels)) == (said,)


def test_too_few_groups_to_validate_on_are_told() -> None:
    assert Division(2).faults(cohort("xxyy")) == tuple(
        f"fold {number}: too few groups are left to train and validate on" for number in (1, 2)
    )


def test_shares_can_be_others_and_stated_test_slides_are_kept() -> None:
    (found,) = Division(shares=(0.7, 0.1, 0.2)).splits(cohort("xy" * 100))
    assert [sum(e.split == split for e in found) for split in SPLITS] == [140, 20, 40]
    (found,) = Division(shares=(0.9, 0.1, 0.0)).splits(cohort("xy" * 100))
    assert [sum(e.split == split for e in found) for split in SPLITS] == [180, 20, 0]
    stated = Cohort(
        tuple(replace(one, split="test" if n < 60 else "") for n, one in enumerate(cohort("xy" * 100)))
    )
    (found,) = Division(shares=(0.9, 0.1, 0.0)).splits(stated)
    assert [e.split for e in found[:60]] == ["test"] * 60
    assert [sum(e.split == split for e in found) for split in SPLITS] == [126, 14, 60]
    assert Division().faults(Cohort(stated.entries[:60])) == ("it has no slides to train on",)


@given(some.integers(4, 60), some.sampled_from([(0.7, 0.15, 0.15), (0.7, 0.1, 0.2), (0.9, 0.1, 0.0)]))
def test_two_groups_of_a_class_are_enough_to_train_and_validate(count: int, shares: Any) -> None:
    whole = cohort("xy" * (count // 2))
    assert not Division(shares=shares).faults(whole)
    (found,) = Division(shares=shares).splits(whole)
    for label in "xy":
        assert {"train", "val"} <= {one.split for one in found if one.label == label}


@settings(max_examples=40)
@given(some.integers(6, 70), some.integers(2, 10), some.integers(0, 3))
def test_measurements_are_divided_into_folds_whatever_their_number(count: int, folds: int, seed: int) -> None:
    division = Division(folds, seed, by_class=False)
    whole = cohort(f"{number}.5" for number in range(count))
    assume(count >= 2 * folds)
    assert not division.faults(whole)
    held_out = [one.slide for part in division.splits(whole) for one in part if one.split == "test"]
    assert sorted(held_out) == sorted(one.slide for one in whole)


def test_classes_that_no_training_slide_has_are_told() -> None:
    """Of the slides that the table tests on too, and of a patient who has slides of two classes."""
    entries = cohort("xxxxyyyyz").entries
    tested = Cohort((*entries[:-1], replace(entries[-1], split="test")))
    for division in (Division(), Division(3)):
        assert "no training slide has the label 'z' of 8.svs" in division.faults(tested)[0]
    shared = [replace(one, group="p") for one in cohort("xy").entries]
    mixed = Cohort((*cohort("xxxx").entries, *(replace(one, slide=Path(f"s{one.slide}")) for one in shared)))
    told = [Division(seed=seed).faults(mixed) for seed in range(30)]
    assert any("no training slide has the label 'y'" in one[0] for one in told if one)
