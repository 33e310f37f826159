"""Which slides count, and how good the answers for them are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.jobs.cohort import Answer, CohortRow
from napari_zoommil.jobs.cohort_scores import (
    MAY_BE_OF_TRAINING,
    OF_TRAINING,
    Filter,
    scores_of,
    sentence_of,
    ways_to_count,
)
from napari_zoommil.models.task import Classification, Regression
from napari_zoommil.training.mil.labelled_slide import LabelledSlide

TASK = Classification(("a", "b"))


def row(label: str, predicted: str = "", split: str = "", name: str = "s.svs") -> CohortRow:
    values = np.array([0.9, 0.1] if predicted == "a" else [0.2, 0.8], np.float32)
    entry = LabelledSlide(Path(name), label, split, f"patient of {name}")
    return CohortRow(entry, Answer(TASK, values) if predicted else None)


ROWS = [
    row("a", "a", "train"), row("a", "b", "train"),
    row("a", "a", "val"), row("b", "a", "val"),
    row("a", "b", "test"), row("b", "b", "test"), row("b", "b", "test"),
    row("b", "", "test"), row("other", "a", "test"),
]  # fmt: skip


def test_held_out_slides_count_where_there_are_splits() -> None:
    ways = ways_to_count(("train", "val", "test"))
    assert next(iter(ways.items())) == ("Held out (val and test)", ("val", "test"))
    assert ways["All with a label"] == () and ways["Split train"] == ("train",)
    assert next(iter(ways_to_count(("train", "val")))) == "Split val"
    assert list(ways_to_count(("test",))) == ["Split test", "All with a label"]
    assert ways_to_count(()) == {"All with a label": ()}


def test_counts_accuracy_and_f1_by_hand() -> None:
    scores = scores_of(ROWS, ("val", "test"))
    assert scores.classes == ("a", "b") and scores.matrix.tolist() == [[1, 1], [1, 2]]
    assert (scores.judged, scores.answered) == (5, 6)
    assert scores.metrics["accuracy"] == pytest.approx(3 / 5)
    assert scores.metrics["weighted F1"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)
    assert scores_of(ROWS, ()).matrix.sum() == 7


def test_it_is_said_what_is_counted() -> None:
    known = ("train", "val", "test")
    told = sentence_of(scores_of(ROWS, ("val", "test")), ("val", "test"), known)
    assert told == (
        "Accuracy 0.6, weighted F1 0.6 on 5 slides of val and test. "
        "1 more have a label that the model does not know, or none."
    )
    assert sentence_of(scores_of(ROWS, ()), (), known).endswith(OF_TRAINING)
    assert sentence_of(scores_of(ROWS, ("train",)), ("train",), known).endswith(OF_TRAINING)
    assert sentence_of(scores_of(ROWS, ()), (), ()).endswith(MAY_BE_OF_TRAINING)
    assert sentence_of(scores_of([], ("test",)), ("test",), known).startswith("No labelled slide of test")
    assert "none that the model knows" in sentence_of(scores_of([row("c", "a")], ()), (), ())


def test_numbers_have_errors_and_no_matrix() -> None:
    task = Regression("mm")
    rows = [
        CohortRow(LabelledSlide(Path(f"{n}.svs"), f"{n}"), Answer(task, np.array([n + 0.5], np.float32)))
        for n in range(4)
    ]
    scores = scores_of(rows, ())
    assert scores.classes == () and scores.matrix.size == 0 and scores.judged == 4
    assert scores.metrics == pytest.approx({"mae": 0.5, "spearman": 1.0})
    assert sentence_of(scores, (), ()).startswith(
        "Mean absolute error 0.5, Spearman correlation 1 on 4 slides"
    )


def test_what_a_filter_takes() -> None:
    rows = [
        row("a", "a", "val", "Case 1.svs"),
        row("b", "a", "test", "case 2.svs"),
        row("b", "", "train", "x.svs"),
    ]

    def taken(wanted: Filter) -> list[str]:
        return [one.entry.slide.name for one in rows if wanted.takes(one)]

    assert taken(Filter()) == ["Case 1.svs", "case 2.svs", "x.svs"]
    assert taken(Filter("CASE")) == ["Case 1.svs", "case 2.svs"]
    assert taken(Filter("patient of x")) == ["x.svs"]
    assert taken(Filter(split="val")) == ["Case 1.svs"]
    assert taken(Filter(wrong_only=True)) == ["case 2.svs"]
    assert taken(Filter(cell=("b", "a"))) == ["case 2.svs"]
    assert taken(Filter(cell=("b", "a"), counted=("val",))) == [], "what the cell counted"
    assert taken(Filter("case", "val", cell=("a", "a"), counted=("val",))) == ["Case 1.svs"]
