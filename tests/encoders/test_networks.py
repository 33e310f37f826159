from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_zoommil.encoders.networks import MeanColour, NICEncoder, PooledTrunk


def test_nic_has_the_published_size_and_shapes() -> None:
    network = NICEncoder()
    assert sum(parameter.numel() for parameter in network.parameters()) == 594_944
    images, edges = torch.zeros(2, 3, 64, 64), []
    for block in network.features:
        images = block(images)
        edges.append(images.shape[-1])
    assert edges == [31, 15, 7, 3]
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 128)


def test_nic_normalises_after_the_activation() -> None:
    kinds = [[type(layer) for layer in block] for block in NICEncoder().features]
    assert kinds == [[nn.Conv2d, nn.LeakyReLU, nn.BatchNorm2d]] * 4


def test_a_pooled_trunk_is_the_mean_of_its_last_map() -> None:
    class Trunk(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [images, images * 2]

    images = torch.rand(2, 3, 4, 5)
    assert torch.allclose(PooledTrunk(Trunk())(images), images.mean((2, 3)) * 2)


def test_mean_colour() -> None:
    images = torch.rand(2, 3, 4, 5)
    assert torch.allclose(MeanColour()(images), images.mean((2, 3)))
