"""``estimate``: what a prediction will cost, before it is run."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_zoommil.jobs.loading import Loaded, loaded, open_own
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Icc,
    MinTissue,
    ModelName,
    Mpp,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides.patching import Tissue, patch_grid

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.bags.pixels import PixelBag

TRIAL_PATCHES = 16


@dataclass(frozen=True, eq=False)
class Estimate:
    """Cost of a prediction.

    Attributes
    ----------
    tissue, detected : Tissue
        What the prediction will use, and what was found by itself.
    patches : tuple of int
        Patches the model will look at, at each magnification.
    taken : tuple of int
        Patches among them whose features were kept from an earlier run.
    exhaustive : int
        Tissue patches at the highest magnification: what a model that does not zoom reads.
    seconds_per_patch : float
        Reading and encoding, measured on a few patches of this slide; 0 where none is left to encode.
    device, reason : str
        Where it will run, and why there.
    """

    tissue: Tissue
    detected: Tissue
    patches: tuple[int, ...]
    taken: tuple[int, ...]
    exhaustive: int
    seconds_per_patch: float
    device: str
    reason: str

    @property
    def seconds(self) -> float:
        return self.seconds_per_patch * (sum(self.patches) - sum(self.taken))


@documented
def estimate(
    slide: SlideSource,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    detected: Tissue | None = None,
    add: tuple[np.ndarray, ...] = (),
    leave_out: tuple[np.ndarray, ...] = (),
    mpp: Mpp = None,
    icc: Icc = False,
    min_tissue: MinTissue = None,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Estimate]:
    """Find the tissue, count the patches a model will read, and time a few of them.

    With the same parameters as :func:`predict` it counts the same patches.

    Parameters
    ----------
    detected : Tissue, optional
        Tissue found before; looked for if not given.
    add, leave_out : tuple of (n, 2) arrays
        Polygons, level-0 y and x, that a user adds to the tissue or leaves out.

    Returns
    -------
    Estimate
    """
    from napari_zoommil.bags.cache import open_cache

    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")  # first: it may ask the user for its encoder
        with_model = stack.enter_context(loaded(model, device, threads, encoder))
        if detected is None:
            detected = yield from find_tissue(own)
        tissue = detected.edited(add, leave_out)
        yield Progress(0, 1, "counting patches")
        spec = with_model.spec
        share = spec.min_tissue if min_tissue is None else min_tissue
        grid = patch_grid(own, tissue, spec.magnifications, spec.patch_size, share)
        counts = tuple(len(level) for level in grid.levels)
        bag = with_model.bag(own, grid, open_cache(store), min(TRIAL_PATCHES, batch_size), workers)
        needed = with_model.model.patches_needed(counts, grid.ratios)
        taken, whole = yield from _known_pass(with_model, bag)
        seconds = 0.0 if whole else (yield from _timed(bag))
        return Estimate(
            tissue=tissue,
            detected=detected,
            patches=taken if whole else needed,
            taken=taken,
            exhaustive=int((grid.levels[-1].tissue >= share).sum()),
            seconds_per_patch=seconds,
            device=str(with_model.device.torch),
            reason=with_model.device.reason,
        )


def _known_pass(with_model: Loaded, bag: CachedBag | PixelBag) -> Job[tuple[tuple[int, ...], bool]]:
    """Go through the model's pass as far as the features are known.

    Returns the patches taken at each magnification, and whether they were all it asked for.
    """
    import torch

    from napari_zoommil.bags.need import Need

    mil, taken, answer = with_model.model, [0] * len(bag.grid.levels), None
    mil.check(bag)
    with closing(mil.steps(bag.grid)) as steps:
        while True:
            try:
                with torch.no_grad():  # never across a yield: the mode is the thread's
                    need = steps.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                return tuple(taken), True
            if not isinstance(need, Need) or need.what == "pixels" or need.variant:
                return tuple(taken), False
            known = bag.stored(need.level)[need.rows]
            taken[need.level] += int(known.sum())
            if not known.all():
                return tuple(taken), False
            for _ in bag.encode(need.level, need.rows):
                yield Progress(0, 1, "counting patches")
            answer = mil.fitting(bag.features(need.level, need.rows), need).to(with_model.device.torch)


def _timed(bag: CachedBag | PixelBag) -> Job[float]:
    """Seconds to read and encode a patch that is not known, of the highest magnification that has some."""
    level, missing = len(bag.grid.levels), np.empty(0, np.int64)
    while level and not len(missing):
        level -= 1
        missing = np.flatnonzero(~bag.stored(level))
    spread = np.linspace(0, len(missing) - 1, min(2 * TRIAL_PATCHES, len(missing))).astype(np.int64)
    seconds = 0.0
    for part in np.array_split(missing[np.unique(spread)], 2):  # the first half warms up and does not count
        started = time.perf_counter()
        bag.features(level, part)
        seconds = (time.perf_counter() - started) / max(1, len(part))
        yield Progress(0, 1, "timing the encoder")
    return seconds
