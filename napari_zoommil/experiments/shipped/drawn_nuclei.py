"""Synthetic tissue with instance maps: the textures of synthetic slides, with their nuclei recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.synthetic.canvas import Canvas
from napari_zoommil.synthetic.compose import EOSIN, HAEMATOXYLIN
from napari_zoommil.synthetic.nuclei import NucleusKind, Pen, Plane, Sprite, Stain
from napari_zoommil.synthetic.tissues import (
    draw_fat,
    draw_gland,
    draw_inflamed,
    draw_lymphoid,
    draw_muscle,
    draw_stroma,
    draw_tumour,
)

PLANES = {
    "stroma": draw_stroma,
    "loose stroma": lambda canvas: draw_stroma(canvas, LOOSE),
    "inflamed": draw_inflamed,
    "muscle": draw_muscle,
    "gland": draw_gland,
    "crowded gland": lambda canvas: draw_gland(canvas, crowded=True),
    "lymphoid": draw_lymphoid,
    "fat": draw_fat,
    "tumour": draw_tumour,
    "solid tumour": lambda canvas: draw_tumour(canvas, -0.25),
}
"""The textures of synthetic slides, by name."""

LOOSE = 0.7
"""Density of the stroma around the other tissues."""

VISIBLE_H = 0.5
"""Least haematoxylin of a visible nucleus; cytoplasm has less."""


class _Recorder(Pen):
    """A pen that records the nuclei that it draws, or that draws nothing."""

    def __init__(self, rng: np.random.Generator, grain: Plane, mute: bool = False) -> None:
        super().__init__(rng, grain)
        self.mute = mute
        self.last: Sprite | None = None
        self.drawn: list[tuple[float, float, Plane]] = []

    def _sprite(self, kind: NucleusKind, angle: float) -> Sprite:
        sprite = self.last = super()._sprite(kind, angle)
        return sprite

    def stamp(self, stain: Stain, y: float, x: float, kind: NucleusKind, angle: float) -> None:
        if not self.mute:
            super().stamp(stain, y, x, kind, angle)
            assert self.last is not None
            self.drawn.append((y, x, self.last.alpha))


def drawn_tissue(draw: Callable[[Canvas], Stain], seed: int, size: int) -> tuple[Stain, NDArray[np.int32]]:
    """A periodic square of stains at 40x and its instance map, both (size, size)."""
    canvas = Canvas.create(seed, size)
    grain = canvas.pen._grain
    # The stroma around other tissues has no nuclei here, because its random shift is not recorded.
    bare = replace(canvas, pen=_Recorder(canvas.rng, grain, mute=True))
    pen = _Recorder(canvas.rng, grain)
    stain = draw(replace(canvas, pen=pen, stromas={LOOSE: draw_stroma(bare, LOOSE)}))
    instances = np.zeros((size, size), np.int32)
    for number, (y, x, alpha) in enumerate(pen.drawn, 1):
        reach = alpha.shape[0] // 2
        rows, columns = ((round(at) + np.arange(-reach, reach + 1)) % size for at in (y, x))
        part = instances[np.ix_(rows, columns)]
        instances[np.ix_(rows, columns)] = np.where(alpha > 0.5, number, part)
    return stain, _seen(instances, stain.h)


def _seen(instances: NDArray[np.int32], haematoxylin: Plane) -> NDArray[np.int32]:
    """The instance map without nuclei that were painted over."""
    area = np.bincount(instances.ravel())
    dark = np.bincount(instances.ravel(), haematoxylin.ravel() >= VISIBLE_H)
    return np.where((dark > 0.6 * area)[instances], instances, 0)


def stained(stain: Stain, rng: np.random.Generator) -> RGB:
    """Stains in a slide's colours, slightly blurred, (n, n, 3)."""
    vectors = np.clip(np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.06, (2, 3)), 0.03, 1)
    vectors *= rng.uniform(0.6, 1.3, (2, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    planes = [
        gaussian_filter(np.maximum(plane, 0), rng.uniform(0.8, 1.8), mode="nearest")
        for plane in (stain.h, stain.e)
    ]
    light = np.exp(-np.tensordot(np.stack(planes, -1), vectors, 1))
    return np.rint(light * (245 + rng.uniform(-8, 8, 3))).clip(0, 255).astype(np.uint8)
