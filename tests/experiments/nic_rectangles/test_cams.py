"""Denoised maps against rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zoommil.experiments.nic_rectangles.cams import KINDS, Explained, agreement, grad_cam
from napari_zoommil.models.blocks.nic_cnn import NICNet


def blob(seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on noise, and where it is."""
    rng, truth = np.random.default_rng(seed), np.zeros((30, 30), bool)
    y, x = rng.integers(2, 16, 2)
    truth[y : y + 11, x : x + 7] = True
    return truth + noise * rng.standard_normal(truth.shape), truth


def test_agreement_by_kind_and_by_right_and_wrong() -> None:
    def image(seed: int, right: bool) -> Explained:
        values, truth = blob(seed)
        other = np.random.default_rng(seed).random(truth.shape)
        cam = values if right else other
        return Explained(dict(zip(KINDS, (cam, other, other, values), strict=True)), truth, right)

    told = agreement(
        [image(seed, True) for seed in range(5)], [image(seed, seed % 2 == 0) for seed in range(5, 15)]
    )
    assert told["grad-cam"]["right"] > 0.7 > 0.3 > told["grad-cam"]["wrong"]
    assert told["grad-cam"]["jaccard"] == pytest.approx(
        (told["grad-cam"]["right"] + told["grad-cam"]["wrong"]) / 2
    )
    assert told["true class"]["jaccard"] > 0.7 and told["random"]["jaccard"] < 0.3
    assert told["true class"]["pointing"] > told["random"]["pointing"]
    assert agreement([image(0, True)], [image(1, True)])["random"]["wrong"] is None


def test_maps_of_a_batch_are_those_of_each_image() -> None:
    torch.manual_seed(0)
    network = NICNet(3, 4, 8, (2, 1), "same", 0.5)
    network.train()
    network(torch.randn(16, 3, 12, 12))
    arrays, classes = torch.randn(3, 3, 12, 12), torch.tensor([0, 3, 1])
    maps = grad_cam(network, arrays, classes)
    assert maps.shape == (3, 12, 12) and not network.training
    for number in range(3):
        alone = grad_cam(network, arrays[[number]], classes[[number]])
        np.testing.assert_allclose(maps[[number]], alone, atol=1e-5)
    with torch.no_grad():
        network.output.weight[2] = 0
    assert abs(grad_cam(network, arrays, torch.tensor([2, 2, 2]))).max() == 0


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("spot", [(8, 8), (9, 8), (8, 11), (13, 7)])
def test_a_map_lies_around_a_planted_spot(padding: str, spot: tuple[int, int]) -> None:
    network = NICNet(1, 2, 4, (2, 1), padding, 0.0)
    for part in network.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.ones_(part.weight)
    arrays = torch.zeros(1, 1, 23, 23)
    arrays[0, 0, *spot] = 1
    found = grad_cam(network, arrays, torch.tensor([1]))[0]
    assert found.min() >= 0 < found.max()
    middle = [np.average(np.arange(23), weights=found.sum(1 - axis)) for axis in (0, 1)]
    np.testing.assert_allclose(middle, spot, atol=1e-4)
