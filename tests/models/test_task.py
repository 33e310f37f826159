from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional as F

from napari_zoommil.errors import CohortError
from napari_zoommil.models.task import (
    MOST_CLASSES,
    Classification,
    Regression,
    are_measurements,
    measurements,
)

CLASSES = Classification(("normal", "tumour", "other"))


def test_classes_are_told_by_cross_entropy_and_softmax() -> None:
    logits = torch.tensor([1.0, -2.0, 0.5])
    target = torch.tensor(CLASSES.target("tumour"))
    assert int(target) == 1
    torch.testing.assert_close(CLASSES.loss(logits, target), F.cross_entropy(logits[None], target[None]))
    torch.testing.assert_close(CLASSES.link(logits), logits.softmax(0))
    shares = torch.tensor([0.2, 0.5, 0.3])
    expected = -(shares * logits.log_softmax(0)).sum()
    torch.testing.assert_close(CLASSES.loss(logits, shares), expected)


def test_how_classes_read() -> None:
    values = np.array([0.07, 0.91, 0.02], np.float32)
    assert CLASSES.predicted(values) == CLASSES.explained(values) == "tumour"
    assert CLASSES.sentence(values) == "normal 0.070, tumour 0.910, other 0.020"
    assert CLASSES.lines(values)[1] == ("tumour", pytest.approx(0.91), "0.91")
    said = CLASSES.summary(values)
    assert said == {"predicted": "tumour", "probabilities": {"normal": 0.07, "tumour": 0.91, "other": 0.02}}
    assert json.loads(json.dumps(said)) == said
    assert CLASSES.figures(values)["probability_tumour"] == pytest.approx(0.91)


def test_classes_are_balanced() -> None:
    weights = np.array(CLASSES.balance([0, 0, 0, 1]))
    assert weights[:3].sum() == pytest.approx(weights[3:].sum())
    assert Regression().balance([1.0, 2.0]) is None


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30), st.floats(-5, 5))
@example([0.485] * 3, 0.5)
def test_a_number_is_told_by_squared_error_in_spreads(values: list[float], output: float) -> None:
    task = Regression.fitted(values, "cells/mm²")
    logits = torch.tensor([output], dtype=torch.float64)
    told = task.link(logits)
    assert task.loss(logits, told[0]).item() == pytest.approx(0, abs=1e-9)
    spread = task.scale
    off = task.loss(logits, told[0] + 2 * spread).item()
    assert off == pytest.approx(4, rel=1e-6)
    assert task.link(torch.zeros(1)).item() == pytest.approx(np.mean(values), rel=1e-5, abs=1e-3)


def test_how_a_number_reads() -> None:
    task, values = Regression("cells/mm²", "count"), np.array([1234.56], np.float32)
    assert task.names == ("count",) and task.explained(values) == "count"
    assert task.predicted(values) == "1235 cells/mm²" and Regression().predicted(values) == "1235"
    assert task.lines(values) == [("count", None, "1235 cells/mm²")]
    assert task.sentence(values) == "count 1235 cells/mm²"
    assert task.summary(values) == {"predicted": pytest.approx(1234.56), "unit": "cells/mm²"}
    assert json.loads(json.dumps(task.summary(values)))


@pytest.mark.parametrize("task", [CLASSES, Regression("mm", offset=4, scale=2)])
def test_metrics_take_what_is_measured(task: Classification | Regression) -> None:
    metrics = task.metrics()
    for value in range(3):
        logits = torch.eye(3)[value] if task is CLASSES else torch.tensor([value / 2])
        target = torch.tensor(value if task is CLASSES else 4.0 + value)
        for metric in metrics.values():
            metric.update(task.measured(logits), target[None])
    best = {"f1": 1, "accuracy": 1, "mae": 0, "correlation": 1}
    for name, metric in metrics.items():
        assert float(metric.compute()) == pytest.approx(best[name], abs=1e-5), name


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["normal", "tumour"], False),
        (["0", "1", "1"], False),
        (["1", "2", "3", "4"], False),
        (["1.0", "2.0"], False),
        (["0.5", "1"], True),
        (["-1.25", "3e2"], True),
        ([str(number) for number in range(MOST_CLASSES)], False),
        ([str(number) for number in range(MOST_CLASSES + 1)], True),
        (["0.5", "unknown"], False),
        (["0.5", "nan"], False),
        (["0.5", "inf"], False),
    ],
)
def test_labels_that_are_measurements(labels: list[str], found: bool) -> None:
    assert are_measurements(labels) is found


@pytest.mark.parametrize("label", ["none", "", "nan", "-inf", "1,5"])
def test_a_label_that_is_no_number_is_named(label: str) -> None:
    assert measurements(["1", "2.5"]) == [1, 2.5]
    with pytest.raises(CohortError, match=r"a number for each slide, and '.*' is not a number"):
        measurements(["1", label])
