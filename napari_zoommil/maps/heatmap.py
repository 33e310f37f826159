"""Scores of patches as a small image with a place on the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair, PatchGrid, magnification_name
from napari_zoommil.maps.methods import is_signed, title_of


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
        return is_signed(self.kind)

    @property
    def title(self) -> str:
        """Such as ``attention 10x`` or ``Grad-CAM tumour 10x``."""
        return f"{map_title(self.kind, self.target)} {magnification_name(self.magnification)}"

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
