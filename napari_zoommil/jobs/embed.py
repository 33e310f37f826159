"""``embed``: all patches of a slide into a feature store, resumable in mid-slide."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchGrid, magnification_name
from napari_zoommil.jobs.loading import encoder_on, open_own
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid

if TYPE_CHECKING:
    from napari_zoommil.bags import FeatureStore
    from napari_zoommil.encoders import Encoder

BATCH_ROWS = 64
"""Patches encoded at once, and so between two chances to cancel; a divisor of the store's chunk."""


@dataclass(frozen=True)
class Embedding:
    """Where a slide's features lie, how many patches were encoded now and are there in all, and how many
    tiles of the slide are damaged."""

    store: Path
    encoded: int
    total: int
    damaged: int = 0


def embed(
    slide: Path | Slide,
    encoder: str = "nic",
    *,
    magnifications: tuple[float, ...] = (5.0, 10.0, 20.0),
    store: Path = Path("features"),
    patch_size: Annotated[int, Range(16, 4096, unit="px")] = 256,
    min_tissue: Annotated[float, Range(0, 1, 0.05)] = 0.1,
    mpp: Annotated[float | None, Range(0.02, 50, unit="µm/px")] = None,
    icc: bool = False,
    device: str = "auto",
    workers: Annotated[int | None, Range(1, 64)] = None,
) -> Job[Embedding]:
    """Encode every tissue patch of a slide at every magnification.

    Parameters
    ----------
    slide : Path or Slide
        The slide.
    encoder : str
        nic, resnet50, mean-rgb, a timm name, hf-hub:owner/name, or a TorchScript file, which is code and
        is run.
    magnifications : tuple of float
        Rising by whole factors.
    store : Path
        Folder of feature stores; one is made per slide and encoder, or finished if it was cut off.
    patch_size : int
        Edge of a patch, the same at every magnification.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification.
    mpp : float, optional
        Pixel size of level 0, where the slide does not state it or states it wrongly.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    device : str
        auto, cpu, cuda, cuda:1, mps.
    workers : int, optional
        Threads that read patches; one per core, at most 8, by default.

    Returns
    -------
    Embedding

    Raises
    ------
    StoreError
        If the store belongs to another slide, other weights or other patches.
    """

    from napari_zoommil.bags.store import FeatureStore, StoreKey, store_path

    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the encoder")
        network = stack.enter_context(encoder_on(device, encoder))
        tissue = yield from find_tissue(own)
        grid = patch_grid(own, tissue, magnifications, patch_size, min_tissue)
        key = StoreKey(own.name, own.fingerprint, encoder, network.hash)
        path = store_path(store, own.stem, own.fingerprint, encoder)
        features = FeatureStore.create(path, key, grid, network.dim)
        total = sum(len(level) for level in grid.levels)
        missing = sum(len(chunk) for level in range(len(grid.levels)) for chunk in features.missing(level))
        done = total - missing
        with closing(_fill(features, own, grid, network, workers)) as batches:
            for level, count in batches:
                done += count
                name = magnification_name(magnifications[level])
                yield Progress(done, total, f"{own.name} {name}: {done:,} of {total:,} patches")
        return Embedding(path, missing, total, own.damaged)


def _fill(
    store: FeatureStore, slide: Slide, grid: PatchGrid, network: Encoder, workers: int | None
) -> Generator[tuple[int, int], None, None]:
    """Encode what a store lacks, chunk by chunk of it; yields the level and the patches of each batch."""
    from napari_zoommil.bags.encoding import encode_batches
    from napari_zoommil.bags.reading import read_batches

    missing = [store.missing(level) for level in range(len(grid.levels))]

    def read() -> Generator[tuple[NDArray[np.int64], NDArray[np.uint8]], None, None]:
        for level, chunks in enumerate(missing):
            if chunks:
                rows = np.concatenate(chunks)
                with closing(read_batches(slide, grid, level, rows, BATCH_ROWS, workers)) as batches:
                    yield from batches

    # One stream for all magnifications: no thread is idle where one ends and the next begins.
    with closing(read()) as patches, closing(encode_batches(patches, network)) as encoded:
        for level, chunks in enumerate(missing):
            for chunk in chunks:
                features = np.empty((len(chunk), network.dim), np.float32)
                for start in range(0, len(chunk), BATCH_ROWS):
                    rows, features[start : start + BATCH_ROWS] = next(encoded)
                    if start + len(rows) == len(chunk):
                        store.write(level, chunk, features)
                    yield level, len(rows)
