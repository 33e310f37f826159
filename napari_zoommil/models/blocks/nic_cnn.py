"""The network of neural image compression: separable convolutions (Tellez et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from napari_zoommil.errors import ModelError

Padding = Literal["valid", "same"]

STRIDES = (2, 2, 2, 2, 2, 2, 1, 1)
"""Of the paper's eight layers (appendix, Image-level classification and regression)."""

KERNEL = 3

SLOPE = 0.2
"""Of the leaky ReLU below zero, as in the authors' encoders; the paper states none."""


MOMENTUM = 0.2
"""With which running statistics follow those of a batch, as in the authors' encoders."""


class Norm(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics where a batch holds one value per channel.

    The variance of one value is no variance: such a batch neither trains the statistics nor uses its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=MOMENTUM)

    def forward(self, given: Tensor) -> Tensor:
        if self.training and given.shape[0] * given.shape[2] * given.shape[3] == 1:
            return nn.functional.batch_norm(
                given, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(given)


class SeparableConv(nn.Sequential):
    """A 3 × 3 convolution of each channel, a mixture of channels, BN, leaky ReLU and dropout of channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, padding: Padding, dropout: float) -> None:
        around = KERNEL // 2 if padding == "same" else 0
        super().__init__(
            nn.Conv2d(inputs, inputs, KERNEL, stride, around, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            Norm(outputs),
            nn.LeakyReLU(SLOPE),
            nn.Dropout2d(dropout),
        )


class NICNet(nn.Module):
    """Separable 3 × 3 convolutions, a dense layer with BN and leaky ReLU, and a linear output.

    With ``valid`` padding and the strides of the paper, 400 × 400 cells become 1 × 1. Of larger inputs the
    output is the mean of those of all places of the last layer. With ``same`` padding the last layer is
    averaged before the dense layer, for inputs of any size.

    Parameters
    ----------
    inputs : int
        Channels of the input, the paper's code size.
    outputs : int
        Classes, or 1.
    width : int
        Channels of each convolution, and units of the dense layer.
    strides : sequence of int
        Of the convolutions; their number is that of the layers.
    padding : {"valid", "same"}
    dropout : float
        Share of the channels that each convolution loses in training.

    Attributes
    ----------
    smallest : int
        Least height and width of an input.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 128,
        strides: Sequence[int] = STRIDES,
        padding: Padding = "valid",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.strides, self.padding = tuple(strides), padding
        widths = (inputs, *(width for _ in strides))
        self.convolutions = nn.ModuleList(
            SeparableConv(before, after, stride, padding, dropout)
            for before, after, stride in zip(widths[:-1], widths[1:], self.strides, strict=True)
        )
        # 1 × 1 convolutions are dense layers that can be applied at several places.
        self.dense = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), Norm(width), nn.LeakyReLU(SLOPE))
        self.output = nn.Conv2d(width, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs).

        Raises
        ------
        ModelError
            If the images are smaller than :attr:`smallest`.
        """
        return self.answer(self.layers(images)[-1])

    def layers(self, images: Tensor) -> list[Tensor]:
        """The activations of each convolution, (B, width, h, w), from the first one on.

        Raises
        ------
        ModelError
            If the images are smaller than :attr:`smallest`.
        """
        if min(images.shape[2:]) < self.smallest:
            raise ModelError(
                f"{len(self.strides)} convolutions with valid padding need at least {self.smallest} × "
                f"{self.smallest} patches, not {images.shape[2]} × {images.shape[3]}; choose padding=same, "
                "or fewer strides of 2"
            )
        found = []
        for convolution in self.convolutions:
            images = convolution(images)
            found.append(images)
        return found

    def answer(self, last: Tensor) -> Tensor:
        """Activations of the last convolution, (B, width, h, w) → (B, outputs)."""
        if self.padding == "same":
            last = last.mean((2, 3), keepdim=True)
        told: Tensor = self.output(self.dense(last))
        return told.mean((2, 3))

    @property
    def smallest(self) -> int:
        """Least height and width of an input."""
        needed = 1
        for stride in reversed(self.strides) if self.padding == "valid" else ():
            needed = (needed - 1) * stride + KERNEL
        return needed

    @property
    def cells(self) -> tuple[tuple[float, float], ...]:
        """Of each layer, where its first cell begins and how large its cells are, in cells of the input.

        A cell is as large as the distance to its neighbours, around the middle of what it sees.
        """
        middle, size, found = 0.5, 1.0, []
        for stride in self.strides:
            middle += size * (KERNEL // 2) if self.padding == "valid" else 0.0
            size *= stride
            found.append((middle - size / 2, size))
        return tuple(found)
