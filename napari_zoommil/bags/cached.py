"""Bags on a feature cache: one that also fills it, and one that only reads."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.bag import LazyBag
from napari_zoommil.bags.cache import EncoderKey, FeatureCache, unwritable
from napari_zoommil.bags.grids import GridKey
from napari_zoommil.bags.group import Places, Writer
from napari_zoommil.bags.parts import DAMAGE
from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid, Rows

if TYPE_CHECKING:
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.slides import Slide

TAKEN_ROWS = 1024
"""Rows read from a cache between two opportunities to cancel."""


class CachedBag(LazyBag):
    """A :class:`LazyBag` that reads features from a cache and adds those that it encodes.

    Parameters
    ----------
    cache : FeatureCache
    slide, grid, encoder, variant, batch_size, workers
        As for a lazy bag.

    Attributes
    ----------
    unkept : str
        Why features could not be stored; empty if they were. A failure has no other effect.
    """

    def __init__(
        self,
        cache: FeatureCache,
        slide: Slide,
        grid: PatchGrid,
        encoder: Encoder,
        variant: int = 0,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> None:
        super().__init__(slide, grid, encoder, batch_size, workers, variant)
        self._cache, self._unkept = cache, ""
        key = EncoderKey(encoder.name, encoder.hash)
        self._groups = [
            cache.group(slide.fingerprint, key, level, grid.patch_size, variant) for level in grid.levels
        ]
        self._writers = [Writer(group) for group in self._groups]
        self._places: list[Places | None] = [None] * len(grid.levels)
        self._taken = [0] * len(grid.levels)

    def _anew(self, variant: int) -> Self:
        return type(self)(
            self._cache, self.slide, self.grid, self.encoder, variant, self.batch_size, self.workers
        )

    def stored(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification have features in memory or in the cache, (N,) bool."""
        return self._known[level] | self._found(level).known

    def _found(self, level: int) -> Places:
        found = self._places[level]
        if found is None:
            found = self._places[level] = self._groups[level].find(self.grid.levels[level].origins)
        return found

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Read features of ``rows`` from the cache or encode them; yields the rows of each batch."""
        yield from self._take(level, rows)
        try:
            with closing(super().encode(level, rows)) as batches:
                yield from batches
        finally:
            self._save(self._writers[level].flush)

    def _take(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Read those of ``rows`` that the cache has."""
        found = self._found(level)
        wanted = found.in_order(rows[found.known[rows] & ~self._known[level][rows]])
        for start in range(0, len(wanted), TAKEN_ROWS):
            part = wanted[start : start + TAKEN_ROWS]
            features = found.read(part)
            whole = ~np.isnan(features[:, :1]).any(1) & (features.shape[1] == self.encoder.dim)
            if whole.any():
                super()._keep(level, part[whole], features[whole])
                self._taken[level] += int(whole.sum())
                yield part[whole]

    def _keep(self, level: int, rows: Rows, features: NDArray[np.float32]) -> None:
        """Keep features, rounded as in the cache, and add them to the cache."""
        rounded = self._groups[level].rounded(features)
        super()._keep(level, rows, rounded.astype(np.float32))
        origins = self.grid.levels[level].origins[rows]
        self._save(lambda: self._writers[level].add(origins, rounded))

    def _save(self, write: Callable[[], int]) -> None:
        """Write to the cache; after a failure, store the reason and stop writing."""
        if self._unkept:
            return
        try:
            self._cache.wrote(write())
        except DAMAGE as error:
            self._unkept = unwritable(self._cache.folder, error)

    @property
    def unkept(self) -> str:
        return self._unkept or next((one.unkept for one in self._turned.values() if one.unkept), "")

    @property
    def taken(self) -> tuple[int, ...]:
        """Number of patches whose features came from the cache, at each magnification, in all variants."""
        return self._summed(self._taken, "taken")

    @property
    def encoded(self) -> tuple[int, ...]:
        """Number of patches encoded by this bag at each magnification, in all variants."""
        own = (int(known.sum()) - taken for known, taken in zip(self._known, self._taken, strict=True))
        return self._summed(own)


class StoredBag:
    """A bag whose features are all in a cache, from which they are read on demand.

    The memory of all bags of a cache is bounded together, so that it does not grow with the cohort.

    Parameters
    ----------
    cache : FeatureCache
    fingerprint : str
        Fingerprint of the slide.
    key : GridKey
        Key of its patch grid.
    encoder : EncoderKey
    variant : int
    """

    def __init__(
        self, cache: FeatureCache, fingerprint: str, key: GridKey, encoder: EncoderKey, variant: int = 0
    ) -> None:
        self.fingerprint, self.encoder = fingerprint, encoder
        self._cache, self._key, self._variant = cache, key, variant

    @property
    def grid(self) -> PatchGrid:
        """The patches of the slide.

        Raises
        ------
        StoreError
            If the grid is not in the cache.
        """
        return self._cache.recent.get((self.fingerprint, self._key), self._read_grid)

    def _read_grid(self) -> PatchGrid:
        found = self._cache.grid(self.fingerprint, self._key)
        if found is None:
            raise StoreError(f"{self._cache.folder} does not hold the patches of this slide; embed it again")
        return found

    def _places(self, level: int) -> Places:
        def find() -> Places:
            patches = self.grid.levels[level]
            which = patches, self.grid.patch_size, self._variant
            return self._cache.group(self.fingerprint, self.encoder, *which).find(patches.origins)

        return self._cache.recent.get((self.fingerprint, self._key, self.encoder, self._variant, level), find)

    @property
    def encoder_hash(self) -> str:
        return self.encoder.hash

    @cached_property
    def dim(self) -> int:
        """Features per patch."""
        return self._places(0).dim

    def variant(self, variant: int) -> StoredBag:
        """The bag of the same patches in another variant; reading features that are missing is an error."""
        return StoredBag(self._cache, self.fingerprint, self._key, self.encoder, variant)

    def missing(self) -> tuple[int, ...]:
        """Number of patches without features at each magnification."""
        return tuple(int((~self._places(level).known).sum()) for level in range(len(self.grid.levels)))

    def features(self, level: int, rows: Rows) -> Tensor:
        """(len(rows), D) float32.

        Raises
        ------
        StoreError
            If some are missing.
        """
        places = self._places(level)
        found = places.read(rows, self._cache.recent.rows)
        if not places.dim or np.isnan(found[:, 0]).any():
            raise StoreError(
                f"{self._cache.folder} lacks features of the slide {self.fingerprint[:8]}; embed it again"
            )
        return torch.from_numpy(found.astype(np.float32))
