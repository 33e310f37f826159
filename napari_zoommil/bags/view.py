"""A part of a slide's grid, answered from the bag of the whole."""

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
    """Some patches of the lowest magnification with all inside them, as a bag of their own.

    Parameters
    ----------
    whole : LazyBag
        Encodes and remembers.
    trees : (m,) int64
        Rows at the lowest magnification of ``whole``.

    Attributes
    ----------
    grid : PatchGrid
        Of the part.
    rows : tuple of (n,) int64
        Where its patches stand in ``whole``, ascending, for each magnification.
    """

    def __init__(self, whole: LazyBag, trees: Rows) -> None:
        self.whole, self.slide = whole, whole.slide
        self.grid, self.rows = subtrees(whole.grid, trees)

    @property
    def encoder_hash(self) -> str:
        return self.whole.encoder_hash

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification are encoded, (N,) bool."""
        return self.whole.known(level)[self.rows[level]]

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Encode those of ``rows`` that are not known yet; yields the rows of each batch done."""
        with closing(self.whole.encode(level, self.rows[level][rows])) as batches:
            for chunk in batches:
                yield np.searchsorted(self.rows[level], chunk)

    def features(self, level: int, rows: Rows) -> Tensor:
        return self.whole.features(level, self.rows[level][rows])
