"""Periodic H&E textures, one or more per tissue type, drawn from random numbers.

A texture is a periodic square of haematoxylin and eosin concentrations, with reduced copies for the coarser
pyramid levels. A slide is composed of them (`compose.py`), so that its pixels can be computed on demand at
any level by a few table look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zoommil.synthetic.canvas import Canvas, periodic_noise
from napari_zoommil.synthetic.nuclei import Plane, Stain
from napari_zoommil.synthetic.tissues import (
    copied_stroma,
    draw_fat,
    draw_gland,
    draw_inflamed,
    draw_lymphoid,
    draw_muscle,
    draw_stroma,
    draw_tumour,
)

CONCENTRATION_SCALE = 85.0
"""Steps of the stored bytes per unit of stain concentration."""

DOWNSAMPLES = (1, 2, 4, 8, 16, 32)

_DRAWINGS: dict[str, tuple[Callable[[Canvas], Stain], ...]] = {
    "stroma": (draw_stroma, lambda canvas: copied_stroma(canvas, 0.7)),
    "inflamed": (draw_inflamed,),
    "muscle": (draw_muscle,),
    "gland": (draw_gland, lambda canvas: draw_gland(canvas, crowded=True)),
    "lymphoid": (draw_lymphoid,),
    "fat": (draw_fat,),
    "tumour": (
        draw_tumour,
        lambda canvas: draw_tumour(canvas, -0.25),
        lambda canvas: draw_tumour(canvas, -0.75),
    ),
}

TUMOUR_PATTERNS = ("nested", "solid", "scirrhous")
"""Growth of the tumour in each of its textures: nests and cords, nearly solid, thin cords in much stroma."""


@dataclass(frozen=True)
class Texture:
    """A periodic texture: `levels[i]` is (n, n) uint16 at `DOWNSAMPLES[i]`, haematoxylin in the low byte."""

    levels: tuple[NDArray[np.uint16], ...]


@dataclass(frozen=True)
class TextureBank:
    """The textures by name, and `ripple`: int8 noise (n, n) per downsample for rough boundaries."""

    textures: dict[str, tuple[Texture, ...]]
    ripple: tuple[NDArray[np.int8], ...]

    def of_pattern(self, pattern: str) -> TextureBank:
        """The bank with only the tumour of one of `TUMOUR_PATTERNS`; the whole bank if it is empty."""
        if not pattern:
            return self
        only = self.textures["tumour"][TUMOUR_PATTERNS.index(pattern)]
        return replace(self, textures={**self.textures, "tumour": (only,)})


_bank_lock = Lock()


def texture_bank(seed: int, size: int) -> TextureBank:
    """The bank of textures of `size` px (a multiple of 32), drawn once per process and cached."""
    with _bank_lock:
        return _draw_bank(seed, size)


@lru_cache(maxsize=2)
def _draw_bank(seed: int, size: int) -> TextureBank:
    canvas = Canvas.create(seed, size)
    textures = {
        name: tuple(_texture(draw(canvas)) for draw in drawings) for name, drawings in _DRAWINGS.items()
    }
    ripple = 5 * periodic_noise(canvas.rng, size, 70) + 1.5 * periodic_noise(canvas.rng, size, 20)
    shrunk = tuple(np.clip(_block_mean(ripple, d), -127, 127).astype(np.int8) for d in DOWNSAMPLES)
    return TextureBank(textures, shrunk)


def _texture(stain: Stain) -> Texture:
    h, e = (gaussian_filter(np.maximum(plane, 0), 0.85, mode="wrap") for plane in (stain.h, stain.e))
    return Texture(tuple(_packed(*planes) for planes in zip(_pyramid(h), _pyramid(e), strict=True)))


def _block_mean(plane: Plane, downsample: int) -> Plane:
    n = plane.shape[0] // downsample
    blocks: Plane = plane.reshape(n, downsample, n, downsample).mean((1, 3), dtype=np.float32)
    return blocks


def _pyramid(plane: Plane) -> list[Plane]:
    """The plane at every downsample; a coarse pixel has the mean transmittance of its fine pixels."""
    light = np.exp(-0.7 * plane)
    levels = [plane]
    for _ in DOWNSAMPLES[1:]:
        light = (light[::2, ::2] + light[1::2, ::2] + light[::2, 1::2] + light[1::2, 1::2]) / 4
        levels.append(-np.log(light) / 0.7)
    return levels


def _packed(h: Plane, e: Plane) -> NDArray[np.uint16]:
    low, high = (np.clip(np.rint(c * CONCENTRATION_SCALE), 0, 255).astype(np.uint16) for c in (h, e))
    packed: NDArray[np.uint16] = low | (high << np.uint16(8))
    return packed
