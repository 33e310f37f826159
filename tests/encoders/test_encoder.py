from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_zoommil.encoders import Encoder, Preprocessing
from napari_zoommil.encoders.encoder import LARGEST_BATCH_CPU, weights_hash
from napari_zoommil.encoders.networks import MeanColour, NICEncoder

PLAIN = Preprocessing(None, (0, 0, 0), (1, 1, 1))


def patches(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_preprocessing_scales_and_normalises() -> None:
    given = patches(2)
    images = Preprocessing(None, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))(torch.from_numpy(given))
    expected = (given / 255 - (0.5, 0.4, 0.3)) / (0.2, 0.3, 0.4)
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), expected, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", [4, 8, 12])
def test_preprocessing_brings_any_patch_to_its_size(interpolation: str, size: int) -> None:
    images = replace(PLAIN, size=size, interpolation=interpolation)(torch.from_numpy(patches(3)))
    assert images.shape == (3, 3, size, size)
    assert images.min() >= 0 and images.max() <= 1


def test_area_interpolation_is_the_mean_of_the_pixels() -> None:
    given = patches(1)
    images = replace(PLAIN, size=4, interpolation="area")(torch.from_numpy(given))
    means = given.reshape(1, 4, 2, 4, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), means, atol=1e-6)


def test_preprocessing_leaves_the_patches_alone() -> None:
    given = patches(1)
    before = given.copy()
    PLAIN(torch.from_numpy(given))
    np.testing.assert_array_equal(given, before)


def test_an_encoder_embeds_patches() -> None:
    given = patches(5)
    embeddings = Encoder("mean", MeanColour(), PLAIN, 3)(given)
    assert embeddings.dtype == torch.float32
    np.testing.assert_allclose(embeddings, given.mean((1, 2)) / 255, atol=1e-2)


def test_large_batches_are_cut() -> None:
    sizes = []

    class Spy(MeanColour):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return super().forward(images)

    given = patches(LARGEST_BATCH_CPU + 3, 2)
    embeddings = Encoder("spy", Spy(), PLAIN, 3, half=False)(given)
    assert sizes == [LARGEST_BATCH_CPU, 3]
    np.testing.assert_allclose(embeddings, given.mean((1, 2)) / 255, atol=1e-6)


class Cramped(MeanColour):
    """A network on a device that holds ``room`` images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        return super().forward(images)


def test_a_batch_too_large_for_the_device_is_halved_until_it_fits() -> None:
    given = patches(21)
    embeddings = Encoder("cramped", Cramped(3), PLAIN, 3, half=False)(given)
    np.testing.assert_allclose(embeddings, given.mean((1, 2)) / 255, atol=1e-6)


def test_a_patch_too_large_for_the_device_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Encoder("cramped", Cramped(0), PLAIN, 3, half=False)(patches(4))


def test_the_network_is_frozen_and_in_evaluation() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Dropout(0.5))
    encoder = Encoder("net", network, PLAIN, 4)
    assert torch.equal(encoder(patches(2)), encoder(patches(2)))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_multiply_adds_of_nic_are_those_of_its_layers() -> None:
    size = Preprocessing(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "area")
    convolutions = sum(9 * 128 * width * edge**2 for width, edge in ((3, 31), (128, 15), (128, 7), (128, 3)))
    assert Encoder("nic", NICEncoder(), size, 128).multiply_adds(128) == convolutions + 1152 * 128


def test_the_hash_is_of_values_not_of_memory_layout() -> None:
    network = nn.Conv2d(3, 4, 3)
    before = weights_hash(network, PLAIN)
    assert weights_hash(network.to(memory_format=torch.channels_last), PLAIN) == before
    assert len(before) == 16


@pytest.mark.parametrize("what", ["weights", "buffers", "preprocessing"])
def test_the_hash_changes_with(what: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = weights_hash(network, PLAIN)
    preprocessing = PLAIN
    with torch.no_grad():
        if what == "weights":
            network[0].weight[0, 0, 0, 0] += 1e-3
        elif what == "buffers":
            network[1].running_mean[0] = 1
    if what == "preprocessing":
        preprocessing = replace(PLAIN, size=32)
    assert weights_hash(network, preprocessing) != before


def test_half_precision_weights_have_a_hash() -> None:
    network = nn.Linear(2, 2).bfloat16()
    assert weights_hash(network, PLAIN) != weights_hash(network.float(), PLAIN)
