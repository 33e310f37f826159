from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from torchmetrics.functional import classification as oracle

from napari_zoommil.training.mil import weighted_metrics as ours

SEEDS = st.integers(0, 10_000)


def drawn(seed: int, classes: int = 3, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets with all classes, probabilities with ties, and weights: ones, then how often each is drawn."""
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    scores = np.round(rng.dirichlet(np.ones(classes), n) + 0.3 * np.eye(classes)[targets], 1) + 1e-3
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), 5)]).astype(float)
    return targets, scores / scores.sum(1, keepdims=True), weights


def repeated(weights: np.ndarray, *arrays: np.ndarray) -> list[torch.Tensor]:
    times = weights.astype(int)
    return [torch.from_numpy(np.repeat(one, times, 0)) for one in arrays]


@given(SEEDS)
def test_metrics_of_classes_are_those_of_torchmetrics(seed: int) -> None:
    targets, scores, weights = drawn(seed)
    matrix = ours.confusion(targets, scores.argmax(1), 3, weights)
    positive = targets == 1
    found = np.stack(
        [
            ours.weighted_f1(matrix),
            ours.accuracy(matrix),
            ours.auroc(positive, scores[:, 1], weights),
            ours.average_precision(positive, scores[:, 1], weights),
            ours.calibration_error(scores, targets == scores.argmax(1), weights),
        ]
    )
    for column, one in enumerate(weights):
        wanted, values = repeated(one, targets, scores)
        predicted = torch.from_numpy(np.repeat(scores.argmax(1), one.astype(int)))
        expected = [
            oracle.multiclass_f1_score(predicted, wanted, 3, average="weighted"),
            oracle.multiclass_accuracy(predicted, wanted, 3, average="micro"),
            oracle.binary_auroc(values[:, 1], (wanted == 1).long()),
            oracle.binary_average_precision(values[:, 1], (wanted == 1).long()),
            oracle.multiclass_calibration_error(values, wanted, 3, n_bins=ours.BINS),
        ]
        if 0 < (wanted == 1).sum() < len(wanted):
            np.testing.assert_allclose(found[:, column], [float(value) for value in expected], atol=2e-6)


@given(SEEDS)
def test_metrics_of_values_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=30), 1)
    y = np.round(x + rng.normal(size=30), 1)
    weights = np.concatenate([np.ones((1, 30)), rng.multinomial(30, np.full(30, 1 / 30), 4)]).astype(float)
    for column, one in enumerate(weights):
        a, b = (np.repeat(value, one.astype(int)) for value in (x, y))
        assert ours.correlation(x, y, weights)[column] == pytest.approx(pearsonr(a, b)[0])
        assert ours.rank_correlation(x, y, weights)[column] == pytest.approx(spearmanr(a, b)[0])
        assert ours.mean_absolute_error(x, y, weights)[column] == pytest.approx(np.abs(a - b).mean())


def test_what_is_not_defined_is_nan() -> None:
    ones, targets = np.ones((1, 4)), np.zeros(4, np.int64)
    assert np.isnan(ours.auroc(targets == 1, np.arange(4.0), ones)).all()
    assert np.isnan(ours.average_precision(targets == 1, np.arange(4.0), ones)).all()
    assert np.isnan(ours.correlation(np.full(4, 0.1), np.arange(4.0), ones)).all()
    matrix = ours.confusion(targets, targets, 2, ones)
    assert ours.f1(matrix)[0, 0] == 1 and np.isnan(ours.f1(matrix)[0, 1]) and ours.weighted_f1(matrix)[0] == 1
