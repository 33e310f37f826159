"""Patches of a grid in batches, read ahead on threads while the device works on an earlier batch."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.read_ahead import in_order
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_patch

BATCHES_AHEAD = 2

Batch = tuple[NDArray[np.int64], NDArray[np.uint8]]


def default_workers() -> int:
    """Number of reader threads: that of the cores, with an upper limit."""
    return min(8, os.cpu_count() or 1)


def read_batches(
    slide: Slide,
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    batch_size: int = 64,
    workers: int | None = None,
) -> Generator[Batch, None, None]:
    """Batches of (rows, patches) with patches (B, p, p, 3) uint8, in the order of ``rows``.

    After the iterator is closed, reading stops within one batch.
    """
    size = grid.patch_size
    count = workers or default_workers()

    def parts() -> Iterator[tuple[Batch, int]]:
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            batch = chunk, np.empty((len(chunk), size, size, 3), np.uint8)
            yield from ((batch, first) for first in range(count))

    def fill(part: tuple[Batch, int]) -> Batch:
        (chunk, out), first = part
        for place in range(first, len(chunk), count):
            out[place] = read_patch(slide, grid, level, int(chunk[place]))
        return chunk, out

    # Every thread fills a part of each batch, so that the first batch is ready early.
    with closing(in_order(fill, parts(), count, BATCHES_AHEAD * count, name="patch-reader")) as filled:
        yield from islice(filled, count - 1, None, count)
