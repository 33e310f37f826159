"""What a MIL model looks at: the grid of a slide and the features of its patches."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.encoding import encode_batches
from napari_zoommil.bags.reading import read_batches
from napari_zoommil.encoders import Encoder
from napari_zoommil.encoders.turned import Turned
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.slides import Slide


class Bag(Protocol):
    """Features by magnification and row.

    Attributes
    ----------
    grid : PatchGrid
    """

    grid: PatchGrid

    def features(self, level: int, rows: Rows) -> Tensor:
        """(len(rows), D) float32."""
        ...


class LazyBag:
    """A bag that encodes what is asked for, once, and remembers it.

    Parameters
    ----------
    slide : Slide
        A handle of the job's own.
    grid : PatchGrid
    encoder : Encoder
    batch_size : int
    workers : int, optional
        Reader threads.
    """

    def __init__(
        self,
        slide: Slide,
        grid: PatchGrid,
        encoder: Encoder,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> None:
        self.slide, self.grid, self.encoder = slide, grid, encoder
        self.batch_size, self.workers = batch_size, workers
        self._features = [np.zeros((len(level), encoder.dim), np.float32) for level in grid.levels]
        self._known = [np.zeros(len(level), bool) for level in grid.levels]
        self._turned: dict[int, LazyBag] = {}

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification are encoded, (N,) bool."""
        return self._known[level]

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Encode those of ``rows`` that are not known yet; yields the rows of each batch done."""
        missing = rows[~self._known[level][rows]]
        batches = read_batches(self.slide, self.grid, level, missing, self.batch_size, self.workers)
        with closing(batches), closing(encode_batches(batches, self.encoder)) as encoded:
            for chunk, features in encoded:
                self._features[level][chunk] = features
                self._known[level][chunk] = True
                yield chunk

    def features(self, level: int, rows: Rows) -> Tensor:
        for _ in self.encode(level, rows):
            pass
        own = self._features[level]
        # All of them are given as they lie, not copied: they may fill a good part of the memory.
        return torch.from_numpy(own if np.array_equal(rows, np.arange(len(own))) else own[rows])

    def variant(self, variant: int) -> LazyBag:
        """The same patches, turned before they are encoded; remembered likewise."""
        if variant not in self._turned:
            encoder = Turned(self.encoder, variant)
            self._turned[variant] = LazyBag(self.slide, self.grid, encoder, self.batch_size, self.workers)
        return self._turned[variant]

    @property
    def encoded(self) -> tuple[int, ...]:
        """Patches encoded so far at each magnification."""
        return tuple(int(known.sum()) for known in self._known)
