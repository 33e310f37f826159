"""Colours of stained tissue, and tiles in the colours of other tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from napari_zoommil.slides.readers.base import RGB


@dataclass(frozen=True, eq=False)
class Colours:
    """Mean (3,) and covariance (3, 3) of the optical densities of a tissue."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, image: RGB, least_density: float = 0.0) -> Colours:
        """Colours of the pixels whose mean density is at least ``least_density``."""
        density = _density(image).reshape(-1, 3)
        density = density[density.mean(1) >= least_density]
        return cls(density.mean(0), np.cov(density.T) + 1e-5 * np.eye(3))

    def laid_on(self, image: RGB) -> RGB:
        """The image in these colours, by the linear Monge-Kantorovitch map of densities (Pitié 2007)."""
        own = Colours.of(image)
        root = np.real(sqrtm(own.covariance))
        inverse = np.linalg.inv(root)
        to_these = inverse @ np.real(sqrtm(root @ self.covariance @ root)) @ inverse
        return _light((_density(image) - own.mean) @ to_these + self.mean)


def tissue_colours(images: Sequence[RGB]) -> list[Colours]:
    """Colours of those images that are mostly tissue with both stains."""
    found = []
    for image in images:
        density = _density(image)
        tissue = density.mean(-1) > 0.12
        red, green = density[tissue].mean(0)[:2] if tissue.any() else (0, 1)
        if tissue.mean() > 0.3 and red > 0.4 * green:  # blood has no haematoxylin, which absorbs red
            found.append(Colours.of(image, 0.12))
    return found


def restained(image: RGB, styles: Sequence[Colours], rng: np.random.Generator) -> RGB:
    """The image in the colours of a random tissue, slightly lighter or darker."""
    style = styles[int(rng.integers(len(styles)))]
    strength, contrast = rng.uniform(0.6, 1.2), rng.uniform(0.4, 1)
    return Colours(style.mean * strength, style.covariance * contrast).laid_on(image)


def _density(image: RGB) -> NDArray[np.float64]:
    return -np.log((image.astype(np.float64) + 1) / 256)


def _light(density: NDArray[Any]) -> RGB:
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)
