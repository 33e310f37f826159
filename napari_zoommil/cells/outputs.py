"""What cell networks take and return: padded images, scores of classes, boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


def output_channels(classes: int) -> int:
    """Channels of a model's scores: one for one class, K + 1 for K, the first of them background."""
    return 1 if classes == 1 else classes + 1


def class_probabilities(logits: Tensor) -> Tensor:
    """(B, C, …) logits → (B, K, …) probabilities of the classes, background left out."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]


class BoxOutput(NamedTuple):
    """What a detector finds in a batch: N boxes per image, in the order of :func:`.boxes.anchor_boxes`.

    Attributes
    ----------
    scores : (B, C, N)
        Logits. One channel: a cell or none. K + 1 channels: background and K classes.
    boxes : (B, N, 4)
        y0, x0, y1, x1, px.
    offsets : (B, N, 4)
        What is regressed: y and x of the centre within its grid cell, 0 to 1, and the logarithms of
        height and width over the anchor's.
    """

    scores: Tensor
    boxes: Tensor
    offsets: Tensor


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) continued by its last row and column to edges that are multiples of ``multiple``."""
    bottom, right = (-size % multiple for size in images.shape[-2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
