"""Subgrids: some patches of a grid, each with all its descendants."""

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
    rows = inside(grid, 0, np.unique(trees))
    return _restricted(grid, rows), rows


def inside(grid: PatchGrid, level: int, rows: Rows) -> tuple[Rows, ...]:
    """(n,) rows at each magnification of some patches of one level and their descendants, ascending.

    Parameters
    ----------
    grid : PatchGrid
    level : int
    rows : (m,) int64
        Rows at ``level``, ascending.
    """
    found = [np.empty(0, np.int64)] * level + [rows]
    for above in range(level, len(grid.levels) - 1):
        found.append(grid.children(above, found[-1]))
    return tuple(found)


def without(grid: PatchGrid, level: int, rows: Rows) -> tuple[PatchGrid, tuple[Rows, ...]]:
    """The grid without some patches of one level and their descendants.

    Parameters
    ----------
    grid : PatchGrid
    level : int
    rows : (m,) int64
        Rows at ``level``, ascending.

    Returns
    -------
    part : PatchGrid
    rows : tuple of (n,) int64
        Rows in ``grid`` of the patches of each magnification.
    """
    gone = inside(grid, level, rows)
    kept = tuple(np.delete(np.arange(len(one)), gone[n]) for n, one in enumerate(grid.levels))
    return _restricted(grid, kept), kept


def _restricted(grid: PatchGrid, rows: tuple[Rows, ...]) -> PatchGrid:
    """The grid of some patches, which must include their parents."""
    levels = [grid.levels[0].chosen(rows[0], np.full(len(rows[0]), -1, np.int64))]
    for above, own, level in zip(rows, rows[1:], grid.levels[1:], strict=False):
        levels.append(level.chosen(own, np.searchsorted(above, level.parent[own])))
    return replace(grid, levels=tuple(levels))


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
    encoder_hash : str
        Hash of the encoder; empty if it is unknown.
    """

    grid: PatchGrid
    tensors: tuple[Tensor, ...]
    encoder_hash: str = ""

    def features(self, level: int, rows: Rows) -> Tensor:
        own = self.tensors[level]
        # all rows are returned without a copy, because they may take a large part of the memory
        return own if np.array_equal(rows, np.arange(len(own))) else own[from_numpy(rows)]
