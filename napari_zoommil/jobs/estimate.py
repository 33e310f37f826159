"""``estimate``: the cost of a prediction, before it is run."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.geometry import PatchGrid, overlap_px
from napari_zoommil.jobs.feature_files import bag_for_model, from_files
from napari_zoommil.jobs.image_on_slide import image_on, refuse_magnification
from napari_zoommil.jobs.loading import Loaded, loaded, open_own
from napari_zoommil.jobs.pace import Work, last_pace
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Icc,
    ImageMagnification,
    Inside,
    MinTissue,
    ModelName,
    Mpp,
    Overlap,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.tissue import area_on, find_tissue, tissue_inside
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.slides.image_grid import image_shape
from napari_zoommil.slides.patching import Tissue, patch_grid

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.bags.pixels import PixelBag

    Source = CachedBag | PixelBag

TRIAL_PATCHES = 16


@dataclass(frozen=True, eq=False)
class Estimate:
    """Cost of a prediction.

    Attributes
    ----------
    tissue : Tissue or None
        That the prediction will use, inside and outside of regions; None where features are in files, and of
        a model that reads an image, which looks for no tissue.
    detector : str
        Which found it: that of the model.
    patches : tuple of int
        Patches that the model will read, at each magnification; in each variant, if it reads several.
    taken : tuple of int
        Patches among them whose features are in the cache.
    exhaustive : int
        Tissue patches at the highest magnification, which a model that does not zoom would read.
    seconds_per_patch : float
        Time for reading and encoding: that of the last run on this machine or, without one, measured on a few
        patches of this slide; 0 if none is left to encode.
    device, reason : str
        The device, and the reason for its choice.
    last_run : str
        The day of the run that ``seconds_per_patch`` is from; empty if it was measured on a few patches.
    image : (int, int) or None
        Height and width of the image that the model will read in place of patches, px.
    """

    tissue: Tissue | None
    detector: str
    patches: tuple[int, ...]
    taken: tuple[int, ...]
    exhaustive: int
    seconds_per_patch: float
    device: str
    reason: str
    last_run: str = ""
    image: tuple[int, int] | None = None

    @property
    def seconds(self) -> float:
        return self.seconds_per_patch * (sum(self.patches) - sum(self.taken))


@documented
def estimate(
    slide: SlideSource,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    features: Features = (),
    add: tuple[np.ndarray, ...] = (),
    leave_out: tuple[np.ndarray, ...] = (),
    regions: Inside = (),
    mpp: Mpp = None,
    icc: Icc = False,
    min_tissue: MinTissue = None,
    overlap: Overlap = 0.0,
    magnification: ImageMagnification = None,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Estimate]:
    """Detect the tissue, count the patches that a model will read, and estimate the time.

    The pace is that of the last run of the model on this machine; without one, a few patches are timed.

    With equal values of the parameters of :func:`predict` the same patches are counted.

    Parameters
    ----------
    add, leave_out : tuple of (n, 2) arrays
        Polygons, level-0 (y, x), to add to the tissue or to remove from it.

    Returns
    -------
    Estimate
    """
    from napari_zoommil.bags.cache import open_cache

    with ExitStack() as stack:
        if from_files(slide, features, regions, (*add, *leave_out) or None, overlap):
            yield Progress(0, 1, "loading the model")
            with_model = stack.enter_context(loaded(model, device, threads, encoder, with_encoder=False))
            folders = FeatureFolders(tuple(features), encoder or with_model.spec.encoder)
            known = bag_for_model(stack, slide, folders, model, with_model.spec, encoder, mpp, icc)
            return _of_files(with_model, known[1].grid)
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")  # first, because it may ask the user for the encoder
        with_model = stack.enter_context(loaded(model, device, threads, encoder))
        spec = with_model.spec
        refuse_magnification(model, spec, magnification)
        area = area_on(own, regions)
        if spec.takes == "image":
            grid = image_on(own, model, spec, area, magnification, min_tissue, overlap)
            return _of_image(with_model, grid)
        detected = yield from find_tissue(own, spec.tissue_detector)
        tissue = detected.edited(add, leave_out)
        yield Progress(0, 1, "counting patches")
        share = spec.min_tissue if min_tissue is None else min_tissue
        pixels = overlap_px(overlap, spec.patch_size, spec.magnifications)
        inside = tissue_inside(own, tissue, area)
        grid = patch_grid(own, inside, spec.magnifications, spec.patch_size, share, pixels)
        counts = tuple(len(level) for level in grid.levels)
        bag = with_model.bag(own, grid, open_cache(store), min(TRIAL_PATCHES, batch_size), workers)
        needed = with_model.model.patches_needed(counts, grid.ratios)
        taken, lacking = yield from _cached_pass(with_model, bag)
        pace = last_pace(Work("predict", model, device, threads, encoder))
        seconds = 0.0
        if lacking is not None:
            seconds = pace.seconds if pace else (yield from _timed(lacking))
        return Estimate(
            tissue=tissue,
            detector=spec.tissue_detector,
            patches=taken if lacking is None else needed,
            taken=taken,
            exhaustive=int((grid.levels[-1].tissue >= share).sum()),
            seconds_per_patch=seconds,
            device=str(with_model.device.torch),
            reason=with_model.device.reason,
            last_run="" if lacking is None or pace is None else pace.on,
        )


def _of_image(with_model: Loaded, grid: PatchGrid) -> Estimate:
    """Of a model that reads an image; refuses one that does not fit into the memory."""
    import torch

    with torch.no_grad(), closing(with_model.model.steps(grid)) as steps:
        next(steps)  # until it asks for the image
    device = with_model.device
    return Estimate(
        None, with_model.spec.tissue_detector, (1,), (0,), 1, 0.0, str(device.torch), device.reason,
        image=image_shape(grid),
    )  # fmt: skip


def _of_files(with_model: Loaded, grid: PatchGrid) -> Estimate:
    """Where all features are in files."""
    counts = tuple(len(level) for level in grid.levels)
    needed = with_model.model.patches_needed(counts, grid.ratios)
    device = with_model.device
    detector = with_model.spec.tissue_detector
    return Estimate(None, detector, needed, needed, counts[-1], 0.0, str(device.torch), device.reason)


class _NotCached(Exception):
    """A pass requests something that is not in the cache."""


def _cached_pass(with_model: Loaded, bag: Source) -> Job[tuple[tuple[int, ...], Source | None]]:
    """Run the model's pass as long as the features that it requests are in the cache.

    Returns the number of cached patches at each magnification, and the bag, of a variant of the patches, that
    lacks some; None if the pass was completed.
    """
    from napari_zoommil.bags.need import Need, NeedImage, source_of

    taken, source = [0] * len(bag.grid.levels), bag

    def count(need: Need | NeedImage) -> None:
        nonlocal source
        if not isinstance(need, Need) or need.what == "pixels":
            raise _NotCached
        source = source_of(bag, need)
        stored = source.stored(need.level)[need.rows]
        taken[need.level] += int(stored.sum())
        if not stored.all():
            raise _NotCached

    model, device = with_model.model, with_model.device.torch
    attempt = zoom(model, bag, device, paint=False, on_need=count)
    try:
        yield from retold(attempt, lambda _: Progress(0, 1, "counting patches"))
    except _NotCached:
        return tuple(taken), source
    return tuple(taken), None


def _timed(bag: Source) -> Job[float]:
    """Seconds to read and encode a patch, measured at the highest magnification with patches to encode."""
    level, missing = len(bag.grid.levels), np.empty(0, np.int64)
    while level and not len(missing):
        level -= 1
        missing = np.flatnonzero(~bag.stored(level))
    spread = np.linspace(0, len(missing) - 1, min(2 * TRIAL_PATCHES, len(missing))).astype(np.int64)
    seconds = 0.0
    for part in np.array_split(missing[np.unique(spread)], 2):  # the first half is a warm-up
        started = time.perf_counter()
        bag.features(level, part)
        seconds = (time.perf_counter() - started) / max(1, len(part))
        yield Progress(0, 1, "timing the encoder")
    return seconds
