"""Whether a model knows what it reads: a sample of the patches is compared with those of its training.

Pixels are read again, since features of a network that was taught to tell classes apart do not hold what
other tissue, another stain or another scanner would change.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import Familiarity, Patches
from napari_zoommil.familiarity.descriptors import describe
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.bags.need import Need, NeedImage
    from napari_zoommil.familiarity.statistics import Numbers

SAMPLE = 100
"""Most patches of a slide and magnification that are compared."""

BATCH = 32
"""Patches between two opportunities to cancel."""

FeaturesOf = Callable[[int, Rows], NDArray[np.float32]]
"""Features of patches, by number of the magnification and rows."""


class RowsRead:
    """The patches that a model asks for in a pass.

    Parameters
    ----------
    grid : PatchGrid
    """

    def __init__(self, grid: PatchGrid) -> None:
        self._grid = grid
        self._asked: list[list[Rows]] = [[np.empty(0, np.int64)] for _ in grid.levels]

    def note(self, need: Need | NeedImage) -> None:
        """Remember what is asked for; an image covers all patches."""
        from napari_zoommil.bags.need import Need

        if isinstance(need, Need):
            self._asked[need.level].append(need.rows)
        else:
            for asked, patches in zip(self._asked, self._grid.levels, strict=True):
                asked.append(np.arange(len(patches)))

    @property
    def rows(self) -> tuple[Rows, ...]:
        """Of each magnification, each patch once."""
        return tuple(np.unique(np.concatenate(asked)) for asked in self._asked)


def described(
    slide: Slide,
    grid: PatchGrid,
    read: Sequence[Rows],
    features: FeaturesOf | None,
    count: int | None = SAMPLE,
    workers: int | None = None,
) -> Job[tuple[Patches, ...]]:
    """Colour, texture and features of a random sample of patches.

    Parameters
    ----------
    slide, grid
    read : sequence of (n,) int64
        Patches of each magnification that a model read.
    features : callable, optional
        Of an encoder.
    count : int, optional
        Most patches of a magnification; all by default.
    workers : int, optional
        Reader threads.
    """
    rng = np.random.default_rng(0)
    chosen = [np.sort(rng.permutation(rows)[:count]) for rows in read]
    total, done, levels = sum(map(len, chosen)), 0, []
    for level, (rows, every) in enumerate(zip(chosen, read, strict=True)):
        numbers: list[Numbers] = [describe([])]
        with closing(_in_batches(slide, grid, level, rows, workers)) as batches:
            for found in batches:
                yield Progress(done, total, f"comparing with the training: {done:,} of {total:,} patches")
                numbers.append(found)
                done += len(found)
        codes = features(level, rows) if features and len(rows) else np.empty((len(rows), 0), np.float32)
        levels.append(Patches(np.concatenate(numbers), codes, len(every)))
    return tuple(levels)


def _in_batches(
    slide: Slide, grid: PatchGrid, level: int, rows: Rows, workers: int | None
) -> Generator[Numbers, None, None]:
    from napari_zoommil.bags.reading import read_batches

    with closing(read_batches(slide, grid, level, rows, BATCH, workers)) as batches:
        for _, pixels in batches:
            yield describe(pixels)


def require_fit(
    known: Familiarity, model: str, magnifications: int, patch_size: int, encoder_hash: str
) -> None:
    """Check that statistics are of a model's own input.

    Raises
    ------
    ModelError
        If they are of other magnifications, patches or features.
    """
    own = (magnifications, patch_size, encoder_hash)
    if (len(known.levels), known.patch_size, known.encoder_hash) != own:
        raise ModelError(
            f"the statistics of the training in {model} are of other patches than the model reads; "
            "fetch or train the model again"
        )
