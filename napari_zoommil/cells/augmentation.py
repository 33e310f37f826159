"""Augmentation of training windows as the supplement of exclusive cross-entropy lists it (sec. 2).

Each with a probability of one half: Gaussian blur, additive noise, a rotation by right angles, flips
along both axes, a diagonal flip. Stained tissue also gets its stain concentrations perturbed
(Tellez et al., IEEE TMI 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import hed_from_rgb, rgb_from_hed

from napari_zoommil.slides.readers.base import RGB

CHANCE = 0.5
"""Of each augmentation."""

KERNELS_PX = (3, 5, 7)
"""Widths of the blur's kernel."""

NOISE_SD = 5.0
"""Of additive noise, grey levels."""

STAIN = 0.05
"""Largest change of a stain's optical density: by a factor of 1 ± STAIN, and an offset of ± STAIN spreads."""


@dataclass(frozen=True)
class Placement:
    """One of the eight ways in which a square lies on itself.

    Attributes
    ----------
    turns : int
        Quarter turns, 0 to 3, done first.
    flips : (bool, bool)
        Up-down and left-right, done next.
    transposed : bool
        Rows become columns, done last.
    """

    turns: int = 0
    flips: tuple[bool, bool] = (False, False)
    transposed: bool = False

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Placement:
        """A random one, as the supplement draws it."""
        turns = int(rng.integers(1, 4)) if rng.random() < CHANCE else 0
        up_down, left_right, transposed = (bool(draw < CHANCE) for draw in rng.random(3))
        return cls(turns, (up_down, left_right), transposed)

    def apply(self, array: NDArray, axes: tuple[int, int] = (0, 1)) -> NDArray:
        """An array laid so along two of its axes; a view."""
        placed = np.flip(np.rot90(array, self.turns, axes), self._flipped(axes))
        return placed.swapaxes(*axes) if self.transposed else placed

    def undo(self, array: NDArray, axes: tuple[int, int] = (0, 1)) -> NDArray:
        """What :meth:`apply` was given."""
        back = array.swapaxes(*axes) if self.transposed else array
        return np.rot90(np.flip(back, self._flipped(axes)), -self.turns, axes)

    def points(self, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Places (n, 2) y, x in an array of ``shape``, where :meth:`apply` lays them; px."""
        (y, x), (height, width) = np.asarray(points, float).reshape(-1, 2).T, shape
        for _ in range(self.turns):
            y, x, height, width = width - x, y, width, height
        y = height - y if self.flips[0] else y
        x = width - x if self.flips[1] else x
        return np.stack((x, y) if self.transposed else (y, x), -1)

    def _flipped(self, axes: tuple[int, int]) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in zip(axes, self.flips, strict=True) if flipped)


def perturbed_stains(image: RGB, rng: np.random.Generator, strength: float = STAIN) -> RGB:
    """Haematoxylin, eosin and the rest, each somewhat stronger or weaker, (h, w, 3)."""
    factor, offset = 1 + rng.uniform(-strength, strength, 3), rng.uniform(-strength, strength, 3)
    density = -np.log((image.astype(np.float32) + 1) / 256)
    stains = density @ hed_from_rgb.astype(np.float32)  # negative ones are kept, or colours would change
    # Offsets are shares of the spread that a stain has here: absolute ones would tint the background.
    stains = stains * factor + offset * stains.std((0, 1))
    return _grey_levels(np.exp(-stains @ rgb_from_hed) * 256 - 1)


def distorted(image: RGB, rng: np.random.Generator, stained: bool = True) -> RGB:
    """Colours and sharpness of a window changed at random, its places kept; (h, w, 3)."""
    if stained:
        image = perturbed_stains(image, rng)
    pixels = image.astype(np.float32)
    if rng.random() < CHANCE:
        radius = int(rng.choice(KERNELS_PX)) // 2
        sd = 0.3 * (radius - 1) + 0.8  # the usual one for a kernel of that width
        pixels = gaussian_filter(pixels, (sd, sd, 0), radius=(radius, radius, 0))
    if rng.random() < CHANCE:
        pixels = pixels + rng.normal(0, NOISE_SD, pixels.shape).astype(np.float32)
    return _grey_levels(pixels)


def _grey_levels(pixels: NDArray[np.floating]) -> RGB:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
