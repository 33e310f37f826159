"""Partitions of the cohort, and tables of a part of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

from napari_zoommil.experiments.nic_slides.slides import slides_of, write_folds, write_partition
from napari_zoommil.experiments.nic_slides.trials import EXTENTS, Trial, default_code
from napari_zoommil.experiments.shipped.nic_encoder import TEST_TEXTURES, TRAIN_TEXTURES
from napari_zoommil.experiments.zooming.cohort import LABELS
from napari_zoommil.training.mil.table import read_table

CPU = EXTENTS["cpu"]
HALF = Trial("presence", default_code("nic"), share=0.5)


def test_each_slide_is_held_out_once_and_patterns_are_spread() -> None:
    rows = slides_of(CPU, "presence")
    for label in LABELS:
        counts = [sum(one.slide.label == label and one.fold == str(n) for one in rows) for n in range(1, 5)]
        assert max(counts[:3]) - min(counts[:3]) <= 1 and sum(counts) == len(rows) / 3
    assert all((one.slide.drawing.texture_seed in TEST_TEXTURES) == (one.fold == "4") for one in rows)
    for fold, texture in product("123", TRAIN_TEXTURES):
        own = [one for one in rows if one.fold == fold and one.slide.drawing.texture_seed == texture]
        counts = [sum(one.slide.label == label for one in own) for label in LABELS]
        assert min(counts) and max(counts) - min(counts) <= 1, "a texture tells nothing of the class"
    tested = [one for one in rows if "test" in one.subsets]
    assert all(one.slide.split == "test" for one in tested) and len(tested) > len(rows) / 5
    large = [one for one in tested if "macro" in one.subsets]
    assert all(not one.percent or one.percent >= 100 * CPU.macro for one in large)
    assert any(one.percent for one in large) and any(not one.percent for one in large)
    numbers = slides_of(CPU, "share")
    assert all((one.slide.split == "test") == (one.fold == "") for one in numbers)
    assert {one.fold for one in numbers} == {"", "1", "2", "3", "4"}


def test_a_part_of_the_training_slides_tests_on_the_same(tmp_path: Path) -> None:
    whole = read_table(write_folds(CPU, "presence", tmp_path), ("slide", "fold"))
    for fold in (1, 4):
        part = read_table(write_partition(CPU, HALF, fold, 0, tmp_path), ("slide", "split"))
        held_out = {one["slide"] for one in part if one["split"] == "test"}
        assert held_out == {one["slide"] for one in whole if one["fold"] == str(fold)}
        trained = [one for one in part if one["split"] == "train"]
        all_of_it = read_table(
            write_partition(CPU, replace(HALF, share=1.0), fold, 0, tmp_path), ("slide", "split")
        )
        every = {one["slide"] for one in all_of_it if one["split"] == "train"}
        assert {one["slide"] for one in trained} < every and abs(len(trained) / len(every) - 0.5) < 0.05
        assert {one["label"] for one in trained} == {"normal", "tumour"}
        assert not any(one["fold"] for one in part)
