"""Scores of patches as a small image with a place on the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair, PatchGrid, magnification_name
from napari_zoommil.maps.methods import METHODS, title_of

Scaling = Literal["percentile", "min-max", "raw"]


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One value per patch of one magnification.

    Attributes
    ----------
    values : (h, w) float32
        Raw scores, in the unit of the method. NaN = not looked at.
    origin : (float, float)
        Level-0 y, x of the top-left corner of the map.
    downsample : (float, float)
        Level-0 px per value, y and x: the distance between patches.
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
        return self.kind in METHODS and METHODS[self.kind].signed

    @property
    def title(self) -> str:
        """Such as ``attention 10x`` or ``Grad-CAM tumour 10x``."""
        words = (title_of(self.kind), self.target, magnification_name(self.magnification))
        return " ".join(word for word in words if word)

    def at(self, y: float, x: float) -> float | None:
        """Raw score at a level-0 point, or None where nothing was looked at."""
        row = int(np.floor((y - self.origin[0]) / self.downsample[0]))
        column = int(np.floor((x - self.origin[1]) / self.downsample[1]))
        if not (0 <= row < self.values.shape[0] and 0 <= column < self.values.shape[1]):
            return None
        value = self.values[row, column]
        return None if np.isnan(value) else float(value)


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
    does not change while it fills. Each value lies round the middle of its patch."""
    patches = grid.levels[level]
    stride, first = np.asarray(patches.stride), patches.origins.min(0)
    places = np.rint((patches.origins - first) / stride).astype(np.int64)
    values = np.full(places.max(0) + 1, np.nan, np.float32)
    values[tuple(places[rows].T)] = scores
    y, x = first + (np.asarray(patches.size) - stride) / 2
    return HeatMap(values, (float(y), float(x)), patches.stride, mpp, patches.magnification, kind, target)


def score_map(
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    mpp: Pair | None,
    head: str,
    names: Sequence[str],
) -> HeatMap:
    """A map of one head of a model's scores; a head that is named as an output is the attention to it.

    Parameters
    ----------
    scores : (n,) float32
    head : str
        As the model names it.
    names : sequence of str
        Of the model's outputs.
    """
    kind, target = ("attention", head) if head in names else (head, None)
    return rasterise(grid, level, rows, scores, mpp, kind, target)


def display_values(maps: Sequence[HeatMap], scaling: Scaling) -> list[NDArray[np.float32]]:
    """Values to show, NaN kept: 0 to 1, or −1 to 1 around a neutral 0 for signed maps.

    Parameters
    ----------
    maps : sequence of HeatMap
        Maps of one kind, one per magnification.
    scaling : {"percentile", "min-max", "raw"}
        ``percentile`` ranks the patches of each magnification, ``min-max`` stretches each
        magnification by itself, ``raw`` keeps one scale over all of them.
    """
    if scaling == "percentile":
        return [_ranked(m.values, m.signed) for m in maps]
    if scaling == "min-max":
        return [_stretched(m.values, m.signed, [m.values]) for m in maps]
    return [_stretched(m.values, m.signed, [other.values for other in maps]) for m in maps]


def _ranked(values: NDArray[np.float32], signed: bool) -> NDArray[np.float32]:
    """Share of values that are smaller (ties share their mean rank); by size and sign if signed."""
    from scipy.stats import rankdata

    known = ~np.isnan(values)
    out = np.full_like(values, np.nan)
    if not known.any():
        return out
    size = np.abs(values[known]) if signed else values[known]
    ranks = (rankdata(size) - 1) / max(1, len(size) - 1) if len(size) > 1 else np.ones(1)
    out[known] = ranks * np.sign(values[known]) if signed else ranks
    return out


def _stretched(
    values: NDArray[np.float32], signed: bool, over: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    known = np.concatenate([other[~np.isnan(other)] for other in over])
    if not len(known):
        return values.copy()
    if signed:
        return values / max(float(np.abs(known).max()), 1e-12)
    low, high = float(known.min()), float(known.max())
    if low == high:
        return np.where(np.isnan(values), values, np.float32(1))
    return (values - low) / (high - low)
