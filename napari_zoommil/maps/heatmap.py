"""Scores of patches as a small image with a place on the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import ROUNDING, Box, Pair, PatchGrid, PatchLevel, magnification_name
from napari_zoommil.maps.methods import is_signed, title_of

OFF_LATTICE = 0.05
"""Distance from a lattice, of its step, up to which patches lie on it: coordinates in files are rounded."""

SAME_LENGTH = 0.01
"""Relative difference up to which patches are as large as the distance between them."""

MOST_PARTS, MOST_VALUES = 4, 4_000_000
"""Most values along the distance between patches that overlap, and most in all."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One value per patch of one magnification, or per part of one where patches overlap.

    Attributes
    ----------
    values : (h, w) float32
        Raw scores, in the unit of the method. NaN = not looked at.
    origin : (float, float)
        Level-0 y, x of the top-left corner of the map.
    downsample : (float, float)
        Level-0 px per value, y and x.
    mpp : (float, float) or None
        Level-0 µm/px of the slide.
    magnification : float
    kind : str
        Name of a method, or of a head of a model's scores such as ``zoom``.
    target : str or None
        Class it speaks for.
    """

    values: NDArray[np.float32]
    origin: Pair
    downsample: Pair
    mpp: Pair | None
    magnification: float
    kind: str
    target: str | None = None

    @property
    def signed(self) -> bool:
        """Whether zero is the neutral value: the map speaks for and against an output."""
        return is_signed(self.kind)

    @property
    def title(self) -> str:
        """Such as ``attention 10x`` or ``Grad-CAM tumour 10x``."""
        return f"{map_title(self.kind, self.target)} {magnification_name(self.magnification)}"

    @property
    def box(self) -> Box:
        """What it covers."""
        height, width = (step * count for step, count in zip(self.downsample, self.values.shape, strict=True))
        return Box(*self.origin, height, width)

    def inside(self, box: Box) -> HeatMap | None:
        """The part whose values touch a rectangle; None if there is none."""
        low, high = np.array((box.y, box.x)), np.array((box.y + box.height, box.x + box.width))
        origin, step = np.asarray(self.origin), np.asarray(self.downsample)
        first = np.floor((low - origin) / step + ROUNDING).clip(0, None).astype(int)
        last = np.minimum(np.ceil((high - origin) / step - ROUNDING), self.values.shape).astype(int)
        if not (last > first).all():
            return None
        y, x = (origin + first * step).tolist()
        return replace(self, values=self.values[first[0] : last[0], first[1] : last[1]], origin=(y, x))

    def at(self, y: float, x: float) -> float | None:
        """Raw score at a level-0 point, or None where nothing was looked at."""
        row = int(np.floor((y - self.origin[0]) / self.downsample[0]))
        column = int(np.floor((x - self.origin[1]) / self.downsample[1]))
        if not (0 <= row < self.values.shape[0] and 0 <= column < self.values.shape[1]):
            return None
        value = self.values[row, column]
        return None if np.isnan(value) else float(value)


def map_title(kind: str, target: str | None) -> str:
    """Of the maps of all magnifications: such as ``attention`` or ``Grad-CAM tumour``."""
    return " ".join(word for word in (title_of(kind), target) if word)


def kind_of_head(head: str, names: Sequence[str]) -> tuple[str, str | None]:
    """Kind and output of a head of a model's scores.

    One named as an output is the attention to it; ``instance tumour`` is of the kind ``instance``.
    """
    if head in names:
        return "attention", head
    ends = [name for name in names if head.endswith(f" {name}")]
    target = max(ends, key=len, default=None)
    return (head if target is None else head.removesuffix(f" {target}")), target


def rasterise(
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    mpp: Pair | None,
    kind: str,
    target: str | None = None,
) -> HeatMap:
    """A map of the scores of some patches; it covers all patches of the level, so that its extent
    does not change while it fills.

    A value is the score of one patch. Where patches overlap, or lie on no common lattice, it is that of a
    part of a patch: the mean of the patches that contain its middle. Where a map would have more than
    ``MOST_VALUES`` values, they are of larger places: each the mean of the patches whose middles lie in it.
    """
    patches = grid.levels[level]
    y, x = patches.origins.min(0).tolist()
    found = _tiled(patches, rows, scores)
    step, values = _averaged(patches, rows, scores) if found is None else (patches.stride, found)
    return HeatMap(values, (y, x), step, mpp, patches.magnification, kind, target)


def _tiled(
    patches: PatchLevel, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """(h, w) scores of patches that tile the plane; None if they do not, or there are too many places."""
    stride = np.asarray(patches.stride)
    at = (patches.origins - patches.origins.min(0)) / stride
    if np.prod(at.max(0) + 1) > MOST_VALUES:
        return None
    places = np.rint(at).astype(np.int64)
    if not np.allclose(stride, patches.size, rtol=SAME_LENGTH) or np.abs(at - places).max() > OFF_LATTICE:
        return None
    values = np.full(places.max(0) + 1, np.nan, np.float32)
    values[tuple(places[rows].T)] = scores
    return values


def _averaged(
    patches: PatchLevel, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> tuple[Pair, NDArray[np.float32]]:
    """Level-0 px per value, and (h, w) means of the patches that contain the middle of each; of a value that
    is larger than a patch, of those whose middle it contains.

    Each patch adds its score at two corners of a table and takes it away at the others, so that the sums
    along both axes are the totals, at a cost that does not depend on how many patches lie on a place.
    """
    first, size = patches.origins.min(0), np.asarray(patches.size)
    step = _cell(patches)
    shape = np.ceil((patches.origins.max(0) + size - first) / step - ROUNDING).astype(np.int64)
    known = ~np.isnan(scores)
    reach = np.maximum(size / step, 1)
    near = (patches.origins[rows[known]] + size / 2 - first) / step - reach / 2 - 0.5
    low, high = (np.ceil(edge - ROUNDING).astype(np.int64).clip(0, shape) for edge in (near, near + reach))
    sums = np.zeros((2, *(shape + 1)))
    for y, x, sign in ((low, low, 1), (low, high, -1), (high, low, -1), (high, high, 1)):
        np.add.at(sums[0], (y[:, 0], x[:, 1]), sign * scores[known].astype(np.float64))
        np.add.at(sums[1], (y[:, 0], x[:, 1]), sign)
    total, count = sums.cumsum(1).cumsum(2)[:, :-1, :-1]
    values = np.full(tuple(shape), np.nan, np.float32)
    covered = count > 0.5
    values[covered] = total[covered] / count[covered]
    return (float(step[0]), float(step[1])), values


def _cell(patches: PatchLevel) -> NDArray[np.float64]:
    """(2,) level-0 px per value: the distance between patches, or its largest part of which a patch is a
    multiple; of patches on no common lattice, a part of a patch."""
    size, stride = np.asarray(patches.size), np.asarray(patches.stride)
    at = (patches.origins - patches.origins.min(0)) / stride
    if np.abs(at - np.rint(at)).max() > OFF_LATTICE:
        step = size / MOST_PARTS
    else:
        whole = [
            parts
            for parts in range(1, MOST_PARTS + 1)
            if np.allclose(size * parts / stride, np.rint(size * parts / stride), atol=OFF_LATTICE)
        ]
        step = stride / (whole or [MOST_PARTS])[0]
    extent = np.ptp(patches.origins, 0) + size
    return step * max(1.0, np.sqrt(np.prod(extent / step) / MOST_VALUES))


def score_map(
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    mpp: Pair | None,
    head: str,
    names: Sequence[str],
) -> HeatMap:
    """A map of one head of a model's scores; see :func:`kind_of_head`.

    Parameters
    ----------
    scores : (n,) float32
    head : str
        As the model names it.
    names : sequence of str
        Of the model's outputs.
    """
    kind, target = kind_of_head(head, names)
    return rasterise(grid, level, rows, scores, mpp, kind, target)
