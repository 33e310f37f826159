"""Networks that are trained together with an encoder and then left away (Tellez et al. 2019, appendix)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_zoommil.encoders.convolutional import (
    SLOPE,
    ConvolutionalEncoder,
    EncoderSizes,
    normalised,
)

START_EDGE = 4
"""Edge of the first feature map of a decoder, px."""


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of a decoder or generator.

    Attributes
    ----------
    start : int
        Channels of the first feature map, 4 × 4 px.
    constant : int, optional
        Filters of every convolution (BiGAN); by default each has half of those before it (VAE).
    """

    start: int = 512
    constant: int | None = None

    def widths(self, edge: int) -> tuple[int, ...]:
        """Filters of each convolution, after which the map has at least ``edge`` px."""
        count = max(1, math.ceil(math.log2(edge / START_EDGE)))
        return tuple(self.constant or max(1, self.start >> one) for one in range(1, count + 1))


class Decoder(nn.Module):
    """Code → image: a dense layer, reshaped to 4 × 4, upsamplings with a convolution each, tanh.

    Of the VAE for histology 2,646,403 parameters, and as BiGAN's generator 655,235. A map of more than
    ``edge`` px (16 for the 9 px of the synthetic set, where the paper does not say how) is cut to its centre.

    Parameters
    ----------
    sizes : EncoderSizes
        Of the encoder.
    decoder : DecoderSizes
    """

    def __init__(self, sizes: EncoderSizes, decoder: DecoderSizes) -> None:
        super().__init__()
        self.edge, self.start = sizes.edge, decoder.start
        widths = (decoder.start, *decoder.widths(sizes.edge))
        flat = decoder.start * START_EDGE**2
        self.dense = nn.Sequential(*normalised(nn.Linear(sizes.code, flat), flat))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Upsample(scale_factor=2),
                *normalised(nn.Conv2d(before, after, 3, padding=1), after),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], sizes.channels, 3, padding=1), nn.Tanh())

    def forward(self, codes: Tensor) -> Tensor:
        """(B, C) → (B, channels, edge, edge) in [−1, 1]."""
        images = self.layers(self.dense(codes).view(-1, self.start, START_EDGE, START_EDGE))
        first = (images.shape[-1] - self.edge) // 2
        return images[..., first : first + self.edge, first : first + self.edge]


class Discriminator(nn.Module):
    """Whether an image and a code belong together (BiGAN): an encoder of its own, then two dense layers.

    Parameters
    ----------
    sizes : EncoderSizes
        Of the encoder.
    dense : int
        Units of each dense layer: 1,024 for histology, 128 for the synthetic set.
    """

    def __init__(self, sizes: EncoderSizes, dense: int) -> None:
        super().__init__()
        self.encoder = ConvolutionalEncoder(sizes)
        layers: list[nn.Module] = []
        for width in (2 * sizes.code, dense):
            layers += [nn.Linear(width, dense), nn.LeakyReLU(SLOPE), nn.Dropout(0.5)]
        self.layers = nn.Sequential(*layers, nn.Linear(dense, 1))

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """(B, channels, edge, edge), (B, C) → (B,) logits that they are of a real image."""
        return self.layers(torch.cat([self.encoder(images), codes], 1))[:, 0]


class Head(nn.Module):
    """A dense layer with BN and LRA, then an output per class, or one: of the siamese network, of the
    supervised ones, and of the MLP that compares encoders.

    Parameters
    ----------
    width : int
        Values of the input: C, or 2 C for a pair.
    outputs : int
    dense : int
        Units of the dense layer.
    """

    def __init__(self, width: int, outputs: int, dense: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(*normalised(nn.Linear(width, dense), dense), nn.Linear(dense, outputs))

    def forward(self, codes: Tensor) -> Tensor:
        """(B, width) → (B, outputs) logits."""
        return self.layers(codes)
