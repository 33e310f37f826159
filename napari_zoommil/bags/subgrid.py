"""A part of a slide as a bag of its own: some patches of the lowest magnification with all inside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, from_numpy

from napari_zoommil.geometry import PatchGrid, Rows


def roots(grid: PatchGrid, level: int, rows: Rows) -> Rows:
    """(m,) patches of the lowest magnification that hold the given ones, ascending and each once."""
    for above in range(level, 0, -1):
        rows = grid.levels[above].parent[rows]
    return np.unique(rows)


def subtrees(grid: PatchGrid, trees: Rows) -> tuple[PatchGrid, tuple[Rows, ...]]:
    """The grid of some patches of the lowest magnification and of all patches inside them.

    Parameters
    ----------
    grid : PatchGrid
    trees : (m,) int64
        Rows at the lowest magnification.

    Returns
    -------
    part : PatchGrid
    rows : tuple of (n,) int64
        Where the patches of each magnification stand in ``grid``.
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
    """(N,) patches of all magnifications within each one of the lowest, itself among them."""
    sizes = np.ones(len(grid.levels[-1]), np.int64)
    for level in range(len(grid.levels) - 1, 0, -1):
        inside = np.bincount(grid.levels[level].parent, sizes, len(grid.levels[level - 1]))
        sizes = 1 + inside.astype(np.int64)
    return sizes


@dataclass(frozen=True, eq=False)
class TensorBag:
    """A bag whose features are all in memory.

    Attributes
    ----------
    grid : PatchGrid
    tensors : tuple of (N, D) Tensor
        Of each magnification.
    encoder_hash : str
        Of what made them; empty where that is not known.
    """

    grid: PatchGrid
    tensors: tuple[Tensor, ...]
    encoder_hash: str = ""

    def features(self, level: int, rows: Rows) -> Tensor:
        return self.tensors[level][from_numpy(rows)]
