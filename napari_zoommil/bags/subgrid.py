"""Subgrids: some patches of the lowest magnification with all their descendants."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, from_numpy

from napari_zoommil.geometry import PatchGrid, Rows


def roots(grid: PatchGrid, level: int, rows: Rows) -> Rows:
    """(m,) patches of the lowest magnification that contain the given ones, ascending and unique."""
    for above in range(level, 0, -1):
        rows = grid.levels[above].parent[rows]
    return np.unique(rows)


def subtrees(grid: PatchGrid, trees: Rows) -> tuple[PatchGrid, tuple[Rows, ...]]:
    """The grid of some patches of the lowest magnification and all their descendants.

    Parameters
    ----------
    grid : PatchGrid
    trees : (m,) int64
        Rows at the lowest magnification.

    Returns
    -------
    part : PatchGrid
    rows : tuple of (n,) int64
        Rows in ``grid`` of the patches of each magnification.
    """
    taken = [np.unique(trees)]
    levels = [grid.levels[0].chosen(taken[0], np.full(len(taken[0]), -1, np.int64))]
    for level in range(1, len(grid.levels)):
        children = grid.children(level - 1, taken[-1])
        parent = np.searchsorted(taken[-1], grid.levels[level].parent[children])
        levels.append(grid.levels[level].chosen(children, parent))
        taken.append(children)
    return replace(grid, levels=tuple(levels)), tuple(taken)


def tree_sizes(grid: PatchGrid) -> Rows:
    """(N,) number of patches of all magnifications in each patch of the lowest one, itself included."""
    sizes = np.ones(len(grid.levels[-1]), np.int64)
    for level in range(len(grid.levels) - 1, 0, -1):
        inside = np.bincount(grid.levels[level].parent, sizes, len(grid.levels[level - 1]))
        sizes = 1 + inside.astype(np.int64)
    return sizes


@dataclass(frozen=True, eq=False)
class TensorBag:
    """A bag with all features in memory.

    Attributes
    ----------
    grid : PatchGrid
    tensors : tuple of (N, D) Tensor
        Features at each magnification.
    """

    grid: PatchGrid
    tensors: tuple[Tensor, ...]

    def features(self, level: int, rows: Rows) -> Tensor:
        return self.tensors[level][from_numpy(rows)]
