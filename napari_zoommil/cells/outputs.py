"""Inputs and outputs of cell networks: padded images, class scores, boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


def output_channels(classes: int) -> int:
    """Channels of a model's scores: 1 for one class, else K + 1 for K classes, background first."""
    return 1 if classes == 1 else classes + 1


def class_probabilities(logits: Tensor) -> Tensor:
    """(B, C, …) logits → (B, K, …) probabilities of the classes, without background."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]


class BoxOutput(NamedTuple):
    """Output of a detector for a batch: N boxes per image, in the order of :func:`.boxes.anchor_boxes`.

    Attributes
    ----------
    scores : (B, C, N)
        Logits. One channel: cell or background. K + 1 channels: background and K classes.
    boxes : (B, N, 4)
        y0, x0, y1, x1, px.
    offsets : (B, N, 4)
        Regression outputs: (y, x) of the centre in its grid cell, 0 to 1, and the logarithms of height
        and width relative to the anchor.
    """

    scores: Tensor
    boxes: Tensor
    offsets: Tensor


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) padded with its last row and column to edges that are multiples of ``multiple``."""
    bottom, right = (-size % multiple for size in images.shape[-2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
