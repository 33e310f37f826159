"""The encoders that :mod:`napari_zoommil.training.encoders` trains: strided convolutions, then a code.

One definition serves the encoders of Neural Image Compression (Tellez et al. 2019, appendix) for histology
and for the synthetic set, and smaller ones. The weights that the authors published are of another network,
:class:`~napari_zoommil.encoders.networks.NICEncoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Interval, Len
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU: not stated in the paper; that of the weights that the authors published."""

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.2
"""Of batch normalisation: likewise."""

Width = Annotated[int, Interval(ge=1, le=8192)]


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of an encoder; the defaults are those for histology (P = 128, C = 128).

    Attributes
    ----------
    edge : int
        Edge of the input, px.
    channels : int
        Colours of the input: 3, or 1 for grey.
    widths : tuple of int
        Filters of each convolution; each halves the resolution.
    dense : int
        Units of the dense layer before the code; 0 for none.
    code : int
        C, length of the code.
    """

    edge: Annotated[int, Interval(ge=4, le=1024)] = 128
    channels: Literal[1, 3] = 3
    widths: Annotated[tuple[Width, ...], Len(1, 8)] = (32, 64, 128, 256, 512)
    dense: Annotated[int, Interval(ge=0, le=8192)] = 512
    code: Annotated[int, Interval(ge=1, le=8192)] = 128

    @property
    def last_edge(self) -> int:
        """Edge of the last feature map, px."""
        return -(-self.edge // 2 ** len(self.widths))

    @property
    def trunk_width(self) -> int:
        """Values before the code."""
        return self.dense or self.widths[-1] * self.last_edge**2


def normalised(layer: nn.Module, width: int) -> list[nn.Module]:
    """A layer of the paper: BN and LRA follow it."""
    norm = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
    return [layer, norm(width, eps=NORM_EPS, momentum=NORM_MOMENTUM), nn.LeakyReLU(SLOPE)]


def convolutions(sizes: EncoderSizes) -> nn.Sequential:
    """The strided 3×3 convolutions, each with BN and LRA; a map of odd edge is padded."""
    widths = (sizes.channels, *sizes.widths)
    layers = [
        normalised(nn.Conv2d(before, after, 3, stride=2, padding=1), after)
        for before, after in pairwise(widths)
    ]
    return nn.Sequential(*(one for layer in layers for one in layer))


class ConvolutionalEncoder(nn.Module):
    """Image → code: strided convolutions, a dense layer, a linear layer (Tellez et al. 2019, appendix).

    Of VAE, contrastive and supervised training (32 to 512 filters, 512 units): 5,832,064 parameters, of BiGAN
    (four times 128 filters of an image that is averaged to 64 px, no dense layer): 709,632. For the synthetic
    set (9 px, C = 16) these are 57,104 and 14,320.

    Parameters
    ----------
    sizes : EncoderSizes
    """

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        flat = sizes.widths[-1] * sizes.last_edge**2
        self.features = convolutions(sizes)
        self.dense = nn.Sequential(
            *(normalised(nn.Linear(flat, sizes.dense), sizes.dense) if sizes.dense else ())
        )
        self.code = nn.Linear(sizes.trunk_width, sizes.code)

    def trunk(self, images: Tensor) -> Tensor:
        """(B, channels, edge, edge) → (B, trunk width): what the code is a linear function of."""
        if self.sizes.channels == 1 and images.shape[1] != 1:
            images = images.mean(1, keepdim=True)
        return self.dense(self.features(images).flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, edge, edge) in [−1, 1] → (B, C); an encoder of grey images averages colours."""
        return self.code(self.trunk(images))
