"""Grad-CAM of the CNN against the tilted rectangle, beside maps that know nothing, or the answer.

The paper denoises its maps by "a simple general-purpose post-processing routine" that it does not describe.
Here: a Gaussian, a threshold (a quantile, or Otsu's), an opening, and the largest component alone by option;
the best combination for each kind of map is chosen on validation images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, gaussian_filter, label
from skimage.filters import threshold_otsu
from torch import Tensor

from napari_zoommil.experiments.data.rectangles import RectangleImage
from napari_zoommil.models.blocks.nic_cnn import NICNet

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]

LAYER = 0
"""The first convolution, k = 1."""

OTSU = 0.0
SIGMAS, QUANTILES, OPENINGS = (0.0, 1.0, 2.0, 3.0), (OTSU, 0.85, 0.9, 0.95), (0, 1, 2)

KINDS = ("grad-cam", "random", "all digits", "true class")
"""Random and all digits are controls; the density of the digits of the true class is a ceiling, which needs
the label."""


@dataclass(frozen=True)
class Denoising:
    """How a map becomes a mask; lengths in cells.

    Attributes
    ----------
    sigma : float
        Of the Gaussian; 0 for none.
    quantile : float
        What is above it is in the mask; 0 for Otsu's threshold.
    opening : int
        Times that the mask is eroded, then dilated.
    largest : bool
        Whether the largest component alone is kept.
    """

    sigma: float
    quantile: float
    opening: int
    largest: bool

    def mask(self, values: Map) -> Mask:
        """(h, w) bool; nothing of a map that is constant or not finite."""
        smooth = gaussian_filter(np.asarray(values, np.float64), self.sigma) if self.sigma else values
        if not np.isfinite(smooth).all() or np.ptp(smooth) == 0:
            return np.zeros(values.shape, bool)
        limit = threshold_otsu(smooth) if self.quantile == OTSU else np.quantile(smooth, self.quantile)
        mask: Mask = smooth > limit
        if self.opening:
            mask = binary_opening(mask, iterations=self.opening)
        if self.largest and mask.any():
            parts, _ = label(mask)
            mask = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
        return mask


def jaccard(mask: Mask, truth: Mask) -> float:
    """Intersection over union; 0 if both are empty."""
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 0.0


def tuned(maps: Sequence[Map], truths: Sequence[Mask]) -> Denoising:
    """The denoising with the highest mean Jaccard index."""

    def value(how: Denoising) -> float:
        return float(np.mean([jaccard(how.mask(m), truth) for m, truth in zip(maps, truths, strict=True)]))

    return max((Denoising(*one) for one in product(SIGMAS, QUANTILES, OPENINGS, (False, True))), key=value)


def grad_cam(network: NICNet, arrays: Tensor, classes: Tensor) -> NDArray[np.float32]:
    """Maps of one class per image, (B, C, h, w), (B,) → (B, h, w), at the resolution of the input."""
    network.eval()
    layers = network.layers(arrays)
    chosen = network.answer(layers[-1]).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, layers[LAYER])
    maps = (layers[LAYER] * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    full = F.interpolate(maps, arrays.shape[2:], mode="bilinear", align_corners=False)
    return full[:, 0].detach().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Explained:
    """An image with the maps of :data:`KINDS`.

    Attributes
    ----------
    maps : dict of str to (h, w) float
    truth : (h, w) bool
        Cells of the tilted rectangle.
    right : bool
        Whether the prediction is right.
    """

    maps: dict[str, Map]
    truth: Mask
    right: bool


def explained(
    images: Iterator[RectangleImage], cams: Iterator[Map], right: Iterator[bool], stride: int, seed: int
) -> list[Explained]:
    """Images whose rectangle holds the centre of at least one patch."""
    rng, found = np.random.default_rng((seed, 29)), []
    for image, cam, answer in zip(images, cams, right, strict=True):
        truth = image.mask(stride)
        maps = {
            "grad-cam": cam,
            "random": rng.random(truth.shape),
            "all digits": image.density(stride=stride),
            "true class": image.density(image.label, stride=stride),
        }
        if truth.any():
            found.append(Explained(maps, truth, bool(answer)))
    return found


def agreement(validation: Sequence[Explained], test: Sequence[Explained]) -> dict[str, dict[str, Any]]:
    """Jaccard index and pointing game of each kind of map on test images.

    Returns
    -------
    dict
        Kind → ``jaccard`` of all images, ``right`` and ``wrong`` for those of right and wrong predictions
        (None without any), ``pointing`` (share of the images whose highest value lies in the rectangle),
        ``denoising``.
    """
    told = {}
    for kind in KINDS:
        how = tuned([one.maps[kind] for one in validation], [one.truth for one in validation])
        values = np.array([jaccard(how.mask(one.maps[kind]), one.truth) for one in test])
        right = np.array([one.right for one in test], bool)
        told[kind] = {
            "jaccard": _mean(values),
            "right": _mean(values[right]),
            "wrong": _mean(values[~right]),
            "pointing": _mean(np.array([_points(one.maps[kind], one.truth) for one in test])),
            "denoising": asdict(how),
        }
    return told


def _points(values: Map, truth: Mask) -> bool:
    return bool(truth.flat[int(np.argmax(values))])


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
