"""The bag of a part of a slide, which takes its features from the bag of the whole slide."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.bag import LazyBag
from napari_zoommil.bags.subgrid import subtrees
from napari_zoommil.geometry import Rows


class PartBag:
    """The bag of some patches of the lowest magnification and all their descendants.

    Parameters
    ----------
    whole : LazyBag
        Bag of the whole slide.
    trees : (m,) int64
        Rows at the lowest magnification of ``whole``.

    Attributes
    ----------
    grid : PatchGrid
        Grid of the part.
    rows : tuple of (n,) int64
        Rows in ``whole`` of its patches, ascending, at each magnification.
    """

    def __init__(self, whole: LazyBag, trees: Rows) -> None:
        self.whole, self.slide = whole, whole.slide
        self.grid, self.rows = subtrees(whole.grid, trees)

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification have features in memory, (N,) bool."""
        return self.whole.known(level)[self.rows[level]]

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Encode those of ``rows`` that are not in memory yet; yields the rows of each finished batch."""
        with closing(self.whole.encode(level, self.rows[level][rows])) as batches:
            for chunk in batches:
                yield np.searchsorted(self.rows[level], chunk)

    def features(self, level: int, rows: Rows) -> Tensor:
        return self.whole.features(level, self.rows[level][rows])
