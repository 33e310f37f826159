"""Trainings on needle-MNIST."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.experiments.data.needle_mnist import Canvas
from napari_zoommil.experiments.needles import fitting
from napari_zoommil.experiments.needles.fitting import Drawn, accuracy, batches_of
from napari_zoommil.experiments.needles.training import data_sets, train_one, trained_network
from napari_zoommil.experiments.needles.trials import Extent, Trial


def trained(trial: Trial, extent: Extent, mnist: Path, out: Path, seed: int = 0) -> dict[str, Any]:
    job = train_one(trial, extent, seed, mnist, out / "weights.safetensors", "cpu")
    try:
        while True:
            assert 0 <= next(job) < 1
    except StopIteration as stop:
        del stop.value["seconds"]
        return stop.value


def test_a_seed_gives_the_same_again(mnist: Path, tmp_path: Path, tiny: Extent) -> None:
    first, again = (trained(tiny.base, tiny, mnist, tmp_path) for _ in range(2))
    assert first == again and len(first["epochs"]) == tiny.epochs
    assert first["val"] == max(one["val"] for one in first["epochs"])
    assert first["epochs"] != trained(tiny.base, tiny, mnist, tmp_path, 1)["epochs"]


def test_the_kept_weights_are_those_of_the_test_accuracy(mnist: Path, tmp_path: Path, tiny: Extent) -> None:
    result = trained(tiny.base, tiny, mnist, tmp_path)
    network = trained_network(tiny.base, tiny, tmp_path / "weights.safetensors")
    images = data_sets(tiny.base, tiny, mnist, 0)
    for split in ("val", "test"):
        assert accuracy(network, Drawn(images[split]), 7, torch.device("cpu")) == result[split]


def test_images_are_drawn_again_where_they_are_too_many_to_keep(
    mnist: Path, tmp_path: Path, tiny: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trained(tiny.base, tiny, mnist, tmp_path)
    monkeypatch.setattr(fitting, "KEPT_BYTES", 0)
    again = trained(tiny.base, tiny, mnist, tmp_path)
    assert again["epochs"][0]["train"] == pytest.approx(kept["epochs"][0]["train"], abs=0.05), (
        "but for halves"
    )


def test_accumulated_gradients_are_those_of_the_batch(
    mnist: Path, tmp_path: Path, tiny: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instance normalisation does not look at other images."""
    weights = []
    for pixels in (fitting.PIXELS, 3 * tiny.base.canvas.edge**2):
        monkeypatch.setattr(fitting, "PIXELS", pixels)
        trained(tiny.base, replace(tiny, epochs=1, learning_rate=1e-4), mnist, tmp_path)
        network = trained_network(tiny.base, tiny, tmp_path / "weights.safetensors")
        weights.append(torch.cat([one.detach().flatten() for one in network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-4, rtol=0)


def test_the_rarer_class_is_drawn_as_often() -> None:
    labels = np.zeros(100, np.int64)
    labels[:4] = 1
    order = batches_of(labels, 10, np.random.default_rng(0))
    rows = np.concatenate(order)
    assert [len(one) for one in order] == [10] * 10 and labels[rows].mean() == 0.5
    assert set(np.bincount(rows[labels[rows] == 1])) <= {12, 13}
    balanced = np.concatenate(batches_of(np.arange(50) % 2, 10, np.random.default_rng(0)))
    assert sorted(balanced) == list(range(50)), "each image once"
    assert [len(one) for one in batches_of(np.arange(5) % 2, 10, np.random.default_rng(0))] == [5]


def test_noise_can_be_memorised_only(mnist: Path, tmp_path: Path, tiny: Extent) -> None:
    noisy = replace(tiny.base, canvas=Canvas(18, 1, 9, "gaussian"), train=32)
    extent = replace(tiny, epochs=20, test=100, learning_rate=3e-3)
    result = trained(noisy, extent, mnist, tmp_path)
    assert result["train"] > 0.9 and abs(result["test"] - 0.5) < 0.2
