"""Patches of a grid in batches, read ahead on threads while the device works on the last batch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_patch

BATCHES_AHEAD = 2


def default_workers() -> int:
    """Reader threads: the cores, but no more than a disk or a decoder can feed."""
    return min(8, os.cpu_count() or 1)


def read_batches(
    slide: Slide,
    grid: PatchGrid,
    level: int,
    rows: NDArray[np.int64],
    batch_size: int = 64,
    workers: int | None = None,
) -> Generator[tuple[NDArray[np.int64], NDArray[np.uint8]], None, None]:
    """Batches of (rows, patches) with patches (B, p, p, 3) uint8, in the order of ``rows``.

    Reading stops within one batch of closing the iterator.
    """
    size = grid.patch_size
    count = workers or default_workers()

    def fill(out: NDArray[np.uint8], chunk: NDArray[np.int64], start: int) -> None:
        for place in range(start, len(chunk), count):
            out[place] = read_patch(slide, grid, level, int(chunk[place]))

    chunks = deque(rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    ahead: deque[tuple[NDArray[np.int64], NDArray[np.uint8], list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="patch-reader")
    try:
        while chunks or ahead:
            while chunks and len(ahead) <= BATCHES_AHEAD:
                chunk = chunks.popleft()
                batch = np.empty((len(chunk), size, size, 3), np.uint8)
                ahead.append((chunk, batch, [pool.submit(fill, batch, chunk, n) for n in range(count)]))
            chunk, batch, parts = ahead.popleft()
            for part in parts:
                part.result()
            yield chunk, batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
