"""Denoised maps against rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zoommil.experiments.nic_rectangles.cams import (
    KINDS,
    OTSU,
    Denoising,
    Explained,
    agreement,
    grad_cam,
    jaccard,
    tuned,
)
from napari_zoommil.models.blocks.nic_cnn import NICNet


def blob(seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on noise, and where it is."""
    rng, truth = np.random.default_rng(seed), np.zeros((30, 30), bool)
    y, x = rng.integers(2, 16, 2)
    truth[y : y + 11, x : x + 7] = True
    return truth + noise * rng.standard_normal(truth.shape), truth


def test_a_blob_is_found_in_noise() -> None:
    values, truth = blob()
    assert jaccard(Denoising(1.0, OTSU, 0, True).mask(values), truth) > 0.7
    plain = Denoising(0.0, 0.95, 0, False).mask(values)
    assert plain.sum() == 45 and jaccard(plain, truth) < 0.6


@pytest.mark.parametrize("quantile", [OTSU, 0.9])
def test_maps_that_say_nothing_have_an_empty_mask(quantile: float) -> None:
    for values in (np.zeros((9, 9)), np.full((9, 9), np.nan)):
        assert not Denoising(1.0, quantile, 1, True).mask(values).any()


def test_an_opening_deletes_points_and_the_largest_part_can_stay_alone() -> None:
    values = np.zeros((20, 20))
    values[2:8, 2:8], values[12:16, 12:16], values[18, 1] = 1, 1, 1
    assert Denoising(0, 0.85, 0, False).mask(values).sum() == 53
    assert Denoising(0, 0.85, 1, False).mask(values).sum() == 53 - 1 - 4 - 4, "and the corners"
    assert Denoising(0, 0.85, 0, True).mask(values).sum() == 36


def test_jaccard() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert jaccard(one, other) == 0
    one[:2], other[1:3] = True, True
    assert jaccard(one, other) == pytest.approx(1 / 3)


def test_denoising_is_tuned_to_the_maps() -> None:
    pairs = [blob(seed) for seed in range(6)]
    best = tuned(*map(list, zip(*pairs, strict=True)))
    assert best.sigma > 0 and np.mean([jaccard(best.mask(v), t) for v, t in pairs]) > 0.8


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
