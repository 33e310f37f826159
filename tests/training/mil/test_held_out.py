from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_zoommil.models.task import Classification, Regression
from napari_zoommil.training.mil.held_out import Answers, over_folds, report, strata

TASK = Classification(("normal", "tumour"))


def answers(groups: list[str], targets: list[float], tumour: list[float]) -> Answers:
    shares = np.array(tumour)
    return Answers(tuple(groups), np.array(targets, float), np.stack([1 - shares, shares], 1))


def test_a_report_has_the_metrics_with_their_intervals() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 2
    tumour = np.clip(0.5 + 0.3 * (targets - 0.5) + rng.normal(0, 0.2, 60), 0.01, 0.99)
    made = report(TASK, answers([str(n) for n in range(60)], targets.tolist(), tumour.tolist()))
    assert set(made) == {"per_slide"} and made["per_slide"]["count"] == 60
    values = made["per_slide"]["metrics"]
    names = {"weighted F1", "accuracy", "AUROC", "average precision", "F1 of normal", "F1 of tumour"}
    assert names | {"calibration error"} == set(values)
    for one in values.values():
        assert 0 <= one["low"] <= one["high"] <= 1
    width = values["accuracy"]["high"] - values["accuracy"]["low"]
    p = values["accuracy"]["value"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / 60), rel=0.2), "that of the binomial"
    right = np.trace(made["per_slide"]["confusion"]["rows are classes"])
    assert right == round(60 * p)
    assert report(TASK, answers([str(n) for n in range(60)], targets.tolist(), tumour.tolist())) == made


def test_slides_of_a_patient_are_drawn_together_and_counted_as_one() -> None:
    targets = [float(n % 2) for n in range(12)]
    tumour = [0.9 if target else 0.1 for target in targets]
    tumour[0] = 0.8  # one patient is wrong on all slides
    groups = [str(n) for n in range(12)]
    many = answers([g for g in groups for _ in range(9)], [t for t in targets for _ in range(9)],
                   [t for t in tumour for _ in range(9)])  # fmt: skip
    found = report(TASK, many)
    single = report(TASK, answers(groups, targets, tumour))["per_slide"]
    assert found["per_slide"]["metrics"]["accuracy"] == single["metrics"]["accuracy"], (
        "not nine times as sure"
    )
    assert found["per_patient"] == single | {"left_out": 0}


def test_a_patient_with_several_labels_is_left_out_of_patients() -> None:
    made = report(TASK, answers(["a", "a", "b", "c"], [0, 1, 0, 1], [0.2, 0.9, 0.1, 0.7]))
    assert made["per_patient"]["count"] == 2 and made["per_patient"]["left_out"] == 1
    assert made["per_slide"]["count"] == 4
    assert made["per_slide"]["metrics"]["accuracy"] == {"value": 1.0}, "three patients are too few for bounds"


def test_one_class_has_no_auroc_and_a_regression_its_own_metrics() -> None:
    made = report(TASK, answers(list("abcdef"), [1] * 6, [0.9, 0.8, 0.3, 0.9, 0.9, 0.9]))
    assert "AUROC" not in made["per_slide"]["metrics"] and "accuracy" in made["per_slide"]["metrics"]
    values = np.arange(8.0)
    found = report(Regression(unit="mm"), Answers(tuple("abcdefgh"), values, values[:, None] ** 2))
    metrics = found["per_slide"]["metrics"]
    assert set(metrics) == {"mae", "correlation", "spearman"} and metrics["spearman"]["value"] == 1
    assert metrics["correlation"]["value"] < 1 and "confusion" not in found["per_slide"]


def test_nothing_is_said_of_no_slide() -> None:
    made = report(TASK, Answers((), np.empty(0), np.empty((0, 2))))
    assert made == {"per_slide": {"count": 0, "patients": 0, "metrics": {}}}


def test_the_reliability_curve_counts_each_slide_once() -> None:
    made = report(TASK, answers(list("abcdef"), [1, 1, 0, 0, 1, 0], [0.95, 0.97, 0.9, 0.3, 0.62, 0.12]))
    assert made["per_slide"]["reliability"] == [
        {"slides": 1, "probability": 0.62, "right": 1.0},
        {"slides": 1, "probability": 0.7, "right": 1.0},
        {"slides": 1, "probability": 0.88, "right": 1.0},
        {"slides": 3, "probability": 0.94, "right": 0.6667},
    ]


def test_results_are_told_by_a_column() -> None:
    assert {name: rows.tolist() for name, rows in strata(["b", "a", "", "b", "NA"]).items()} == {
        "a": [1], "b": [0, 3], "(no value)": [2, 4],
    }  # fmt: skip
    sizes = ["9", "1", "2.5", "7", "3", "20"]
    assert {name: rows.tolist() for name, rows in strata(sizes).items()} == {
        "1 to 2.5": [1, 2], "3 to 7": [3, 4], "9 to 20": [0, 5],
    }  # fmt: skip
    assert set(strata(["1", "2", "1"])) == {"1", "2"}, "few numbers are names"
    by = replace(answers(list("abcd"), [0, 1, 0, 1], [0.1, 0.9, 0.8, 0.7]), strata=("s", "s", "l", "l"))
    found = report(TASK, by)["by"]
    assert found["s"]["metrics"]["accuracy"]["value"] == 1 and found["l"]["count"] == 2
    assert found["l"]["metrics"]["accuracy"]["value"] == 0.5


def test_results_are_told_of_subsets_and_over_folds() -> None:
    made = answers(list("abcdef"), [0, 0, 1, 1, 0, 1], [0.1, 0.6, 0.9, 0.4, 0.2, 0.8])
    subsets = (("test",), ("test", "macro"), ("test", "macro"), ("test",), (), ())
    told = report(TASK, replace(made, subsets=subsets))["subsets"]
    assert {name: one["count"] for name, one in told.items()} == {"macro": 2, "test": 4}
    assert told["macro"]["metrics"]["AUROC"]["value"] == 1
    assert told["test"]["metrics"]["AUROC"]["value"] == 0.75
    folds = [made.of(np.array(rows, np.int64)) for rows in ([0, 1], [2, 3, 4], [1, 5], [])]
    found = over_folds(TASK, folds)
    assert found["AUROC"] == {"mean": 1, "sd": 0, "folds": 2}, "the first fold has one class"
    accuracies = [0.5, 2 / 3, 0.5]
    assert found["accuracy"] == {
        "mean": round(float(np.mean(accuracies)), 4), "sd": round(float(np.std(accuracies, ddof=1)), 4),
        "folds": 3,
    }  # fmt: skip
