"""Tissue drawn by a rule: two stains with texture, whose colours and grain can be chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_zoommil.familiarity import Patches, SlideSample
from napari_zoommil.familiarity.descriptors import describe

PINK, BLUE = (0.2, 1.0, 0.4), (1.0, 0.9, 0.4)


def tissue(rng: np.random.Generator, count: int = 20, grain: float = 2.0, stains=(PINK, BLUE)) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(count, 64, 64, 3) uint8; a part of each patch is glass."""
    patches = []
    for _ in range(count):
        density = np.zeros((64, 64, 3))
        for stain in stains:
            plane = gaussian_filter(rng.normal(size=(64, 64)), grain)
            density += np.maximum(0.5 + 0.2 * plane / plane.std(), 0)[..., None] * stain
        density[:, : int(rng.integers(0, 48))] = 0
        density += rng.normal(0, 0.01, density.shape)
        patches.append(np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8))
    return np.stack(patches)


def sample(pixels: np.ndarray, group: str = "", of: int | None = None, features: int = 0) -> SlideSample:
    """The patches of one magnification as those of a slide; features are means of colours."""
    codes = np.repeat(pixels.mean((1, 2)), -(-features // 3) or 1, axis=1)[:, :features].astype(np.float32)
    return SlideSample(group, (Patches(describe(pixels), codes, of or len(pixels)),))


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    return tissue


@pytest.fixture(name="sample")
def _sample() -> Callable[..., SlideSample]:
    return sample
