"""A model with an open slide and its patches: the first step of predictions and explanations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_zoommil.annotations.regions import Region
from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import UNKNOWN, Verdict
from napari_zoommil.geometry import PatchGrid, overlap_px
from napari_zoommil.jobs.familiarity import FeaturesOf, RowsRead, described, require_fit
from napari_zoommil.jobs.feature_files import bag_for_model, from_files
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.image_on_slide import image_on, refuse_magnification
from napari_zoommil.jobs.loading import Loaded, is_in_memory, loaded, open_own
from napari_zoommil.jobs.pace import Stopwatch, Work
from napari_zoommil.jobs.prediction import Cost, Prediction, StepResult
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.tissue import area_on, tissue_inside
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.focus import PLAIN, WHOLE, Focus, MethodOptions
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide
from napari_zoommil.slides.image_grid import image_shape
from napari_zoommil.slides.patching import Tissue, patch_grid

if TYPE_CHECKING:
    from torch import Tensor

    from napari_zoommil.bags import CachedBag, FeatureCache
    from napari_zoommil.bags.feature_files.bag import FileBag
    from napari_zoommil.bags.need import Need, NeedImage
    from napari_zoommil.bags.pixels import PixelBag
    from napari_zoommil.maps.recorded import RecordedPass
    from napari_zoommil.models.mil import MILOutput

SAME = 1e-3
"""Difference of logits up to which a pass is that of a prediction: features are kept in half precision."""


@dataclass(frozen=True, eq=False)
class ModelOnSlide:
    """A loaded model, a slide and its bag; runs passes and converts their results.

    Attributes
    ----------
    name : str
        Name of the model, as given by the user.
    loaded : Loaded
    slide : Slide or AbsentSlide
        The slide handle of the job, or what is known of a slide that is not at hand.
    bag : CachedBag, PixelBag or FileBag
    cache : FeatureCache
    started : float
        Start of the job, ``time.perf_counter()``.
    read : RowsRead
        The patches that passes have read.
    watch : Stopwatch
        Measures how fast the patches are encoded, for later estimates.
    workers : int, optional
        Reader threads.
    regions_mm2 : float, optional
        Extent of the regions that the patches are limited to; None without any, or if nobody knows.
    """

    name: str
    loaded: Loaded
    slide: Slide | AbsentSlide
    bag: CachedBag | PixelBag | FileBag
    cache: FeatureCache
    started: float
    read: RowsRead
    watch: Stopwatch
    workers: int | None = None
    regions_mm2: float | None = None

    @property
    def grid(self) -> PatchGrid:
        return self.bag.grid

    def look(self, answered: list[tuple[Need | NeedImage, Tensor]] | None = None) -> Job[MILOutput]:
        """The model's pass; each need and its answer are appended to ``answered``.

        Raises
        ------
        ModelError
            If the answers are pixels of patches that do not fit into the memory together.
        """
        model, grid, device = self.loaded.model, self.grid, self.loaded.device.torch
        if answered is not None and self.bag.holds == "pixels" and not model.reads_images:
            from napari_zoommil.maps.recorded import require_room_for_pixels

            count = sum(model.patches_needed(tuple(map(len, grid.levels)), grid.ratios))
            require_room_for_pixels(count, grid.patch_size, device)

        def counted(progress: Progress) -> Progress:
            self.watch.count(sum(self.bag.encoded))
            return progress

        job = zoom(model, self.bag, device, answered=answered, on_need=self.read.note)
        output = yield from retold(job, counted)
        self.watch.record(str(device))
        return output

    def compare(self) -> Job[Verdict]:
        """How much of what the model has read is unlike what it was trained on.

        Raises
        ------
        ModelError
            If the statistics of its training are not of what it reads.
        """
        known, spec = self.loaded.familiarity, self.loaded.spec
        if known is None or not isinstance(self.slide, Slide):
            return UNKNOWN
        require_fit(known, self.name, len(self.grid.levels), spec.patch_size, spec.encoder_hash)
        levels = yield from described(
            self.slide, self.grid, self.read.rows, self.features, workers=self.workers
        )
        return known.verdict(levels)

    @property
    def features(self) -> FeaturesOf | None:
        """Features of patches by magnification and rows; None of a model that reads pixels."""
        if self.bag.holds == "pixels":
            return None
        return lambda level, rows: self.bag.features(level, rows).numpy()

    def prediction(self, output: MILOutput, familiarity: Verdict) -> Prediction:
        """The result of a pass, as plain numbers and maps."""
        task, logits = self.loaded.spec.task, output.logits.cpu()
        steps = self._steps(output)
        seconds = time.perf_counter() - self.started
        device = str(self.loaded.device.torch)
        return Prediction(
            slide=self.slide.name,
            fingerprint=self.slide.fingerprint,
            model=self.name,
            task=task,
            values=task.link(logits).numpy(),
            logits=logits.numpy(),
            grid=self.grid,
            steps=steps,
            maps=(*self._score_maps(steps), *self._explained_maps(steps), *self._place_maps(output)),
            cost=Cost(self.bag.encoded, seconds, device, self.bag.taken, self.bag.unkept, self._image),
            damaged=self.cache.damaged(self.slide.fingerprint, self.slide.damaged),
            familiarity=familiarity,
            regions_mm2=self.regions_mm2,
        )

    def require_same(self, prediction: Prediction, output: MILOutput) -> None:
        """Refuse a prediction that is not that of this pass.

        Raises
        ------
        ModelError
        """
        if prediction.fingerprint != self.slide.fingerprint:
            raise ModelError(f"the prediction is of another slide than {self.slide.name}")
        logits = output.logits.cpu().numpy()
        if logits.shape != prediction.logits.shape or not np.allclose(
            logits, prediction.logits, rtol=SAME, atol=SAME
        ):
            raise ModelError(f"{self.name} or its encoder has changed since the prediction: run it again")

    def recorded(
        self,
        output: MILOutput,
        answered: list[tuple[Need | NeedImage, Tensor]],
        focus: Focus = WHOLE,
        options: MethodOptions = PLAIN,
    ) -> RecordedPass:
        """A finished pass, for a method that explains it.

        Parameters
        ----------
        answered : list of (need, answer)
            As collected by :meth:`look`.
        """
        from napari_zoommil.maps.recorded import RecordedPass

        model, device = self.loaded.model, self.loaded.device.torch
        return RecordedPass(
            model,
            self.bag,
            output,
            tuple(need for need, _ in answered),
            tuple(answer for _, answer in answered),
            self.slide.mpp,
            lambda bag: zoom(model, bag, device, paint=False),
            self.loaded.familiarity,
            focus,
            options,
        )

    @property
    def _image(self) -> tuple[int, int] | None:
        """Height and width of the image that the model reads in place of patches, px."""
        return image_shape(self.grid) if self.loaded.model.reads_images else None

    def _steps(self, output: MILOutput) -> tuple[StepResult, ...]:
        heads = self.loaded.model.heads
        return tuple(
            StepResult(
                step.level,
                step.rows,
                step.scores.cpu().numpy(),
                heads[: step.scores.shape[1]],
                step.zoomed,
                None if step.evidence is None else step.evidence.T.cpu().numpy(),
                step.pooling,
                None if step.rest is None else (step.rest[0].cpu().numpy(), step.rest[1].cpu().numpy()),
            )
            for step in output.steps
        )

    def _score_maps(self, steps: tuple[StepResult, ...]) -> list[HeatMap]:
        """Maps of all magnifications for the first head, then for the next one."""
        from napari_zoommil.maps.heatmap import score_map

        mpp, names = self.slide.mpp, self.loaded.spec.task.names
        return [
            score_map(
                self.grid, step.level, step.rows, step.scores[:, step.heads.index(head)], mpp, head, names
            )
            for head in dict.fromkeys(head for step in steps for head in step.heads)
            for step in steps
            if head in step.heads
        ]

    def _place_maps(self, output: MILOutput) -> list[HeatMap]:
        """What each place of an image adds to each output, of models that tell it."""
        return [
            HeatMap(
                plane.evidence[index].detach().cpu().numpy(),
                plane.origin,
                plane.downsample,
                self.slide.mpp,
                plane.magnification,
                "local-evidence",
                name,
            )
            for index, name in enumerate(self.loaded.spec.task.names)
            for plane in output.planes
            if plane.evidence is not None
        ]

    def _explained_maps(self, steps: tuple[StepResult, ...]) -> list[HeatMap]:
        """Maps of all magnifications for each output, and this for each method."""
        from napari_zoommil.maps.heatmap import rasterise

        mpp, scores = self.slide.mpp, [step.explained for step in steps]
        return [
            rasterise(self.grid, step.level, step.rows, own[method][index], mpp, method, name)
            for method in dict.fromkeys(method for own in scores for method in own)
            for index, name in enumerate(self.loaded.spec.task.names)
            for step, own in zip(steps, scores, strict=True)
            if method in own
        ]


def open_model_on_slide(
    stack: ExitStack,
    slide: Path | Slide,
    model: str,
    *,
    encoder: str | None = None,
    mpp: float | None = None,
    icc: bool = False,
    regions: Sequence[Region] = (),
    tissue: Tissue | None = None,
    min_tissue: float | None = None,
    store: Path | None = None,
    device: str = "auto",
    batch_size: int = 64,
    workers: int | None = None,
    threads: int | None = None,
    features: Sequence[Path] = (),
    overlap: float = 0.0,
    grid: PatchGrid | None = None,
    magnification: float | None = None,
) -> Job[ModelOnSlide]:
    """Open a slide, load a model and find the patches, or their features in files; parameters are those of
    :func:`napari_zoommil.jobs.predict`.

    Parameters
    ----------
    stack : ExitStack
        Closes the slide and releases the device's memory.
    grid : PatchGrid, optional
        The patches, where they are known; neither tissue nor regions count then.
    """
    watch = Stopwatch(Work("predict", model, device, threads, encoder), not is_in_memory(model, "mil"))
    started = time.perf_counter()
    from napari_zoommil.bags.cache import open_cache

    if from_files(slide, features, regions, tissue, overlap):
        yield Progress(0, 1, "loading the model")
        with_model = stack.enter_context(loaded(model, device, threads, encoder, with_encoder=False))
        watch.loaded()
        folders = FeatureFolders(tuple(features), encoder or with_model.spec.encoder)
        known, files = bag_for_model(stack, slide, folders, model, with_model.spec, encoder, mpp, icc)
        read = RowsRead(files.grid)
        return ModelOnSlide(model, with_model, known, files, open_cache(store), started, read, watch, workers)
    own = stack.enter_context(open_own(slide, mpp, icc))
    area = area_on(own, regions)
    yield Progress(0, 1, "loading the model")
    with_model = stack.enter_context(loaded(model, device, threads, encoder))
    watch.loaded()
    spec, cache = with_model.spec, open_cache(store)
    share = spec.min_tissue if min_tissue is None else min_tissue
    refuse_magnification(model, spec, magnification)
    if grid is not None:
        pass
    elif spec.takes == "image":
        grid = image_on(own, model, spec, area, magnification, min_tissue, overlap)
    elif tissue is None:
        how, detector = (spec.magnifications, spec.patch_size, share), spec.tissue_detector
        key = grid_key(own, *how, area, overlap, detector)
        grid = yield from find_patches(own, cache, key, area, detector)
    else:
        tissue = tissue_inside(own, tissue, area)
        pixels = overlap_px(overlap, spec.patch_size, spec.magnifications)
        grid = patch_grid(own, tissue, spec.magnifications, spec.patch_size, share, pixels)
    bag = with_model.bag(own, grid, cache, batch_size, workers)
    mm2 = None if area is None or own.mpp is None else area.area * math.prod(own.mpp) / 1e6
    read = RowsRead(grid)
    return ModelOnSlide(model, with_model, own, bag, cache, started, read, watch, workers, mm2)
