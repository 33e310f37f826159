"""SparseConvMIL on the pixels of patches, with a ResNet-34 that is trained too (Lerousseau et al. 2021)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.transforms.functional import normalize

from napari_zoommil.encoders import load_encoder
from napari_zoommil.geometry import Rows
from napari_zoommil.models.blocks.sampling import fixed_sample
from napari_zoommil.models.entries_network import SparseConvMILPixelsOptions
from napari_zoommil.models.mil import Need
from napari_zoommil.models.sparseconvmil import SparseConvMIL

ENCODER = "resnet34.tv_in1k"
"""The network in timm."""

AT_ONCE = 100
"""Patches that a prediction encodes at once; there may be more pixels than fit into memory."""


class SparseConvMILPixels(SparseConvMIL):
    """SparseConvMIL with its own encoder of patches.

    A training step reads the pixels of some patches, drawn at random, a validation those of a fixed sample;
    predictions read all patches. Batch
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
        self._validates = False
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

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Passes read a sample of the patches, which is the same in each epoch."""
        self._validates = True
        try:
            yield
        finally:
            self._validates = False

    def _rows(self, count: int) -> Rows:
        return fixed_sample(count, self.options.validated) if self._validates else super()._rows(count)

    def _features(self, rows: Rows) -> Generator[Need, Tensor, Tensor]:
        at_once = len(rows) if self.training else AT_ONCE
        found = []
        for first in range(0, len(rows), at_once):
            pixels = yield Need(0, rows[first : first + at_once], "pixels")
            found.append(self._encoded(pixels))
        return torch.cat(found)

    def _encoded(self, pixels: Tensor) -> Tensor:
        """(n, 3, p, p) pixels → (n, width).

        Where the gradient of the pixels is asked for, the encoder's activations are computed again, batch by
        batch, when the gradient comes to them: the graph of all patches would not fit into memory. Else
        explanations start at the features.
        """
        if pixels.requires_grad and torch.is_grad_enabled():
            features: Tensor = checkpoint(self._encode, pixels, use_reentrant=False)
            return features
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            features = self._encode(pixels)
        return features if self.training else features.requires_grad_(torch.is_grad_enabled())

    def _encode(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.encoder(
            normalize(pixels.float() / 255, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        return features
