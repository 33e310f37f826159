"""Drawing of nuclei and other small objects on periodic stain-concentration planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Plane = NDArray[Any]
"""Values of a periodic square or of the nodes of a layout, float32."""
Points = NDArray[np.float64]

UM_PER_PX = 0.25
"""Pixel size of level 0 (a 40x scan)."""


@dataclass(frozen=True)
class Stain:
    """Concentrations of haematoxylin and eosin on one periodic square, both (n, n) float32."""

    h: Plane
    e: Plane


@dataclass(frozen=True)
class NucleusKind:
    """Appearance of a kind of nucleus.

    Attributes
    ----------
    length_um, aspect : float
        Mean long axis in µm, and its mean ratio to the short axis.
    spread : float
        Relative standard deviation of the size (pleomorphism).
    irregular : float
        Relative amplitude of the irregularity of the outline.
    level : float
        Haematoxylin concentration of the chromatin.
    clump : float
        Relative contrast of chromatin clumps.
    vesicular : float
        Relative brightening of the centre, 0 to 1.
    nucleoli : float
        Mean number of nucleoli.
    """

    length_um: float
    aspect: float
    spread: float
    irregular: float
    level: float
    clump: float
    vesicular: float
    nucleoli: float


LYMPHOCYTE = NucleusKind(7.0, 1.08, 0.08, 0.04, 1.55, 0.22, 0.05, 0.0)
CENTROBLAST = NucleusKind(9.5, 1.15, 0.12, 0.06, 1.1, 0.18, 0.35, 1.5)
EPITHELIAL = NucleusKind(10.0, 1.5, 0.10, 0.05, 1.3, 0.16, 0.2, 0.4)
CROWDED = NucleusKind(10.5, 1.7, 0.12, 0.06, 1.5, 0.16, 0.1, 0.3)
SPINDLE = NucleusKind(14.0, 4.2, 0.22, 0.08, 1.35, 0.12, 0.05, 0.0)
CIGAR = NucleusKind(17.0, 4.6, 0.18, 0.04, 1.15, 0.12, 0.1, 0.0)
FLAT = NucleusKind(9.0, 3.0, 0.15, 0.06, 1.4, 0.1, 0.0, 0.0)
TUMOUR_VESICULAR = NucleusKind(15.0, 1.3, 0.20, 0.07, 1.22, 0.26, 0.38, 1.6)
TUMOUR_DARK = NucleusKind(13.5, 1.4, 0.24, 0.10, 1.5, 0.22, 0.1, 0.3)
MITOSIS = NucleusKind(9.5, 2.3, 0.15, 0.28, 2.2, 0.1, 0.0, 0.0)

ANGLES = 24
SHAPES = 14


@dataclass(frozen=True)
class Sprite:
    """A drawn nucleus: opacity and haematoxylin, both (2r + 1, 2r + 1) float32."""

    alpha: Plane
    h: Plane


def draw_nucleus(rng: np.random.Generator, kind: NucleusKind, angle: float, grain: Plane) -> Sprite:
    """A nucleus of `kind` with its long axis at `angle` (radians from x); `grain` is noise for chromatin."""
    size = np.clip(1 + kind.spread * rng.standard_normal(), 0.6, 1.6)
    aspect = 1 + (kind.aspect - 1) * rng.uniform(0.6, 1.4)
    mean_axis = kind.length_um / UM_PER_PX / 2 / np.sqrt(kind.aspect) * size
    a, b = mean_axis * np.sqrt(aspect), mean_axis / np.sqrt(aspect)
    radius = int(np.ceil(a * (1 + 2 * kind.irregular))) + 2
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    u = xx * np.cos(angle) + yy * np.sin(angle)
    v = yy * np.cos(angle) - xx * np.sin(angle)
    theta = np.arctan2(v / b, u / a)
    outline = np.ones_like(u)
    for k in (2, 3, 4, 5):
        outline += kind.irregular * rng.normal() / np.sqrt(k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    inside = (outline - np.hypot(u / a, v / b)) * b
    alpha = np.clip(inside / 1.8 + 0.5, 0, 1)
    y0, x0 = rng.integers(0, grain.shape[0] - 2 * radius, 2)
    clumps = grain[y0 : y0 + 2 * radius + 1, x0 : x0 + 2 * radius + 1]
    pale = kind.vesicular * np.clip((inside - 1.5) / 8.0, 0, 1)
    h = kind.level * rng.uniform(0.85, 1.15) * (1 - pale) * (1 + kind.clump * clumps)
    for _ in range(rng.poisson(kind.nucleoli)):
        t, r = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
        d2 = (u - r * a * np.cos(t)) ** 2 + (v - r * b * np.sin(t)) ** 2
        h += 0.9 * np.exp(-d2 / (2 * rng.uniform(1.7, 3.0) ** 2))
    return Sprite(alpha.astype(np.float32), np.clip(h, 0.15, 2.7).astype(np.float32))


class Pen:
    """Draws nuclei on a periodic square; sprites are drawn once per kind and angle and then copied."""

    def __init__(self, rng: np.random.Generator, grain: Plane) -> None:
        self._rng = rng
        self._grain = grain
        self._sprites: dict[NucleusKind, list[list[Sprite]]] = {}

    def _sprite(self, kind: NucleusKind, angle: float) -> Sprite:
        if kind not in self._sprites:
            self._sprites[kind] = [
                [draw_nucleus(self._rng, kind, np.pi * i / ANGLES, self._grain) for _ in range(SHAPES)]
                for i in range(ANGLES)
            ]
        of_angle = self._sprites[kind][round(angle / np.pi * ANGLES) % ANGLES]
        return of_angle[self._rng.integers(SHAPES)]

    def stamp(self, stain: Stain, y: float, x: float, kind: NucleusKind, angle: float) -> None:
        """Draw a nucleus centred at (y, x), with periodic boundaries."""
        sprite = self._sprite(kind, angle)
        index = square_index(y, x, sprite.alpha.shape[0] // 2, stain.h.shape[0])
        h, e = stain.h[index], stain.e[index]
        # The darker of two overlapping nuclei is visible, as in a transmitted-light image.
        stain.h[index] = h + sprite.alpha * np.maximum(sprite.h - h, 0.3 * (sprite.h - h))
        stain.e[index] = e * (1 - 0.3 * sprite.alpha)

    def scatter(
        self, stain: Stain, points: Points, kinds: tuple[NucleusKind, ...], share: tuple[float, ...]
    ) -> None:
        """Draw a nucleus at each of `points` (n, 2), with random angle and with kinds in shares `share`."""
        chosen = self._rng.choice(len(kinds), len(points), p=share)
        angles = self._rng.uniform(0, np.pi, len(points))
        for (y, x), kind, angle in zip(points, chosen, angles, strict=True):
            self.stamp(stain, y, x, kinds[kind], angle)


def square_index(y: float, x: float, radius: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Open-mesh index of the square of `radius` around (y, x) on a periodic plane of `size`."""
    offsets = np.arange(-radius, radius + 1)
    return (round(y) + offsets)[:, None] % size, (round(x) + offsets)[None, :] % size


def poisson_disc(rng: np.random.Generator, size: int, spacing: float) -> Points:
    """Random points (n, 2) on a periodic square, at least `spacing` px apart."""
    count = int(3.0 * (size / spacing) ** 2) + 1
    points = rng.uniform(0, size, (count, 2))
    pairs = cKDTree(points, boxsize=size).query_pairs(spacing, output_type="ndarray")
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for first, second in pairs.tolist():
        neighbours[max(first, second)].append(min(first, second))
    kept = np.zeros(count, bool)
    for i in range(count):
        kept[i] = not any(kept[j] for j in neighbours[i])
    return points[kept]
