"""Parts of a patch grid that are grids of their own: what holds a patch also holds all patches inside it."""

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
    rows = inside(grid, 0, np.unique(trees))
    return _restricted(grid, rows), rows


def inside(grid: PatchGrid, level: int, rows: Rows) -> tuple[Rows, ...]:
    """(n,) rows at each magnification that are some patches of one level or lie inside them, ascending.

    Parameters
    ----------
    grid : PatchGrid
    level : int
    rows : (m,) int64
        At ``level``, ascending.
    """
    found = [np.empty(0, np.int64)] * level + [rows]
    for above in range(level, len(grid.levels) - 1):
        found.append(grid.children(above, found[-1]))
    return tuple(found)


def without(grid: PatchGrid, level: int, row: int) -> tuple[PatchGrid, tuple[Rows, ...]]:
    """The grid less a patch and all patches inside it.

    Returns
    -------
    part : PatchGrid
    rows : tuple of (n,) int64
        Where the patches of each magnification stand in ``grid``.
    """
    gone = inside(grid, level, np.array([row]))
    rows = tuple(np.delete(np.arange(len(one)), gone[n]) for n, one in enumerate(grid.levels))
    return _restricted(grid, rows), rows


def _restricted(grid: PatchGrid, rows: tuple[Rows, ...]) -> PatchGrid:
    """The grid of some patches, whose parents are among them."""
    levels = [grid.levels[0].chosen(rows[0], np.full(len(rows[0]), -1, np.int64))]
    for above, own, level in zip(rows, rows[1:], grid.levels[1:], strict=False):
        levels.append(level.chosen(own, np.searchsorted(above, level.parent[own])))
    return replace(grid, levels=tuple(levels))


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
