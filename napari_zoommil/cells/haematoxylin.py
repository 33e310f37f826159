"""Nuclei by their haematoxylin: colour deconvolution and a threshold, without training.

Stains are separated as by Ruifrok and Johnston (2001), with vectors estimated for each slide as by Macenko et
al. (ISBI 2009). Nuclei of the thresholded map are split as those of a U-Net.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from torch import Tensor, nn
from torch.nn import functional as F

from napari_zoommil.slides.readers.base import RGB

Floats = NDArray[np.float64]

PUBLISHED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""Haematoxylin and eosin of Ruifrok and Johnston: optical densities of red, green and blue."""

LEAST_DENSITY = 0.15
"""Least mean optical density of a stained pixel (Macenko: β)."""

LEAST_PIXELS = 1000
"""Least number of stained pixels for an estimate."""

EXTREME = 1.0
"""Percentile of the angles at which the vectors are taken (Macenko: α)."""

LARGEST_TURN = 20.0
"""Largest angle of an estimated haematoxylin to the published one, degrees."""

LEAST_ANGLE = 20.0
"""Least angle between the estimated stains, degrees; with only one stain it is smaller."""

MOST_RED = 0.3
"""Largest absorption of red by an estimated eosin, of a vector of length 1."""

DENSITIES = (0.15, 1.2)
"""Range of the threshold of haematoxylin, optical density."""

NEIGHBOURHOOD_UM = 30.0
"""Edge of the square whose mean shifts the threshold: pale nuclei in pale tissue, dark cytoplasm in dark."""

FOLLOWS = 0.8
"""Part of the difference between the means of the square and of the slide by which the threshold shifts."""

SHIFTED = (0.6, 1.5)
"""Range of the shifted threshold, in thresholds of the slide."""

SOFTNESS = 0.12
"""Difference from the threshold, in thresholds, that multiplies the odds of being a nucleus by e."""


@dataclass(frozen=True, eq=False)
class Stains:
    """Stain vectors and haematoxylin of a slide.

    Attributes
    ----------
    vectors : (2, 3)
        Optical densities of haematoxylin and eosin, of length 1.
    estimated : bool
        Whether they were estimated from the slide; otherwise they are the published ones.
    threshold, mean : float
        Threshold of haematoxylin by Otsu's method, and its mean on stained pixels; optical density.
    """

    vectors: Floats
    estimated: bool = False
    threshold: float = 0.4
    mean: float = 0.3

    @classmethod
    def published(cls) -> Stains:
        return cls(_unit(np.array(PUBLISHED)))

    @property
    def to_haematoxylin(self) -> Floats:
        """(3,) weights of red, green and blue density in the density of haematoxylin."""
        third = np.cross(*self.vectors)
        weights: Floats = np.linalg.inv(np.vstack([self.vectors, third / np.linalg.norm(third)]))[:, 0]
        return weights


