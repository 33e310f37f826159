"""U-Net as published (Ronneberger, Fischer, Brox, MICCAI 2015)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from napari_zoommil.cells.outputs import output_channels, pad_to_multiple
from napari_zoommil.errors import ModelError

DEPTH = 4
STEP = 2**DEPTH
"""Predictions of two tiles agree only if their origins differ by a multiple of this, px (pooling)."""

VALID_MARGIN = 92
"""Margin that the unpadded network removes on each side, px: 572 → 388 (fig. 1)."""

SAME_MARGIN = 7 * STEP
"""Distance from the edge of a tile at which its padding has no effect, px; a multiple of ``STEP``."""


class UNet(nn.Module):
    """Network with four down and four up levels, 23 convolutions; returns logits per pixel.

    Two 3×3 convolutions with ReLU per level, 2×2 max pooling, 2×2 up-convolutions that halve the channels,
    skip connections with cropping, a 1×1 convolution at the end. The paper says "drop-out at the end of the
    contracting path"; as in the network that its authors released, that is after the last two down levels,
    with a rate of one half.

    Parameters
    ----------
    classes : int
        1 gives one output channel, K > 1 give K + 1, the first for background.
    width : int
        Channels of the first level; they double at each down level. 64 is the published network, with
        31,031,745 parameters for RGB and one output (31,030,593 for grey images).
    padding : {"valid", "same"}
        ``valid`` is the published network: only some sizes fit (see :meth:`input_size`) and the output is
        smaller by 92 px on each side. ``same`` pads the convolutions with zeros and takes any size: the
        image is padded to a multiple of 16 px with its last row and column, and the output is cropped.
    in_channels : int
    dropout : float
    norm : {"none", "batch"}
        ``none`` is the published network. ``batch`` adds batch normalisation after each 3×3 convolution, as
        in the example of ECE's authors. At the start of their schedule only annotated pixels count; without
        normalisation the biases then grow until everything is foreground, and training does not recover.
    """

    def __init__(
        self,
        classes: Annotated[int, Ge(1)] = 1,
        width: Annotated[int, Ge(1)] = 64,
        padding: Literal["valid", "same"] = "valid",
        in_channels: Annotated[int, Ge(1)] = 3,
        dropout: Annotated[float, Interval(ge=0, le=1)] = 0.5,
        norm: Literal["none", "batch"] = "none",
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "classes": classes,
            "width": width,
            "padding": padding,
            "in_channels": in_channels,
            "dropout": dropout,
            "norm": norm,
        }
        self.padding = padding
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.down = nn.ModuleList(_block(a, b, padding, norm) for a, b in pairwise((in_channels, *widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, stride=2) for a in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_block(2 * a, a, padding, norm) for a in reversed(widths[:-1]))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, output_channels(classes), 1)
        self.apply(_initialise)

    @property
    def margin(self) -> int:
        """Pixels at each edge of a tile that are removed (valid) or influenced by padding (same).

        Without this margin, predictions of tiles whose origins are multiples of 16 px equal those of the
        whole image.
        """
        return VALID_MARGIN if self.padding == "valid" else SAME_MARGIN

    @property
    def rim(self) -> int:
        """Pixels at each edge of an input without output."""
        return VALID_MARGIN if self.padding == "valid" else 0

    def output_size(self, size: int) -> int:
        """Edge of the output, px, for an edge of the input.

        Raises
        ------
        ModelError
            If the unpadded network does not accept this size; the message states the accepted ones.
        """
        if self.padding == "same":
            return size
        if (below := self.input_size(size - 2 * VALID_MARGIN)) != size:
            raise ModelError(
                f"this U-Net has no padding and takes edges of 188, 204, 220 … px (multiples of 16 plus 12), "
                f"not {size}; the next that fits is {below}"
            )
        return size - 2 * VALID_MARGIN

    def input_size(self, size: int) -> int:
        """Least edge of an input, px, whose output covers ``size`` px; n = 16 b + 124 (b ≥ 4) if unpadded.

        All max pooling then has an input of even size, as the paper requires; the output is 16 b − 60.
        """
        if self.padding == "same":
            return size
        return STEP * max(4, -(-(size + 60) // STEP)) + 124

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) in [0, 1] → logits (B, C, H', W'), with H' = ``output_size(H)``."""
        height, width = (self.output_size(size) for size in images.shape[-2:])
        # Centred at 0 as in the example of ECE's authors: bright slides in [0, 1] slow down training.
        x = 2 * (images if self.padding == "valid" else pad_to_multiple(images, STEP)) - 1
        skipped = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            x = self.dropout(x) if level >= DEPTH - 1 else x
            skipped.append(x)
        for up, block, skip in zip(self.up, self.merge, reversed(skipped[:-1]), strict=True):
            x = up(x)
            x = block(torch.cat([_centre(skip, x.shape[-2:]), x], 1))
        return self.head(x)[..., :height, :width]


def _block(before: int, after: int, padding: str, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers.append(nn.Conv2d(channels, after, 3, padding=padding))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _centre(maps: Tensor, shape: torch.Size) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(maps.shape[-2:], shape, strict=True))
    return maps[..., top : top + shape[0], left : left + shape[1]]


def _initialise(module: nn.Module) -> None:
    """Normal weights of variance 2 / N, with N the number of inputs of one output (sec. 3; He 2015)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # The 2×2 windows of an up-convolution do not overlap: each output has one input per channel.
        reads = 1 if isinstance(module, nn.ConvTranspose2d) else module.kernel_size[0] * module.kernel_size[1]
        nn.init.normal_(module.weight, std=(2 / (module.in_channels * reads)) ** 0.5)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
