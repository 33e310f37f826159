"""Position of each tissue on a synthetic slide: fragments, zones, lobules and the planted tumour.

All fields are stored on a grid of nodes `STEP` px apart and interpolated bilinearly, so that the tissue of a
pixel depends only on its position and windows of all sizes agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from napari_zoommil.synthetic.canvas import periodic_noise
from napari_zoommil.synthetic.nuclei import Plane

Positions = NDArray[Any]
"""Level-0 px as floats, along one axis or as (n, 2) points."""

STEP = 16
"""Level-0 px between the nodes of the layout's grid."""

TISSUE_TYPES = ("background", "stroma", "gland", "lymphoid", "fat", "muscle", "tumour")
"""Names of the values of a label map, in order."""

_STROMA, _GLAND, _LYMPHOID, _FAT, _MUSCLE, _TUMOUR = range(1, len(TISSUE_TYPES))


@dataclass(frozen=True)
class Layout:
    """The geometry of one slide on its grid of (n, n) nodes, n = size // STEP + 1.

    Attributes
    ----------
    tissue, tumour : (n, n) float32
        Approximate signed distance in px to the edge of the tissue and of the tumour, positive inside.
    lobule : (n, n) float32
        The same for the edge of the node's lobule; there is stroma between lobules.
    cell : (n, n) int16
        Index of the nearest lobule of each node (a Voronoi cell).
    cell_type : (cells,) uint8
        Tissue type of each lobule, an index of `TISSUE_TYPES`.
    """

    tissue: Plane
    tumour: Plane
    lobule: Plane
    cell: NDArray[np.int16]
    cell_type: NDArray[np.uint8]


def make_layout(rng: np.random.Generator, size: int, tumour_fraction: float) -> Layout:
    """The layout of a slide of `size` px; `tumour_fraction` of its tissue is tumour, none if 0."""
    field = NoiseField(rng, size)
    tissue, depth = _fragments(rng, field, size)
    tumour = np.full_like(tissue, -1e4)
    if tumour_fraction > 0:
        tumour = _plant_tumour(rng, field, tissue, size, tumour_fraction)
    lobule, cell, centres = _lobules(rng, field, tissue, size)
    cell_type = _choose_types(rng, field, depth, centres)
    return _with_tumour(Layout(tissue, tumour, lobule, cell, cell_type))


@dataclass(frozen=True)
class NoiseField:
    """Smooth noise of unit variance on the nodes of a slide."""

    rng: np.random.Generator
    size: int

    def __call__(self, wave_px: float) -> Plane:
        n = self.size // STEP + 1
        return periodic_noise(self.rng, fft.next_fast_len(n, real=True), wave_px / STEP)[:n, :n]