class Haematoxylin(nn.Module):
    """Detector without weights; returns logits per pixel like a segmentation network.

    It has three parameters: ``smoothing_um``, and the diameter of its class and the threshold in the
    specification of the model.

    Parameters
    ----------
    classes : 1
    mpp : float
        Resolution of its input, µm/px.
    smoothing_um : float
        Standard deviation of the Gaussian smoothing of haematoxylin, µm.
    """

    def __init__(
        self,
        classes: Literal[1] = 1,
        mpp: Annotated[float, Interval(gt=0, lt=float("inf"))] = 0.35,
        smoothing_um: Annotated[float, Interval(ge=0, le=10)] = 0.5,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"classes": classes, "mpp": mpp, "smoothing_um": smoothing_um}
        self.rim = 0
        self.sd_px = smoothing_um / mpp
        self.half_px = round(NEIGHBOURHOOD_UM / mpp / 2)
        self.margin = self.half_px + 2 * math.ceil(3 * self.sd_px)
        self.stains = Stains.published()

    def input_size(self, size: int) -> int:
        """Least edge of an input, px, whose output covers ``size`` px."""
        return size

    def adapted(self, samples: Sequence[RGB]) -> Haematoxylin:
        """A copy with the stains of a slide, estimated from (h, w, 3) samples of its tissue."""
        adapted = copy.copy(self)
        adapted.stains = self._measured(samples)
        return adapted

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → logits (B, 1, H, W)."""
        stains = self.stains
        haematoxylin = self._haematoxylin(images, stains)
        low, high = (factor * stains.threshold for factor in SHIFTED)
        shift = FOLLOWS * (_square_mean(haematoxylin, self.half_px) - stains.mean)
        return (haematoxylin - (stains.threshold + shift).clamp(low, high)) / (SOFTNESS * stains.threshold)

    def _haematoxylin(self, images: Tensor, stains: Stains) -> Tensor:
        """Smoothed density of haematoxylin, (B, 1, H, W)."""
        weights = torch.as_tensor(stains.to_haematoxylin, dtype=torch.float32, device=images.device)
        density = -((images.float() * 255 + 1) / 256).log()
        return _smoothed((density * weights[:, None, None]).sum(1, keepdim=True), self.sd_px)

    def _measured(self, samples: Sequence[RGB]) -> Stains:
        densities = [-np.log((image.astype(np.float32) + 1) / 256) for image in samples]
        stained = [density.mean(-1) > LEAST_DENSITY for density in densities]
        pixels = np.concatenate([np.empty((0, 3)), *(d[s] for d, s in zip(densities, stained, strict=True))])
        if len(pixels) < LEAST_PIXELS:
            return Stains.published()
        vectors = stain_vectors(pixels)
        stains = Stains.published() if vectors is None else Stains(vectors, True)
        maps = [
            self._haematoxylin(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255, stains)[0, 0]
            for image in samples
        ]
        values = np.concatenate([one.numpy()[where] for one, where in zip(maps, stained, strict=True)])
        threshold = float(np.clip(threshold_otsu(values), *DENSITIES)) if np.ptp(values) else DENSITIES[1]
        return Stains(stains.vectors, stains.estimated, threshold, float(values.mean()))


def stain_vectors(pixels: NDArray[np.floating]) -> Floats | None:
    """Haematoxylin and eosin (2, 3) of stained pixels, (N, 3) optical densities (Macenko 2009).

    Returns None if the estimate is not that of haematoxylin and eosin: with one stain alone, or another one.
    """
    plane = np.linalg.eigh(np.cov(pixels.T))[1][:, [2, 1]]
    plane *= np.where(plane.sum(0) < 0, -1, 1)
    angles = np.arctan2(*(pixels @ plane).T[::-1])
    extremes = np.percentile(angles, [EXTREME, 100 - EXTREME])
    vectors = np.stack([np.cos(extremes), np.sin(extremes)], 1) @ plane.T
    vectors = _unit(np.clip(vectors * np.sign(vectors.sum(1, keepdims=True)), 0, None))
    haematoxylin, eosin = vectors[np.argsort(-vectors[:, 0])]
    red, green, blue = eosin
    usable = (
        _degrees(haematoxylin, _unit(np.array(PUBLISHED))[0]) <= LARGEST_TURN
        and _degrees(haematoxylin, eosin) >= LEAST_ANGLE
        and red <= MOST_RED
        and green >= blue  # not so for diaminobenzidine
    )
    if not usable:
        return None
    return np.stack([haematoxylin, eosin])


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-9)


def _degrees(first: Floats, second: Floats) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def _smoothed(maps: Tensor, sd: float) -> Tensor:
    """(B, 1, H, W) after a Gaussian of standard deviation ``sd``, px."""
    radius = math.ceil(3 * sd)
    if not radius:
        return maps
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=maps.device) / sd) ** 2)
    kernel = kernel / kernel.sum()
    maps = F.pad(maps, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(maps, kernel[None, None, None]), kernel[None, None, :, None])


def _square_mean(maps: Tensor, half: int) -> Tensor:
    """Mean over squares of 2 · half + 1 px around each pixel, as far as they are in the image."""
    rows = F.avg_pool2d(maps, (2 * half + 1, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, 2 * half + 1), 1, (0, half), count_include_pad=False)
