"""``predict``: a slide and a model to probabilities and maps, zooming as it goes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair, PatchGrid
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.loading import loaded, open_own
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Icc,
    KnownTissue,
    MinTissue,
    ModelName,
    Mpp,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.prediction import Cost, Prediction, StepResult
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.maps import HeatMap
from napari_zoommil.slides.patching import patch_grid

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.bags.pixels import PixelBag
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.maps.gradcam import GradCAM
    from napari_zoommil.models.mil import MILModel, MILOutput

MEMORY_LIMIT = 300 << 20
"""Bytes that a prediction may take beyond the features for what nobody asked for."""

GRAPH_COPIES = 5
"""Memory of a pass with gradients, in that of the embeddings it goes through; measured of an attention."""


@documented
def predict(
    slide: SlideSource,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    mpp: Mpp = None,
    icc: Icc = False,
    tissue: KnownTissue = None,
    min_tissue: MinTissue = None,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
    grad_cam: bool | None = None,
) -> Job[Prediction]:
    """Predict a slide's class and say where the model looked.

    An open slide is read through a handle of the job's own.

    Parameters
    ----------
    grad_cam : bool, optional
        Explain each class by Grad-CAM too; by default where it takes no more memory than 300 MB.

    Yields
    ------
    Progress
        ``partial`` holds a :class:`~napari_zoommil.jobs.prediction.PartialMap` while a magnification fills.

    Returns
    -------
    Prediction
    """
    from napari_zoommil.bags.cache import open_cache

    started = time.perf_counter()
    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        with_model = stack.enter_context(loaded(model, device, threads, encoder))
        spec, cache = with_model.spec, open_cache(store)
        share = spec.min_tissue if min_tissue is None else min_tissue
        if tissue is None:
            grid = yield from find_patches(
                own, cache, grid_key(own, spec.magnifications, spec.patch_size, share)
            )
        else:
            grid = patch_grid(own, tissue, spec.magnifications, spec.patch_size, share)
        bag = with_model.bag(own, grid, cache, batch_size, workers)
        mil, names = with_model.model, spec.task.names
        output = yield from zoom(mil, bag, with_model.device.torch)
        steps, logits = _steps(mil, output), output.logits.cpu()
        maps = _score_maps(grid, steps, own.mpp, names)
        explained = _cheap(output) if grad_cam is None else grad_cam
        del output  # its embeddings are made anew, with gradients, where they are explained
        if explained:
            cams, more = yield from _explain(mil, bag, own.mpp, with_model.device)
            steps = [replace(step, grad_cam=cam) for step, cam in zip(steps, cams, strict=True)]
            maps += more
        seconds = time.perf_counter() - started
        return Prediction(
            slide=own.name,
            fingerprint=own.fingerprint,
            model=model,
            task=spec.task,
            values=spec.task.link(logits).numpy(),
            logits=logits.numpy(),
            grid=grid,
            steps=tuple(steps),
            maps=tuple(maps),
            cost=Cost(bag.encoded, seconds, str(with_model.device.torch), bag.taken, bag.unkept),
            damaged=cache.damaged(own.fingerprint, own.damaged),
        )


def _steps(mil: MILModel, output: MILOutput) -> list[StepResult]:
    return [
        StepResult(
            step.level, step.rows, step.scores.cpu().numpy(), mil.heads[: step.scores.shape[1]], step.zoomed
        )
        for step in output.steps
    ]


def _score_maps(
    grid: PatchGrid, steps: list[StepResult], mpp: Pair | None, names: tuple[str, ...]
) -> list[HeatMap]:
    """A head's maps of all magnifications, then the next one's."""
    from napari_zoommil.maps.heatmap import score_map

    heads = dict.fromkeys(head for step in steps for head in step.heads)
    return [
        score_map(grid, step.level, step.rows, step.scores[:, step.heads.index(head)], mpp, head, names)
        for head in heads
        for step in steps
        if head in step.heads
    ]


def _cheap(output: MILOutput) -> bool:
    """Whether explaining an output takes no more memory than it may unasked."""
    seen = [step.embeddings for step in output.steps if step.embeddings is not None]
    activations = [*seen, *(plane.activation for plane in output.planes)]
    return GRAPH_COPIES * sum(one.nbytes for one in activations) <= MEMORY_LIMIT


def _explain(
    mil: MILModel, bag: CachedBag | PixelBag, mpp: Pair | None, device: Device
) -> Job[tuple[list[NDArray[np.float32] | None], list[HeatMap]]]:
    """One more pass, with gradients: (C, n) Grad-CAM of each step, and all maps."""
    from napari_zoommil.maps.gradcam import cam_maps, grad_cam

    whole = max(1, sum(bag.encoded) + sum(bag.taken))

    def told(note: str) -> Progress:
        return Progress(whole, whole, f"explaining {note}".strip())

    yield told("")
    again = zoom(mil, bag, device.torch, paint=False, gradients=True)
    output = yield from retold(again, lambda progress: told(progress.note))
    cams: list[GradCAM] = []
    maps: list[HeatMap] = []
    for index, name in enumerate(mil.task.names):
        cams.append(grad_cam(output, index))
        maps += cam_maps(output, cams[-1], bag.grid, mpp, name)
        yield told(name)
    by_step = zip(*(cam.steps for cam in cams), strict=True)
    return [None if scores[0] is None else np.stack(scores) for scores in by_step], maps
