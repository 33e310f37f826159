"""How well a model's attention agrees with an outline that somebody drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.regions import union_of

if TYPE_CHECKING:
    from napari_zoommil.annotations.regions import Region
    from napari_zoommil.geometry import PatchGrid


@dataclass(frozen=True)
class Agreement:
    """Attention against an outline at one magnification.

    Attributes
    ----------
    inside : float
        Share of the softmax attention that lies in the outline.
    expected : float
        The same for even attention: the outline's share of what was looked at.
    """

    inside: float
    expected: float


def coverage(
    grid: PatchGrid, level: int, rows: NDArray[np.int64], outline: Sequence[Region]
) -> NDArray[np.float64]:
    """(n,) share of each patch that lies within regions, level-0 y and x; holes are outside."""
    patches = grid.levels[level]
    y, x = patches.origins[rows].T
    height, width = patches.size
    boxes = shapely.box(y, x, y + height, x + width)
    return shapely.area(shapely.intersection(boxes, union_of(outline))) / (height * width)


def attention_agreement(
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    logits: NDArray[np.float32],
    outline: Sequence[Region],
) -> Agreement:
    """Agreement at one magnification."""
    share = coverage(grid, level, rows, outline)
    weight = np.exp(logits.astype(np.float64) - logits.max())
    return Agreement(float((weight / weight.sum()) @ share), float(share.mean()))
