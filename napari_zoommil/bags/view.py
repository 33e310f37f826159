"""Bags that are views on the bag of a whole slide: with fewer patches, or with other features."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.bag import LazyBag
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.bags.subgrid import subtrees
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid, Rows

Whole = LazyBag | PixelBag


class PartBag:
    """The bag of some patches of another bag.

    Parameters
    ----------
    whole : LazyBag or PixelBag
        Bag of the whole slide.
    grid : PatchGrid
        Grid of the part.
    rows : tuple of (n,) int64
        Rows in ``whole`` of its patches, ascending, at each magnification.
    """

    def __init__(self, whole: Whole, grid: PatchGrid, rows: tuple[Rows, ...]) -> None:
        self.whole, self.slide, self.holds = whole, whole.slide, whole.holds
        self.grid, self.rows = grid, rows

    @classmethod
    def of_trees(cls, whole: LazyBag, trees: Rows) -> PartBag:
        """The bag of some patches of the lowest magnification, (m,) rows, and all their descendants."""
        return cls(whole, *subtrees(whole.grid, trees))

    @property
    def encoder_hash(self) -> str:
        return self.whole.encoder_hash

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

    def variant(self, variant: int) -> PartBag:
        """The same patches, rotated or mirrored before they are encoded."""
        return PartBag(self.whole.variant(variant), self.grid, self.rows)


class ReplacedBag:
    """A bag in which some patches have the features of another one.

    Parameters
    ----------
    whole : LazyBag or PixelBag
    rows : tuple of (n,) int64
        The patches, at each magnification.
    features : (…) Tensor
        Features of one patch, see :func:`glass_of`.
    """

    def __init__(self, whole: Whole, rows: tuple[Rows, ...], features: Tensor) -> None:
        self.whole, self.grid, self.holds = whole, whole.grid, whole.holds
        self._rows, self._features = rows, features

    @property
    def encoder_hash(self) -> str:
        return self.whole.encoder_hash

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification have features, (N,) bool."""
        known = self.whole.known(level).copy()
        known[self._rows[level]] = True
        return known

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Encode those of ``rows`` that are not in memory yet; yields the rows of each finished batch."""
        yield from self.whole.encode(level, rows[~np.isin(rows, self._rows[level])])

    def features(self, level: int, rows: Rows) -> Tensor:
        other = np.isin(rows, self._rows[level])
        kept = self.whole.features(level, rows[~other])
        out = kept.new_empty((len(rows), *kept.shape[1:]))
        out[torch.from_numpy(~other)] = kept
        out[torch.from_numpy(other)] = self._features.to(kept.dtype)
        return out

    def variant(self, variant: int) -> ReplacedBag:
        """The same, with the other patches rotated or mirrored before they are encoded."""
        return ReplacedBag(self.whole.variant(variant), self._rows, self._features)


def glass_of(bag: Whole) -> Tensor:
    """The answer of a bag for a patch of the slide's background: (D,) features, or (3, p, p) uint8."""
    if not hasattr(bag, "encoder") and bag.holds == "features":
        raise ModelError(
            "this method encodes glass, but features in files come without their encoder; take another "
            "method, such as leave-one-out"
        )
    size = bag.grid.patch_size
    assert bag.slide is not None
    pixels = np.broadcast_to(np.asarray(bag.slide.background, np.uint8), (1, size, size, 3)).copy()
    if isinstance(bag, PixelBag):
        return torch.from_numpy(pixels[0]).permute(2, 0, 1)
    return torch.from_numpy(bag.encoder(pixels)[0].cpu().numpy())
