"""SparseConvMIL on the pixels of patches, with a ResNet-34 that is trained too (Lerousseau et al. 2021)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Self

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from napari_zoommil.encoders import load_encoder
from napari_zoommil.geometry import Rows
from napari_zoommil.models.entries_network import SparseConvMILPixelsOptions
from napari_zoommil.models.mil import Need
from napari_zoommil.models.sparseconvmil import SparseConvMIL

ENCODER = "resnet34.tv_in1k"
"""The network in timm."""

AT_ONCE = 100
"""Patches that a prediction encodes at once; there may be more pixels than fit into memory."""


class SparseConvMILPixels(SparseConvMIL):
    """SparseConvMIL with its own encoder of patches.

    A training step reads the pixels of some patches, drawn at random; predictions read all patches. Batch
    normalisation keeps the statistics that the encoder began with, because patches of one slide are no sample
    of those of all slides.

    Parameters
    ----------
    in_features : int
        3, the colours of a pixel.
    classes : int
    magnifications : sequence of float
        One.
    options : SparseConvMILPixelsOptions
    """

    name = "sparseconvmil_pixels"
    width = 512
    options: SparseConvMILPixelsOptions

    def __init__(
        self,
        in_features: int = 3,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: SparseConvMILPixelsOptions = SparseConvMILPixelsOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        self.encoder = timm.create_model(ENCODER, pretrained=False, num_classes=0)

    def start(self) -> None:
        if self.options.pretrained:
            self.encoder.load_state_dict(load_encoder(ENCODER).network.state_dict())

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self.encoder.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def _features(self, rows: Rows) -> Generator[Need, Tensor, Tensor]:
        at_once = len(rows) if self.training else AT_ONCE
        found = []
        for first in range(0, len(rows), at_once):
            pixels = yield Need(0, rows[first : first + at_once], "pixels")
            # Explanations start at the features: the graph of the encoder would hold every patch.
            with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
                found.append(
                    self.encoder(normalize(pixels.float() / 255, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
                )
        features = torch.cat(found)
        return features if self.training else features.requires_grad_(torch.is_grad_enabled())
