"""Networks of the registry: the NIC encoder, the trunk of a ResNet, mean colour."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class NICEncoder(nn.Module):
    """Encoder of Neural Image Compression (Tellez et al. 2019, appendix): 64×64 RGB → code of 128.

    Four blocks of a strided 3×3 convolution with 128 channels without padding, a leaky ReLU and *then*
    batch normalisation (64 → 31 → 15 → 7 → 3 px), and a linear layer. 594,944 parameters.
    """

    def __init__(self, channels: int = 128, code: int = 128) -> None:
        super().__init__()
        widths = (3, *[channels] * 4)
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2),
                    nn.LeakyReLU(0.2),
                    nn.BatchNorm2d(after, eps=1e-3, momentum=0.2),
                )
                for before, after in pairwise(widths)
            )
        )
        self.code = nn.Linear(channels * 9, code)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [−1, 1] → (B, 128)."""
        return self.code(self.features(images).flatten(1))


class PooledTrunk(nn.Module):
    """Spatial mean of the last feature map of a feature extractor (ZoomMIL, sec. 4.2)."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, channels)."""
        return self.trunk(images)[-1].mean((2, 3))


class MeanColour(nn.Module):
    """Mean of red, green and blue: the baseline that uses colour only."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, 3)."""
        return torch.mean(images, (2, 3))
