"""The place of the highest saliency as a detection of the 3 (supplement, sec. C.4, after Oquab et al. 2015):
:func:`napari_zoommil.maps.localisation.average_precision`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from napari_zoommil.experiments.data.needle_mnist import NeedleImages
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.localisation import (
    Denoising,
    Localisation,
    average_precision,
    localise,
    mean_jaccard,
    pointing_game,
)

POSITIVE = 1
"""Index of the output that is explained."""

DENOISING = Denoising()
"""For the Jaccard index, which the paper does not give: not tuned."""

Maps = NDArray[np.floating]
Explain = Callable[[NDArray[np.float32]], Maps]
"""(B, channels, h, w) images → (B, h, w) maps."""


@dataclass(frozen=True)
class Localised:
    """How well maps find the 3.

    Attributes
    ----------
    precision : float
        Average precision.
    pointing : float
        Share of the positive images whose highest value lies on the 3.
    jaccard : float
        Of the denoised maps with the square of the 3, mean over positive images.
    """

    precision: float
    pointing: float
    jaccard: float


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


def localised(images: NeedleImages, explain: Explain, batch: int) -> Localised:
    """Compare the maps of all images of a data set, of both classes, with the places of the 3."""
    found: list[Localisation] = []
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // batch)):
        maps = explain(images.batch(rows))
        found += [_compared(images, int(row), values) for row, values in zip(rows, maps, strict=True)]
    return Localised(average_precision(found), pointing_game(found), mean_jaccard(found))


def _compared(images: NeedleImages, index: int, values: Maps) -> Localisation:
    heat = HeatMap(values.astype(np.float32), (0.0, 0.0), (1.0, 1.0), None, 1.0, "saliency")
    return localise(heat, images.needle_mask(index), DENOISING)
