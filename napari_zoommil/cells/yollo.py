"""YOLLO, You Only Look on Lymphocytes Once (van Rijthoven 2018): a small single-stage cell detector.

Published is only "seven convolutions with batch norm and max pooling" (supplement of ECE). Widths, stride and
anchors are a reconstruction after YOLOv2 (Redmon 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Interval
from numpy.typing import ArrayLike
from torch import Tensor, nn

from napari_zoommil.cells.boxes import anchor_boxes, size_iou
from napari_zoommil.cells.outputs import BoxOutput, output_channels, pad_to_multiple
from napari_zoommil.errors import ModelError

MARGIN = 40
"""Distance from the edge of a tile at which its padding has no effect, px: the receptive field has a radius
of 35 px, rounded up to whole strides."""

STRIDE = 8
"""Edge of a grid cell, px (three poolings)."""

WIDTHS = (1, 2, 4, 8, 8, 4)
"""Channels of the 3×3 convolutions, in widths; max pooling follows each of the first three."""

Edge = Annotated[float, Interval(gt=0, lt=float("inf"))]
"""Edge of an anchor, px."""

DEFAULT_ANCHORS = ((24.0, 24.0),)
"""Height and width, px: a cell of 12 µm at 20x (0.5 µm/px)."""

LARGEST = 4.0
"""Limit of the size offsets: edges are at most exp(4) ≈ 55 times those of the anchor and at least 1/55, so
that an untrained network does not overflow."""


class YOLLO(nn.Module):
    """Seven convolutions: 3×3 with batch norm and leaky ReLU, 32-M-64-M-128-M-256-256-128, and 1×1.

    Parameters
    ----------
    classes : int
        1 gives one score per box, K > 1 give K + 1, the first for background, as in dense outputs.
    width : int
        Channels of the first convolution; the others are multiples.
    anchors : sequence of (height, width)
        px; see :func:`kmeans_anchors`.
    """

    def __init__(
        self,
        classes: Annotated[int, Ge(1)] = 1,
        width: Annotated[int, Ge(1)] = 32,
        anchors: Sequence[tuple[Edge, Edge]] = DEFAULT_ANCHORS,
    ) -> None:
        super().__init__()
        self.anchors = tuple((float(height), float(width)) for height, width in anchors)
        if not self.anchors or min(map(min, self.anchors)) <= 0:
            raise ModelError(f"a detector needs at least one anchor, with sizes above 0 px, not {anchors}")
        self.config: dict[str, Any] = {"classes": classes, "width": width, "anchors": self.anchors}
        self.channels = output_channels(classes)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise((3, *(width * factor for factor in WIDTHS)))):
            layers += [_block(before, after), nn.MaxPool2d(2)] if index < 3 else [_block(before, after)]
        self.features = nn.Sequential(*layers)
        self.margin, self.rim = MARGIN, 0
        self.head = nn.Conv2d(width * WIDTHS[-1], len(self.anchors) * (4 + self.channels), 1)

    def input_size(self, size: int) -> int:
        """Least edge of an input, px, whose output covers ``size`` px."""
        return size

    def forward(self, images: Tensor) -> BoxOutput:
        """(B, 3, H, W) in [0, 1], of any size, → N = ⌈H/8⌉ · ⌈W/8⌉ · anchors boxes per image.

        The image is padded to whole grid cells with its last row and column.
        """
        maps = self.head(self.features(pad_to_multiple(images, STRIDE)))
        # (B, A · P, rows, columns) → (B, rows · columns · A, P)
        values = maps.permute(0, 2, 3, 1).reshape(len(images), -1, 4 + self.channels)
        offsets = torch.cat([values[..., :2].sigmoid(), values[..., 2:4]], -1)
        shape = (images.shape[-2], images.shape[-1])
        priors = torch.as_tensor(anchor_boxes(shape, self.anchors, STRIDE), dtype=torch.float32)
        return BoxOutput(values[..., 4:].transpose(1, 2), decode(offsets, priors.to(images.device)), offsets)


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """(…, N, 4) offsets as in :class:`BoxOutput` and (N, 4) anchor boxes → (…, N, 4) boxes, px."""
    offsets = offsets.float()  # half precision has whole numbers only up to 2,048
    centres = (priors[:, :2] + priors[:, 2:]) / 2 + (offsets[..., :2] - 0.5) * STRIDE
    half = offsets[..., 2:].clamp(-LARGEST, LARGEST).exp() * (priors[:, 2:] - priors[:, :2]) / 2
    return torch.cat([centres - half, centres + half], -1)


def kmeans_anchors(sizes: ArrayLike, count: int = 1, rounds: int = 100) -> tuple[tuple[float, float], ...]:
    """Anchors fitted to boxes: k-means with 1 − IoU as the distance (YOLOv2, sec. 2).

    Parameters
    ----------
    sizes : (M, 2)
        Heights and widths, px.
    count : int
        Number of anchors; at most the number of different sizes.
    rounds : int
        Most iterations.

    Returns
    -------
    tuple of (height, width), smallest first. Deterministic: the initial anchors are quantiles of the area.

    Raises
    ------
    ModelError
        If there is no box.
    """
    boxes = np.reshape(np.asarray(sizes, np.float64), (-1, 2))
    if not len(boxes):
        raise ModelError("there are no boxes to take anchor sizes from; annotate a few cells first")
    different = np.unique(boxes, axis=0)
    different = different[np.argsort(different.prod(1), kind="stable")]
    count = min(count, len(different))
    anchors = different[((np.arange(count) + 0.5) / count * len(different)).astype(int)]
    nearest = np.full(len(boxes), -1)
    for _ in range(rounds):
        before, nearest = nearest, size_iou(boxes, anchors).argmax(1)
        if (before == nearest).all():
            break
        for index in np.unique(nearest):
            anchors[index] = boxes[nearest == index].mean(0)
    return tuple((float(h), float(w)) for h, w in anchors[np.argsort(anchors.prod(1))])


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),  # batch norm has a bias
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1, inplace=True),
    )
