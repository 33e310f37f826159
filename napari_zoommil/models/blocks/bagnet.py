"""The network of BagNet: an image to logits through values with a small receptive field.

Pawlowski et al. 2020 (Needles in Haystacks), after Brendel and Bethge 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from napari_zoommil.models.blocks.attention import Attention
from napari_zoommil.models.blocks.receptive_field import STEM, fields, kernels

Norm = Literal["instance", "batch"]
Pooling = Literal["max", "lse", "lme", "mean", "attention"]

WIDTHS = (64, 128, 256, 512)
"""Filters of the bottlenecks of each stage, times the network's ``width``."""

EXPANSION = 4
"""Channels of a block's output, times its filters."""

COMPENSATION = 2.5
"""Times as many filters of a 1 × 1 convolution in place of a 3 × 3 one, so that a smaller receptive field
does not mean fewer weights (supplement, sec. B.2 and Table 3)."""

LAYERS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4")
"""Names of the layers of :meth:`BagNet.layers`."""

BYTES = 4
"""Of a value."""

PASS, GRAPH = 1.6, 1.1
"""Memory that is measured on a CPU, by that of the values alone: convolutions copy them."""


class Bottleneck(nn.Module):
    """x + conv1×1(conv3×3 or 1×1(conv1×1 x)), with the same pixels in the middle of both summands.

    Parameters
    ----------
    before, planes : int
        Channels of the input, and filters of the block; its output has four times as many.
    kernel : {1, 3}
        Of the middle convolution, which does not pad.
    stride : int
    middle : int
        Filters of the middle convolution.
    norm : {"instance", "batch"}
    """

    def __init__(self, before: int, planes: int, kernel: int, stride: int, middle: int, norm: Norm) -> None:
        super().__init__()
        after = planes * EXPANSION
        self.cut, self.stride, self.channels = (kernel - 1) // 2, stride, (before, planes, middle, after)
        self.body = nn.Sequential(
            *_convolved(before, planes, 1, norm=norm), nn.ReLU(inplace=True),
            *_convolved(planes, middle, kernel, stride, norm), nn.ReLU(inplace=True),
            *_convolved(middle, after, 1, norm=norm),
        )  # fmt: skip
        self.shortcut = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(*_convolved(before, after, 1, stride, norm))
        )

    def forward(self, values: Tensor) -> Tensor:
        height, width = values.shape[2:]
        middle = values[..., self.cut : height - self.cut, self.cut : width - self.cut]
        return torch.relu(self.body(values) + self.shortcut(middle))

    def cost(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Height and width of the output; values kept for gradients; most values at once without them."""
        _, planes, middle, after = self.channels
        down, across = ((edge - 2 * self.cut - 1) // self.stride + 1 for edge in (height, width))
        inner, outer, last = planes * height * width, middle * down * across, after * down * across
        ends = 2 * last if isinstance(self.shortcut, nn.Identity) else 3 * last
        most = max(2 * inner, inner + outer, 2 * outer, outer + last, ends)
        return down, across, 2 * inner + 2 * outer + ends, most


class BagNet(nn.Module):
    """A residual network without padding, a pooling over places, and a linear classifier.

    With instance normalisation, a value also depends on the mean and variance of its channel over the
    whole image; with batch normalisation, in evaluation mode, on nothing outside its receptive field.

    Parameters
    ----------
    channels : int
        Of the image: 3, or 1 for grey.
    classes : int
    receptive_field : int
        px; 3, 5, 9, 17, 33 or 177 with the default blocks and strides. See
        :func:`~napari_zoommil.models.blocks.receptive_field.kernels`.
    width : float
        Factor of the number of filters (capacity).
    blocks, strides : sequence of int
        Of the four stages; (1, 1, 1, 1) blocks have the same receptive fields up to 33.
    norm : {"instance", "batch"}
    pooling : {"max", "lse", "lme", "mean", "attention"}
        Of each channel over all places: its maximum, the logarithm of the sum or of the mean of its
        exponentials, its mean, or its mean weighted by attention. ``"lse"`` grows with the logarithm of the
        number of places, ``"lme"`` does not.
    attention : int
        Width of the attention's hidden layer.
    compensate : bool
        2.5 times as many filters of the 1 × 1 convolutions that stand in place of 3 × 3 ones.

    Attributes
    ----------
    fields : tuple of Field
        Receptive fields of :data:`LAYERS`.

    Raises
    ------
    ValueError
        If there is no such receptive field.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        receptive_field: int = 33,
        width: float = 1.0,
        blocks: Sequence[int] = (3, 4, 6, 3),
        strides: Sequence[int] = (2, 2, 2, 1),
        norm: Norm = "instance",
        pooling: Pooling = "max",
        attention: int = 128,
        compensate: bool = True,
    ) -> None:
        super().__init__()
        kernel3 = kernels(receptive_field, blocks, strides)
        self.fields, self.norm, self.pooling = fields(kernel3, blocks, strides), norm, pooling
        planes = [max(1, round(one * width)) for one in WIDTHS]
        before = planes[0]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, before, 1, bias=False),
            *_convolved(before, before, STEM, norm=norm),
            nn.ReLU(inplace=True),
        )
        self.channels = channels, before
        self.stages = nn.ModuleList()
        for own, wide, count, stride in zip(planes, kernel3, blocks, strides, strict=True):
            stage = nn.Sequential()
            for number in range(count):
                kernel = 3 if number < wide else 1
                middle = round(own * COMPENSATION) if compensate and kernel == 1 else own
                stage.append(Bottleneck(before, own, kernel, 1 if number else stride, middle, norm))
                before = own * EXPANSION
            self.stages.append(stage)
        self.attention = Attention(before, attention, dropout=0) if pooling == "attention" else None
        self.classify = nn.Linear(before, classes)
        for part in (*self.stem.modules(), *self.stages.modules()):
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, 0, math.sqrt(2 / (part.kernel_size[0] ** 2 * part.out_channels)))

    @property
    def receptive_field(self) -> int:
        """Edge of what one place of the last layer sees, px."""
        return self.fields[-1].size

    @property
    def least(self) -> int:
        """Edge of the smallest image, px: instance normalisation needs a second place."""
        return self.fields[-1].least(2 if self.norm == "instance" else 1)

    def memory(self, height: int, width: int, graph: bool = False) -> int:
        """About how many bytes an image takes at most.

        Parameters
        ----------
        height, width : int
            Of the image, px.
        graph : bool
            Whether gradients are computed.
        """
        colours, stem = self.channels
        pixels = height * width
        height, width = height - STEM + 1, width - STEM + 1
        values = stem * height * width
        kept, most = colours * pixels + stem * pixels + 2 * values, (colours + stem) * pixels + values
        for block in (one for one in self.stages.modules() if isinstance(one, Bottleneck)):
            height, width, own, at_once = block.cost(height, width)
            kept, most = kept + own, max(most, values + at_once)
            values = block.channels[-1] * height * width
        # The backward pass has gradients of a layer's input and output beside what was kept.
        return round(BYTES * (GRAPH * (kept + 2 * stem * pixels) if graph else PASS * most))

    def layers(self) -> dict[str, nn.Module]:
        """The stem and the stages by name, from the image on: each takes the values of the one before it."""
        return dict(zip(LAYERS, (self.stem, *self.stages), strict=True))

    def embed(self, images: Tensor) -> Tensor:
        """(B, channels, h, w) → (B, F, h', w'), the values of the last layer."""
        values = images
        for layer in self.layers().values():
            values = layer(values)
        return values

    def shares(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled channels, and what each place adds to them.

        Parameters
        ----------
        places : (B, F, h, w)
            Values of the last layer.

        Returns
        -------
        pooled : (B, F)
        added : (B, F, h, w)
            What each place adds to its pooled channel; the sum over places is ``pooled``. For the maximum,
            all of it comes from the place that holds it, the first of several; for ``"lse"`` and ``"lme"``,
            places share it as the softmax of the channel; for the others, as they are averaged.
        """
        flat = places.flatten(2)
        if self.pooling == "max":
            pooled, place = flat.max(2, keepdim=True)
            return pooled[..., 0], torch.zeros_like(flat).scatter(2, place, pooled).view_as(places)
        if self.pooling in ("lse", "lme"):
            pooled = self.pool(places)
            return pooled, (flat.softmax(2) * pooled[..., None]).view_as(places)
        added = flat / flat.shape[2] if self.attention is None else flat * self._weights(flat)
        return added.sum(2), added.view_as(places)

    def pool(self, places: Tensor) -> Tensor:
        """(B, F, h, w) → (B, F)."""
        flat = places.flatten(2)
        if self.pooling == "max":
            return flat.amax(2)
        if self.pooling == "mean":
            return flat.mean(2)
        if self.attention is not None:
            return (flat * self._weights(flat)).sum(2)
        pooled = flat.logsumexp(2)
        return pooled - math.log(flat.shape[2]) if self.pooling == "lme" else pooled

    def _weights(self, flat: Tensor) -> Tensor:
        """(B, F, n) → (B, 1, n), softmax of the attention."""
        assert self.attention is not None
        return self.attention(flat.transpose(1, 2)).softmax(1).transpose(1, 2)

    def evidence(self, places: Tensor) -> Tensor:
        """What each place adds to each logit, (B, F, h, w) → (B, classes, h, w).

        The sum over places is the logits without the bias, see :meth:`shares` for how they are shared out.
        """
        return torch.einsum("bfhw,cf->bchw", self.shares(places)[1], self.classify.weight)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, h, w) → (B, classes) logits."""
        return self.classify(self.pool(self.embed(images)))


def _convolved(
    before: int, after: int, kernel: int, stride: int = 1, norm: Norm = "instance"
) -> tuple[nn.Module, nn.Module]:
    normalised = nn.InstanceNorm2d(after, affine=True) if norm == "instance" else nn.BatchNorm2d(after)
    return nn.Conv2d(before, after, kernel, stride, bias=False), normalised
