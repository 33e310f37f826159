"""Batches of patches, or of pairs of them, reproducible by seed, epoch and number of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from napari_zoommil.errors import CohortError
from napari_zoommil.training.callbacks import seed_of
from napari_zoommil.training.encoders.patches import NO_NEIGHBOUR, PatchSet

SAME = 0.5
"""Share of the pairs that are of the same place."""

ADJACENT = 0.75
"""Share of the other pairs that are of adjacent places; the rest is of different slides (sec. 2.2)."""


class Batch(NamedTuple):
    """A batch as a module gets it.

    Attributes
    ----------
    first : (B, p, p, c) uint8
    second : (B, p, p, c) uint8
        Of pairs; empty of single patches.
    targets : (B,) int64
        Whether a pair is of the same place (1), or the class of a patch.
    seed : int
        Of this batch.
    """

    first: Tensor
    second: Tensor
    targets: Tensor
    seed: int


Draw = tuple[NDArray[np.int64], int]
"""Rows of a batch, and its seed."""


class Shuffled(Sampler[Draw]):
    """Rows of each training batch: every patch once before any is drawn again.

    Parameters
    ----------
    count, batch : int
        Patches, and patches per batch.
    batches : int
        Batches per epoch.
    seed : int
    """

    def __init__(self, count: int, batch: int, batches: int, seed: int) -> None:
        self.count, self.batch, self.batches = count, batch, batches
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning's hook, with which a resumed fit has the order of an uninterrupted one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Draw]:
        # Drawn lazily, because Lightning creates the iterator before it sets the epoch of a resumed fit.
        rows = np.empty(0, np.int64)
        rng = np.random.default_rng(seed_of(self.seed, self.epoch))
        for number in range(self.batches):
            while len(rows) < self.batch:
                rows = np.concatenate([rows, rng.permutation(self.count)])
            yield rows[: self.batch], seed_of(self.seed, self.epoch, number)
            rows = rows[self.batch :]


class InOrder(Sampler[Draw]):
    """The same evenly spaced patches in each epoch, at most ``most``."""

    def __init__(self, count: int, batch: int, most: int, seed: int) -> None:
        self.rows = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
        self.batch, self.seed = batch, seed

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch)

    def __iter__(self) -> Iterator[Draw]:
        for number in range(len(self)):
            start = number * self.batch
            yield self.rows[start : start + self.batch], seed_of(self.seed, number)


class Singles(Dataset[Batch]):
    """Single patches with their labels."""

    def __init__(self, patches: PatchSet) -> None:
        self.patches = patches

    def __getitem__(self, draw: Draw) -> Batch:
        rows, seed = draw
        first = torch.from_numpy(np.ascontiguousarray(self.patches.pixels[rows]))
        return Batch(first, first[:0], torch.from_numpy(self.patches.labels[rows]), seed)


class Pairs(Dataset[Batch]):
    """Pairs of patches: half of the same place, of which two augmentations differ; of the others 75 % of
    adjacent places and 25 % of other slides. Where a patch has no neighbour, the pair is of other slides.

    Raises
    ------
    CohortError
        If all patches are of one image and without neighbours.
    """

    def __init__(self, patches: PatchSet) -> None:
        self.patches = patches
        self._order = np.argsort(patches.images, kind="stable")
        numbers = patches.images[self._order]
        self._starts = np.searchsorted(numbers, patches.images, "left")
        self._ends = np.searchsorted(numbers, patches.images, "right")
        if len(np.unique(numbers)) == 1 and (patches.neighbours == NO_NEIGHBOUR).all():
            raise CohortError(
                "pairs of different places need adjacent patches, or more than one slide (or picture)"
            )

    @property
    def adjacent_share(self) -> float:
        """Expected share of the pairs of different places that are adjacent: :data:`ADJACENT` where all
        patches have a neighbour, and there are several images."""
        has_one = self.patches.neighbours != NO_NEIGHBOUR
        several = self._ends - self._starts < len(self._order)
        drawn = has_one | several
        return float(np.where(several, ADJACENT, 1.0)[has_one].sum() / max(1, drawn.sum()))

    def __getitem__(self, draw: Draw) -> Batch:
        rows, seed = draw
        rng = np.random.default_rng(seed)
        neighbour = self.patches.neighbours[rows]
        several = self._ends[rows] - self._starts[rows] < len(self._order)
        has_one = neighbour != NO_NEIGHBOUR
        same = (rng.random(len(rows)) < SAME) | ~(has_one | several)
        adjacent = has_one & ((rng.random(len(rows)) < ADJACENT) | ~several)
        other = np.where(same, rows, np.where(adjacent, neighbour, self._elsewhere(rows, rng)))
        first, second = (
            torch.from_numpy(np.ascontiguousarray(self.patches.pixels[one])) for one in (rows, other)
        )
        return Batch(first, second, torch.from_numpy(same.astype(np.int64)), seed)

    def _elsewhere(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """For each patch a random one of another image; itself where there is no other image."""
        starts, ends = self._starts[rows], self._ends[rows]
        others = len(self._order) - (ends - starts)
        drawn = (rng.random(len(rows)) * others).astype(np.int64)
        place = np.where(drawn < starts, drawn, drawn + ends - starts)
        return np.where(others > 0, self._order[place.clip(max=len(self._order) - 1)], rows)


def batches(data: Singles | Pairs, draws: Shuffled | InOrder) -> DataLoader[Batch]:
    """A data loader of whole batches."""
    return DataLoader(data, batch_size=None, sampler=draws)
