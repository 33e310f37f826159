"""Several slides: the next one is made ready while the current one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event

import numpy as np

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs.features import grid_key
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid, read_patch

FIRST_PATCHES = 128
"""Patches whose tiles are decoded ahead: two batches."""


def with_next_ready(
    paths: Sequence[Path], prepare: Callable[[Path, Event], None]
) -> Generator[Path, None, None]:
    """The paths one by one; beside the work on each, ``prepare(next path, stop)`` runs in a thread.

    What fails in preparing fails again, and is told, when it is that slide's turn.
    """
    stop = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="next-slide") as pool:
        try:
            for place, path in enumerate(paths):
                coming = [pool.submit(prepare, after, stop) for after in paths[place + 1 : place + 2]]
                yield path
                for each in coming:  # two threads looking for one slide's tissue would be no faster
                    with suppress(ZoomMILError, OSError, RuntimeError):
                        each.result()
        finally:
            stop.set()


def make_ready(
    path: Path,
    stop: Event,
    *,
    magnifications: tuple[float, ...],
    patch_size: int,
    min_tissue: float,
    mpp: float | None = None,
    icc: bool = False,
    store: Path | None = None,
) -> None:
    """Find a slide's tissue and decode the tiles of its first patches, until ``stop`` is set.

    Both stay in memory for whichever job opens the slide next. Where its patches are kept in ``store`` (in
    the user's cache by default), the slide was worked on before and there is nothing to do.
    """
    from napari_zoommil.bags.cache import open_cache

    with Slide.open(path, mpp, icc) as slide:
        key = grid_key(slide, magnifications, patch_size, min_tissue)
        if open_cache(store).grid(slide.fingerprint, key) is not None:
            return
        with closing(find_tissue(slide)) as looking:
            try:
                while not stop.is_set():
                    next(looking)
                return
            except StopIteration as found:
                tissue = found.value
        grid = patch_grid(slide, tissue, magnifications, patch_size, min_tissue)
        for row in np.arange(len(grid.levels[0]))[:FIRST_PATCHES]:
            if stop.is_set():
                return
            read_patch(slide, grid, 0, int(row))
