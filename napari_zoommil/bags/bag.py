"""Bags, the input of MIL models: the patch grid of a slide and the features of its patches."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.encoding import encode_batches
from napari_zoommil.bags.reading import read_batches
from napari_zoommil.encoders import Encoder
from napari_zoommil.encoders.turned import turned
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.slides import Slide

Holds = Literal["features", "pixels"]
"""Kind of data with which a bag answers."""

Wanted = tuple[int, Rows]
"""Index into the grid's magnifications, and rows of patches at that magnification."""


class Bag(Protocol):
    """Features by magnification and row.

    Attributes
    ----------
    grid : PatchGrid
    encoder_hash : str
        Hash of the encoder; empty if it is unknown, or if there are no features.
    """

    @property
    def grid(self) -> PatchGrid: ...

    @property
    def encoder_hash(self) -> str: ...

    def features(self, level: int, rows: Rows) -> Tensor:
        """(len(rows), D) float32."""
        ...


class LazyBag:
    """A bag that encodes patches on demand and keeps their features in memory.

    Parameters
    ----------
    slide : Slide
        A handle that only this job uses.
    grid : PatchGrid
    encoder : Encoder
    batch_size : int
    workers : int, optional
        Reader threads.
    variant : int
        Rotation and flip of the patches before encoding, see :func:`~napari_zoommil.encoders.turned.turned`.
    """

    grid: PatchGrid
    holds: ClassVar[Holds] = "features"

    def __init__(
        self,
        slide: Slide,
        grid: PatchGrid,
        encoder: Encoder,
        batch_size: int = 64,
        workers: int | None = None,
        variant: int = 0,
    ) -> None:
        self.slide, self.grid, self.encoder = slide, grid, encoder
        self.batch_size, self.workers, self.turn = batch_size, workers, variant
        self._features = [np.zeros((len(level), encoder.dim), np.float32) for level in grid.levels]
        self._known = [np.zeros(len(level), bool) for level in grid.levels]
        self._turned: dict[int, Self] = {}

    @property
    def encoder_hash(self) -> str:
        return self.encoder.hash

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification have features in memory, (N,) bool."""
        return self._known[level]

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Encode those of ``rows`` that are not in memory yet; yields the rows of each finished batch."""
        missing = rows[~self._known[level][rows]]
        how = self.batch_size, self.workers, self.turn
        with closing(
            encode_patches(self.slide, self.grid, [(level, missing)], self.encoder, *how)
        ) as batches:
            for _, chunk, features in batches:
                self._keep(level, chunk, features)
                yield chunk

    def _keep(self, level: int, rows: Rows, features: NDArray[np.float32]) -> None:
        self._features[level][rows] = features
        self._known[level][rows] = True

    def features(self, level: int, rows: Rows) -> Tensor:
        for _ in self.encode(level, rows):
            pass
        own = self._features[level]
        # All rows are returned without a copy, because they may take a large part of the memory.
        return torch.from_numpy(own if np.array_equal(rows, np.arange(len(own))) else own[rows])

    def variant(self, variant: int) -> Self:
        """The bag of the same patches in another variant; each is created once."""
        if variant not in self._turned:
            self._turned[variant] = self._anew(variant)
        return self._turned[variant]

    def _anew(self, variant: int) -> Self:
        return type(self)(self.slide, self.grid, self.encoder, self.batch_size, self.workers, variant)

    @property
    def encoded(self) -> tuple[int, ...]:
        """Number of patches encoded so far at each magnification, in all variants."""
        return self._summed(int(known.sum()) for known in self._known)

    def _summed(self, own: Iterable[int], of: str = "encoded") -> tuple[int, ...]:
        """Numbers of this bag by magnification, with those of its other variants."""
        return tuple(map(sum, zip(own, *(getattr(one, of) for one in self._turned.values()), strict=True)))


def encode_patches(
    slide: Slide,
    grid: PatchGrid,
    wanted: Sequence[Wanted],
    encoder: Encoder,
    batch_size: int = 64,
    workers: int | None = None,
    variant: int = 0,
) -> Generator[tuple[int, Rows, NDArray[np.float32]], None, None]:
    """Read and encode patches; yields (level, rows, features) of each batch, in the order of ``wanted``.

    All magnifications are one stream, so that no thread is idle between two of them.
    """
    levels: deque[int] = deque()

    def patches() -> Generator[tuple[Rows, NDArray[np.uint8]], None, None]:
        for level, rows in wanted:
            with closing(read_batches(slide, grid, level, rows, batch_size, workers)) as batches:
                for chunk, pixels in batches:
                    levels.append(level)
                    yield chunk, turned(pixels, variant)

    with closing(patches()) as read, closing(encode_batches(read, encoder)) as batches:
        for chunk, features in batches:
            yield levels.popleft(), chunk, features
