"""Augmentation of training windows (exclusive cross-entropy, supplement, sec. 2).

Each with a probability of one half: Gaussian blur, additive noise, a rotation by right angles, flips
along both axes, a diagonal flip. Not in the supplement: JPEG compression, as of whole-slide images, and for
stained tissue a perturbation of the stain concentrations (Tellez et al., IEEE TMI 2018).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import hed_from_rgb, rgb_from_hed

from napari_zoommil.slides.readers.base import RGB

CHANCE = 0.5
"""Probability of each augmentation."""

KERNELS_PX = (3, 5, 7)
"""Widths of the blur's kernel."""

NOISE_SD = 5.0
"""Standard deviation of the additive noise, grey levels."""

JPEG_QUALITY = (40, 95)
"""Range of the quality of JPEG compression."""

STAIN_SD = 0.05
"""Standard deviation of the factor (around 1) and of the offset (around 0) of each stain; natural optical
density. On tissue this moves pixels by 4 to 10 grey levels on average."""


@dataclass(frozen=True)
class Placement:
    """One of the eight symmetries of a square.

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
        """A random placement, drawn as in the supplement."""
        turns = int(rng.integers(1, 4)) if rng.random() < CHANCE else 0
        up_down, left_right, transposed = (bool(draw < CHANCE) for draw in rng.random(3))
        return cls(turns, (up_down, left_right), transposed)

    def apply(self, array: NDArray, axes: tuple[int, int] = (0, 1)) -> NDArray:
        """Apply to two axes of an array; returns a view."""
        placed = np.flip(np.rot90(array, self.turns, axes), self._flipped(axes))
        return placed.swapaxes(*axes) if self.transposed else placed

    def undo(self, array: NDArray, axes: tuple[int, int] = (0, 1)) -> NDArray:
        """The inverse of :meth:`apply`."""
        back = array.swapaxes(*axes) if self.transposed else array
        return np.rot90(np.flip(back, self._flipped(axes)), -self.turns, axes)

    def points(self, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Positions (n, 2) (y, x) in an array of ``shape`` after :meth:`apply`; px."""
        (y, x), (height, width) = np.asarray(points, float).reshape(-1, 2).T, shape
        for _ in range(self.turns):
            y, x, height, width = width - x, y, width, height
        y = height - y if self.flips[0] else y
        x = width - x if self.flips[1] else x
        return np.stack((x, y) if self.transposed else (y, x), -1)

    def _flipped(self, axes: tuple[int, int]) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in zip(axes, self.flips, strict=True) if flipped)


def perturbed_stains(image: RGB, rng: np.random.Generator, sd: float = STAIN_SD) -> RGB:
    """An image with randomly scaled and shifted haematoxylin, eosin and residual stains, (h, w, 3).

    Stains are separated by the vectors of Ruifrok and Johnston (2001).
    """
    factor, offset = rng.normal(1, sd, 3), rng.normal(0, sd, 3)
    density = -np.log((image.astype(np.float32) + 1) / 256)
    stains = density @ hed_from_rgb.astype(np.float32)  # negative values are kept: clipping changes colours
    changed = (stains * factor + offset) @ rgb_from_hed
    return _grey_levels(np.exp(-changed) * 256 - 1)


def compressed(image: RGB, quality: int) -> RGB:
    """The image after JPEG compression, (h, w, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def distorted(image: RGB, rng: np.random.Generator, stained: bool = True) -> RGB:
    """A window with random changes of colour and sharpness but not of geometry, (h, w, 3)."""
    if stained:
        image = perturbed_stains(image, rng)
    pixels = image.astype(np.float32)
    if rng.random() < CHANCE:
        radius = int(rng.choice(KERNELS_PX)) // 2
        sd = 0.3 * (radius - 1) + 0.8  # OpenCV's default for a kernel of that width
        pixels = gaussian_filter(pixels, (sd, sd, 0), radius=(radius, radius, 0))
    if rng.random() < CHANCE:
        pixels = pixels + rng.normal(0, NOISE_SD, pixels.shape).astype(np.float32)
    image = _grey_levels(pixels)
    return compressed(image, int(rng.integers(*JPEG_QUALITY))) if rng.random() < CHANCE else image


def _grey_levels(pixels: NDArray[np.floating]) -> RGB:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
