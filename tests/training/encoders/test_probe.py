from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.training.encoders.probe import colour_statistics, linear_probe


def codes(labels: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    return np.eye(3)[labels] + noise * rng.normal(size=(len(labels), 3))


def test_a_probe_tells_how_well_codes_tell_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    train, test, groups = labels[:300], labels[300:], np.arange(300) // 15
    good, bad, none = (codes(labels, noise, rng) for noise in (0.05, 1.0, 100.0))
    probes = [linear_probe(one[:300], train, one[300:], test, groups) for one in (good, bad, none)]
    values = [probe["accuracy"].value for probe in probes]
    assert values[0] == 1
    assert 0.4 < values[1] < 0.8
    assert values[2] == pytest.approx(1 / 3, abs=0.12)
    assert probes[0].patients == 20
    assert probes[0]["AUROC"].value == 1
    low, high = probes[1]["accuracy"].low, probes[1]["accuracy"].high
    assert low is not None
    assert high is not None
    assert low < values[1] < high
    better = probes[0].minus(probes[1])
    assert better.low is not None
    assert better.low > 0
    assert better.value == pytest.approx(values[0] - values[1])


def test_intervals_are_wider_where_patients_differ() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    values = labels[:, None] + 0.3 * rng.normal(size=(400, 1))
    groups = np.arange(200) // 20
    odd = groups % 2 == 1
    test = np.where(odd, 1 - labels[200:], labels[200:])  # half of the patients are the other way round
    by_patient = linear_probe(values[:200], labels[:200], values[200:], test, groups)["accuracy"]
    by_patch = linear_probe(values[:200], labels[:200], values[200:], test)["accuracy"]
    assert by_patient.high is not None
    assert by_patient.low is not None
    assert by_patch.high is not None
    assert by_patch.low is not None
    assert by_patient.high - by_patient.low > 2 * (by_patch.high - by_patch.low)


def test_balanced_accuracy_counts_classes_alike() -> None:
    x = np.array([[0.0], [0.1], [1.0], [1.1]])
    probe = linear_probe(x, [0, 0, 1, 1], [[0.0]] * 9 + [[0.1]], [0] * 9 + [1])
    assert probe["accuracy"].value == pytest.approx(0.9)
    assert probe["balanced accuracy"].value == pytest.approx(0.5)


def test_few_patients_have_no_interval() -> None:
    probe = linear_probe([[0.0], [1.0]], [0, 1], [[0.0], [1.0]], [0, 1], [0, 1])
    assert probe["accuracy"].low is None


def test_a_probe_needs_two_classes() -> None:
    with pytest.raises(CohortError, match="two classes"):
        linear_probe([[0.0], [1.0]], [1, 1], [[0.0]], [1])


def test_colour_statistics_are_means_and_standard_deviations() -> None:
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    pixels[0, 0, :, 0] = 255
    np.testing.assert_allclose(colour_statistics(pixels), [[0.5, 0, 0, 0.5, 0, 0]])
