"""The place of the highest saliency as a detection of the 3 (supplement, sec. C.4, after Oquab et al. 2015).

The magnitude of the highest saliency is the confidence. A detection outside the 3 is a false positive, and
its 3 a false negative; on an image without a 3 each detection is a false positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from napari_zoommil.experiments.data.needle_mnist import NeedleImages

POSITIVE = 1
"""Index of the output that is explained."""

Maps = NDArray[np.floating]
Explain = Callable[[NDArray[np.float32]], Maps]
"""(B, channels, h, w) images → (B, h, w) maps."""


class Detection(NamedTuple):
    """Of one image.

    Attributes
    ----------
    confidence : float
    hit : bool
        Whether it lies on the 3.
    positive : bool
        Whether there is one.
    """

    confidence: float
    hit: bool
    positive: bool


@dataclass(frozen=True)
class Localised:
    """How well maps find the 3.

    Attributes
    ----------
    precision : float
        Average precision.
    pointing : float
        Share of the positive images whose highest value lies on the 3.
    """

    precision: float
    pointing: float


def saliency(network: nn.Module, device: torch.device) -> Explain:
    """Absolute gradient of the positive logit by the pixels."""
    network.eval()

    def explain(images: NDArray[np.float32]) -> Maps:
        pixels = torch.from_numpy(images).to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(network(pixels)[:, POSITIVE].sum(), pixels)
        maps: Tensor = gradient.abs().amax(1)  # of colours, the largest
        return maps.cpu().numpy()

    return explain


def random_map(seed: int) -> Explain:
    """A control: any place."""
    rng = np.random.default_rng(seed)
    return lambda images: rng.random((len(images), *images.shape[2:]))


def brightness(digit: int) -> Explain:
    """A control: the brightest square of the size of a digit."""
    return lambda images: uniform_filter(images[:, 0], (0, digit, digit), mode="constant")


def detections(images: NeedleImages, explain: Explain, batch: int) -> list[Detection]:
    """The highest value of each image."""
    found = []
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // batch)):
        maps = explain(images.batch(rows))
        for index, values in zip(rows.tolist(), maps, strict=True):
            place = int(np.argmax(values))
            hit = bool(images.needle_mask(index).flat[place])
            found.append(Detection(float(values.flat[place]), hit, bool(images.labels[index])))
    return found


def localised(found: Sequence[Detection]) -> Localised:
    """Average precision and pointing game; precision is summed at each 3 that is found."""
    positive = sum(one.positive for one in found)
    order = sorted(found, key=lambda one: -one.confidence)
    hits = np.cumsum([one.hit for one in order])
    precision = hits / np.arange(1, len(order) + 1)
    total = sum(value for value, one in zip(precision, order, strict=True) if one.hit)
    return Localised(
        float(total / max(1, positive)), float(hits[-1] / max(1, positive)) if len(hits) else 0.0
    )
