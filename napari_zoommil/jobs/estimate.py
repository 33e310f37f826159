"""``estimate``: what a prediction will cost, before it is run."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_zoommil.jobs.loading import loaded, open_own
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Icc,
    MinTissue,
    ModelName,
    Mpp,
    Threads,
    Workers,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue, patch_grid

TRIAL_PATCHES = 16


@dataclass(frozen=True, eq=False)
class Estimate:
    """Cost of a prediction.

    Attributes
    ----------
    tissue, detected : Tissue
        What the prediction will use, and what was found by itself.
    patches : tuple of int
        Patches the model will encode at each magnification.
    exhaustive : int
        Tissue patches at the highest magnification: what a model that does not zoom reads.
    seconds_per_patch : float
        Reading and encoding, measured on a few patches of this slide.
    device, reason : str
        Where it will run, and why there.
    """

    tissue: Tissue
    detected: Tissue
    patches: tuple[int, ...]
    exhaustive: int
    seconds_per_patch: float
    device: str
    reason: str

    @property
    def seconds(self) -> float:
        return self.seconds_per_patch * sum(self.patches)


def estimate(
    slide: Path | Slide,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    detected: Tissue | None = None,
    add: tuple[np.ndarray, ...] = (),
    leave_out: tuple[np.ndarray, ...] = (),
    mpp: Mpp = None,
    icc: Icc = False,
    min_tissue: MinTissue = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Estimate]:
    """Find the tissue, count the patches a model will read, and time a few of them.

    Parameters that are not listed are those of :func:`predict`: with the same it counts the same patches.

    Parameters
    ----------
    slide : Path or Slide
        The slide.
    detected : Tissue, optional
        Tissue found before; looked for if not given.
    add, leave_out : tuple of (n, 2) arrays
        Polygons, level-0 y and x, that a user adds to the tissue or leaves out.

    Returns
    -------
    Estimate
    """
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
        bag = with_model.bag(own, grid, min(TRIAL_PATCHES, batch_size), workers)
        trial = np.linspace(0, counts[-1] - 1, min(2 * TRIAL_PATCHES, counts[-1])).astype(np.int64)
        seconds = 0.0
        for part in np.array_split(np.unique(trial), 2):  # the first half warms up and does not count
            started = time.perf_counter()
            bag.features(len(counts) - 1, part)
            seconds = (time.perf_counter() - started) / max(1, len(part))
            yield Progress(0, 1, "timing the encoder")
        return Estimate(
            tissue=tissue,
            detected=detected,
            patches=with_model.model.patches_needed(counts, grid.ratios),
            exhaustive=int((grid.levels[-1].tissue >= share).sum()),
            seconds_per_patch=seconds,
            device=str(with_model.device.torch),
            reason=with_model.device.reason,
        )