def _nodes(size: int) -> tuple[Plane, Plane]:
    rows, columns = np.indices((size // STEP + 1,) * 2, np.float32) * STEP
    return rows.astype(np.float32), columns.astype(np.float32)


def _fragments(rng: np.random.Generator, field: NoiseField, size: int) -> tuple[Plane, Plane]:
    """Signed distance to the tissue's edge, and the depth in a fragment, from -1 (luminal) to 1 (deep)."""
    rows, columns = _nodes(size)
    count = 1 if size < 6000 else 3
    tissue, depth = np.full_like(rows, -1e4), np.zeros_like(rows)
    ragged = 0.02 * size * field(size / 5) + 0.0045 * size * field(size / 22) + 18 * field(160)
    start = rng.uniform(0, 2 * np.pi)
    for k in range(count):
        around = start + 2 * np.pi * k / count + rng.normal(0, 0.12)
        away = 0 if count == 1 else 0.25 * size
        y, x = size / 2 + away * np.sin(around), size / 2 + away * np.cos(around)
        long = size * (0.40 if count == 1 else rng.uniform(0.24, 0.29))
        short = long * rng.uniform(0.6, 0.8)
        tilt = around + np.pi / 2 + rng.normal(0, 0.25)
        u = (columns - x) * np.cos(tilt) + (rows - y) * np.sin(tilt)
        v = (rows - y) * np.cos(tilt) - (columns - x) * np.sin(tilt)
        bend = v + 0.35 * short * (u / long) ** 2 * rng.choice([-1, 1])
        inside = (1 - (np.abs(u / long) ** 2.4 + np.abs(bend / short) ** 2.4) ** (1 / 2.4)) * short + ragged
        depth = np.where(inside > tissue, bend / short, depth)
        apart = np.abs(inside - tissue) - 0.012 * size * (1 + 0.3 * field(1200))
        tissue = np.minimum(
            np.maximum(tissue, inside), np.where(np.minimum(tissue, inside) > -400, apart, 1e4)
        )
    edge = np.minimum.reduce([rows, columns, size - rows, size - columns]) - 0.03 * size
    return np.minimum(tissue, edge - np.abs(0.025 * size * field(size / 6) - ragged)), depth


def _lobules(
    rng: np.random.Generator, field: NoiseField, tissue: Plane, size: int
) -> tuple[Plane, NDArray[np.int16], Positions]:
    """Warped Voronoi cells of about 0.4 mm: distance to their edge, index per node, centres (cells, 2)."""
    pitch = float(np.clip(size / 10, 650, 1500))
    grid = np.mgrid[-pitch / 2 : size + pitch : pitch, -pitch / 2 : size + pitch : pitch].reshape(2, -1).T
    centres = grid + rng.uniform(-0.42, 0.42, grid.shape) * pitch
    rows, columns = _nodes(size)
    warp = 0.17 * pitch
    places = np.stack(
        [
            rows + warp * (field(0.8 * pitch) + 0.25 * field(0.25 * pitch)),
            columns + warp * (field(0.8 * pitch) + 0.25 * field(0.25 * pitch)),
        ],
        axis=-1,
    )
    lobule, cell = np.full_like(rows, -1e4), np.zeros(rows.shape, np.int16)
    near = tissue > -12 * STEP
    distance, which = cKDTree(centres).query(places[near], k=2)
    lobule[near] = (distance[:, 1] - distance[:, 0]) / 2 - 38
    cell[near] = which[:, 0]
    return lobule + 8 * field(220).clip(-2, 1.8), cell, centres


def _choose_types(
    rng: np.random.Generator, field: NoiseField, depth: Plane, centres: Positions
) -> NDArray[np.uint8]:
    """Type of each lobule by depth: mucosa, then stroma with follicles, then muscle and fat."""
    node = np.clip(np.rint(centres / STEP), 0, depth.shape[0] - 1).astype(int)
    wandering = depth + 0.22 * field(field.size / 6)
    at = wandering[node[:, 0], node[:, 1]]
    odd = rng.uniform(size=len(at))
    types = np.full(len(at), _STROMA)
    types[at < 0.12] = _GLAND
    types[(at < 0.12) & (odd < 0.12)] = _LYMPHOID
    types[(at >= 0.12) & (at < 0.5) & (odd < 0.3)] = _LYMPHOID
    types[(at >= 0.12) & (at < 0.5) & (odd > 0.85)] = _MUSCLE
    types[at >= 0.5] = _FAT
    types[(at >= 0.5) & (odd < 0.35)] = _MUSCLE
    types[(at >= 0.5) & (odd > 0.85)] = _STROMA
    return types.astype(np.uint8)


def _plant_tumour(
    rng: np.random.Generator, field: NoiseField, tissue: Plane, size: int, fraction: float
) -> Plane:
    """Signed distance to the edge of a lobed region with satellites that fills `fraction` of the tissue."""
    rows, columns = _nodes(size)
    area = fraction * (tissue > 0).sum() * STEP**2
    radius = np.sqrt(area / np.pi)
    room = np.argwhere(tissue > min(0.9 * radius, 0.75 * tissue.max()))
    y, x = room[rng.integers(len(room))] * STEP
    ragged = 0.20 * field(1.1 * radius) + 0.05 * field(0.3 * radius)
    shape = np.hypot(rows - y, (columns - x) * rng.uniform(0.8, 1.25)) / radius - ragged
    for _ in range(rng.integers(1, 3)):
        angle, small = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.32)
        sy, sx = y + 1.55 * radius * np.sin(angle), x + 1.55 * radius * np.cos(angle)
        satellite = np.hypot(rows - sy, columns - sx) / radius - 0.5 * ragged + (1 - small)
        shape = np.minimum(shape, satellite)
    shape[tissue <= 0] = np.inf
    level = np.partition(shape.ravel(), int(area / STEP**2))[int(area / STEP**2)]
    inside = binary_fill_holes(shape < level)
    signed = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return gaussian_filter(signed, 1.2).astype(np.float32) * STEP


def _with_tumour(layout: Layout) -> Layout:
    """Add lobules for the tumour, with stroma between it and the other tissue."""
    inside = layout.tumour > 0
    if not inside.any():
        return layout
    found = np.unique(layout.cell[inside])
    renamed = np.zeros(len(layout.cell_type), np.int16)
    renamed[found] = len(layout.cell_type) + np.arange(len(found))
    return Layout(
        layout.tissue,
        layout.tumour,
        np.minimum(layout.lobule, np.abs(layout.tumour) - 30),
        np.where(inside, renamed[layout.cell], layout.cell).astype(np.int16),
        np.append(layout.cell_type, np.full(len(found), _TUMOUR, np.uint8)),
    )


def sample(field: Plane, ys: Positions, xs: Positions) -> Plane:
    """Bilinear values (h, w) float32 of a node field at level-0 px `ys` (h,) by `xs` (w,), both ascending."""
    low_y, share_y = _between(field.shape[0], ys)
    low_x, share_x = _between(field.shape[1], xs)
    needed = field[low_y[0] : low_y[-1] + 2]
    across = needed[:, low_x]
    across += (needed[:, low_x + 1] - across) * share_x
    low_y = low_y - low_y[0]
    values: Plane = across[low_y]
    values += (across[1:] - across[:-1])[low_y] * share_y[:, None]
    return values


def nearest(field: NDArray[np.int16], ys: Positions, xs: Positions) -> NDArray[np.int16]:
    """Values of a node field at the nodes nearest to level-0 px `ys` (h,) by `xs` (w,)."""
    rows, columns = (
        np.clip(np.rint(at / STEP), 0, n - 1).astype(int) for at, n in zip((ys, xs), field.shape, strict=True)
    )
    return field[rows][:, columns]


def _between(nodes: int, at: Positions) -> tuple[NDArray[np.intp], Plane]:
    """Index of the node at or before each position, and the fraction of the distance to the next node."""
    place = np.clip(at / STEP, 0, nodes - 1.001)
    low = place.astype(np.intp)
    return low, (place - low).astype(np.float32)
