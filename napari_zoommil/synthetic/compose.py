"""Composition of a synthetic slide's pixels from layout, textures and stain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from napari_zoommil.synthetic.layout import (
    STEP,
    TISSUE_TYPES,
    Layout,
    NoiseField,
    make_layout,
    nearest,
    sample,
)
from napari_zoommil.synthetic.nuclei import Plane
from napari_zoommil.synthetic.texture import CONCENTRATION_SCALE, DOWNSAMPLES, Texture, TextureBank

Image = NDArray[np.uint8]
Indices = NDArray[np.int64]
Packed = NDArray[Any]
"""Stain concentrations as uint16: one stain, or both packed into low and high byte."""

HAEMATOXYLIN = (0.56, 0.72, 0.41)
EOSIN = (0.15, 0.88, 0.45)
"""Reference optical-density vectors (red, green, blue) of the two stains."""

_EDGE_PX = 6.0
_RIPPLE_PX = 40.0
_GAIN_BITS = 7


@dataclass(frozen=True)
class _Cutting:
    """Position of a lobule's texture: shifted by (y, x) level-0 px, mirrored, transposed.

    Shifts are multiples of the largest downsample, so that the levels match.
    """

    texture: Texture
    y: int
    x: int
    flip_y: int
    flip_x: int
    transposed: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, textures: tuple[Texture, ...]) -> _Cutting:
        texture = textures[rng.integers(len(textures))]
        y, x = rng.integers(0, texture.levels[0].shape[0] // 32, 2) * 32
        flip_y, flip_x = rng.choice([-1, 1], 2)
        return cls(texture, int(y), int(x), int(flip_y), int(flip_x), bool(rng.integers(2)))

    def cut(self, ys: Indices, xs: Indices, level: int) -> Packed:
        plane = self.texture.levels[level]
        rows = ((ys if self.flip_y > 0 else ~ys) + self.y // DOWNSAMPLES[level]) % len(plane)
        columns = ((xs if self.flip_x > 0 else ~xs) + self.x // DOWNSAMPLES[level]) % len(plane)
        return (plane.T if self.transposed else plane)[np.ix_(rows, columns)]


@dataclass(frozen=True)
class Composition:
    """Everything that determines the pixels of a slide.

    Attributes
    ----------
    layout : Layout
        The position of each tissue.
    stroma : pair of _Cutting
        Dense and loose stroma, below all other tissue; `loose` (n, n) is the share of loose stroma on the
        nodes.
    lobules : tuple of _Cutting or None
        Texture of each lobule of the layout; None for stroma.
    gain_h, gain_e : (n, n) float32
        Local factor of the stains on the nodes.
    colours : (65536,) uint32
        Red, green, blue and an unused byte by packed concentration.
    ripple : tuple of (m, m) int8
        Roughness of the boundaries per level, in px.
    """

    layout: Layout
    stroma: tuple[_Cutting, _Cutting]
    loose: Plane
    lobules: tuple[_Cutting | None, ...]
    gain_h: Plane
    gain_e: Plane
    colours: NDArray[np.uint32]
    ripple: tuple[NDArray[np.int8], ...]

    def is_background(self, ys: Indices, xs: Indices, downsample: int) -> bool:
        """Whether rows `ys` by columns `xs` (px of the level) have no tissue."""
        nodes = len(self.layout.tissue)
        low_y, high_y, low_x, high_x = (
            int(np.clip(at * downsample // STEP + extra, 0, nodes))
            for at, extra in ((ys[0], -1), (ys[-1] + 1, 3), (xs[0], -1), (xs[-1] + 1, 3))
        )
        tissue = self.layout.tissue[low_y:high_y, low_x:high_x]
        return tissue.size == 0 or bool(tissue.max() < -_RIPPLE_PX - downsample)

    def pixels(self, ys: Indices, xs: Indices, downsample: int) -> Image:
        """Rows `ys` (h,) by columns `xs` (w,) of the level, both in steps of 1: (h, w, 3)."""
        if self.is_background(ys, xs, downsample):
            return np.broadcast_to(self._rgb(np.zeros((1, 1), np.uint16)), (len(ys), len(xs), 3))
        level = DOWNSAMPLES.index(downsample)
        at = (ys + 0.5) * downsample, (xs + 0.5) * downsample
        ripple = self.ripple[level]
        rough = ripple[np.ix_(ys % len(ripple), xs % len(ripple))]
        edge = max(_EDGE_PX, downsample)
        below = self._stroma(ys, xs, at, level)
        above = below.copy()
        cell = nearest(self.layout.cell, *at)
        self._fill_lobules(above, cell, ys, xs, level)
        share = _opacity(sample(self.layout.lobule, *at) + rough, edge)
        present = _opacity(sample(self.layout.tissue, *at) + rough, edge)
        h, e = _blend(below, above, share)
        h = _strengthen(h, sample(self.gain_h, *at), present)
        e = _strengthen(e, sample(self.gain_e, *at), present)
        return self._rgb(h | (e << 8))

    def _stroma(self, ys: Indices, xs: Indices, at: tuple[NDArray[Any], NDArray[Any]], level: int) -> Packed:
        dense, loose = (cutting.cut(ys, xs, level) for cutting in self.stroma)
        h, e = _blend(dense, loose, (256 * sample(self.loose, *at)).astype(np.uint16))
        return h | (e << 8)

    def _fill_lobules(
        self, packed: Packed, cell: NDArray[np.int16], ys: Indices, xs: Indices, level: int
    ) -> None:
        first = int(cell.min())
        for index, box in enumerate(find_objects(cell - (first - 1)), first):
            cutting = self.lobules[index]
            if box is not None and cutting is not None:
                cut = cutting.cut(ys[box[0]], xs[box[1]], level)
                np.copyto(packed[box], cut, where=cell[box] == index)

    def _rgb(self, packed: Packed) -> Image:
        colours = self.colours.take(packed)
        return np.ascontiguousarray(colours.view(np.uint8).reshape(*packed.shape, 4)[..., :3])


def _opacity(distance: Plane, edge: float) -> Packed:
    """0 to 256 across an edge `edge` px wide at distance 0."""
    return np.clip(distance * np.float32(256 / edge) + np.float32(128), 0, 256).astype(np.uint16)


def _blend(below: Packed, above: Packed, share: Packed) -> tuple[Packed, Packed]:
    rest = 256 - share
    h = ((below & 255) * rest + (above & 255) * share) >> 8
    e = ((below >> 8) * rest + (above >> 8) * share) >> 8
    return h, e


def _strengthen(stain: Packed, gain: Plane, present: Packed) -> Packed:
    factor = (gain * np.float32(1 << _GAIN_BITS)).astype(np.uint16) * present >> 8
    return np.minimum(stain * factor >> _GAIN_BITS, 255)


def compose(seed: int, size: int, tumour_fraction: float, bank: TextureBank) -> Composition:
    """The composition of a slide of `size` px; `tumour_fraction` of its tissue is tumour."""
    rng = np.random.default_rng(seed)
    layout = make_layout(rng, size, tumour_fraction)
    field = NoiseField(rng, size)
    thickness = 1 + 0.07 * field(size / 4) + 0.05 * field(1500)
    balance = 0.07 * field(size / 5) + 0.05 * field(1200)
    own = rng.normal(0, 0.07, (2, len(layout.cell_type))).astype(np.float32)
    own_h, own_e = (gaussian_filter(gains[layout.cell], 1.5) for gains in own)
    dense, loose = (_Cutting.draw(rng, (texture,)) for texture in bank.textures["stroma"])
    return Composition(
        layout,
        (dense, loose),
        np.clip(0.5 + 0.9 * field(2200), 0, 1),
        tuple(_lobule(rng, TISSUE_TYPES[kind], bank) for kind in layout.cell_type),
        np.clip(thickness * (1 + balance + own_h), 0.5, 1.6),
        np.clip(thickness * (1 - balance + own_e), 0.5, 1.6),
        _colours(rng),
        bank.ripple,
    )


def _lobule(rng: np.random.Generator, tissue: str, bank: TextureBank) -> _Cutting | None:
    if tissue == "stroma":
        return _Cutting.draw(rng, bank.textures["inflamed"]) if rng.random() < 0.5 else None
    return _Cutting.draw(rng, bank.textures[tissue])


def _colours(rng: np.random.Generator) -> NDArray[np.uint32]:
    """Colour of each packed concentration, for random stain vectors, strengths and illumination."""
    vectors = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.035, (2, 3))
    vectors = np.clip(vectors, 0.03, 1)
    vectors *= rng.uniform(0.8, 1.25, (2, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    white = 245 + rng.uniform(-3, 3) + rng.uniform(-2, 2, 3)
    steps = np.arange(256) / CONCENTRATION_SCALE
    density = steps[None, :, None] * vectors[0] + steps[:, None, None] * vectors[1]
    rgb = np.zeros((256, 256, 4), np.uint8)
    rgb[..., :3] = np.rint(white * np.exp(-density))
    return rgb.view(np.uint32).ravel()
