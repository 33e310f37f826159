"""``predict``: a slide and a model to probabilities and maps, zooming as it goes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.loading import loaded, open_own
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.prediction import Cost, PartialMap, Prediction, StepResult
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue, patch_grid

if TYPE_CHECKING:
    from torch import Tensor

    from napari_zoommil.bags import LazyBag
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass
    from napari_zoommil.models.spec import ModelSpec

PAINT_SECONDS = 0.1
"""Least time between two partial maps: yields have no back-pressure in a window."""


def predict(
    slide: Path | Slide,
    model: str = "demo",
    *,
    mpp: Annotated[float | None, Range(0.02, 50, unit="µm/px")] = None,
    icc: bool = False,
    tissue: Tissue | None = None,
    min_tissue: Annotated[float | None, Range(0, 1, 0.05)] = None,
    store: Path | None = None,
    device: str = "auto",
    batch_size: Annotated[int, Range(1, 4096)] = 64,
    workers: Annotated[int | None, Range(1, 64)] = None,
    threads: Annotated[int | None, Range(1, 256)] = None,
) -> Job[Prediction]:
    """Predict a slide's class and say where the model looked.

    Parameters
    ----------
    slide : Path or Slide
        The slide; an open one is read through a handle of the job's own.
    model : str
        Shipped model, folder or hub name.
    mpp : float, optional
        Pixel size of level 0, where the slide does not state it or states it wrongly.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    tissue : Tissue, optional
        Where the tissue is; found by itself if not given.
    min_tissue : float, optional
        Least tissue share of a patch at the lowest magnification; the model's own by default.
    store : Path, optional
        Folder of features: what it holds is not encoded again. One in the user's cache by default.
    device : str
        auto, cpu, cuda, cuda:1, mps.
    batch_size : int
        Patches encoded at once; halved by itself when device memory runs out.
    workers : int, optional
        Threads that read patches; one per core, at most 8, by default.
    threads : int, optional
        CPU threads that compute; all cores by default.

    Yields
    ------
    Progress
        ``partial`` holds a :class:`PartialMap` while a magnification fills.

    Returns
    -------
    Prediction
    """
    from napari_zoommil.bags.cache import open_cache

    started = time.perf_counter()
    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        with_model = stack.enter_context(loaded(model, device, threads))
        spec, cache = with_model.spec, open_cache(store)
        share = spec.min_tissue if min_tissue is None else min_tissue
        if tissue is None:
            key = grid_key(own, spec.magnifications, spec.patch_size, share)
            grid = yield from find_patches(own, cache, key)
        else:
            grid = patch_grid(own, tissue, spec.magnifications, spec.patch_size, share)
        with_model.model.check(grid)
        bag = cache.bag(own, grid, with_model.encoder, batch_size=batch_size, workers=workers)
        output = yield from _zoom(with_model.model, bag, with_model.device)
        seconds, computed_on = time.perf_counter() - started, str(with_model.device.torch)
        cost = Cost(bag.encoded, seconds, computed_on, bag.taken, bag.unkept)
        yield Progress(sum(cost.patches), sum(cost.patches), "explaining")
        return _result(own, model, spec, bag, output, cost, cache.damaged(own.fingerprint, own.damaged))


def _zoom(mil: MILModel, bag: LazyBag, device: Device) -> Job[MILOutput]:
    """Drive the model's pass, encoding what it asks for."""
    counts = tuple(len(level) for level in bag.grid.levels)
    expected = mil.patches_needed(counts, bag.grid.ratios)
    done = 0
    steps: Pass = mil.steps(bag.grid)
    try:
        need = next(steps)
        while True:
            # Parents at the rim lack children, so what was expected is corrected step by step.
            total = done + len(need.rows) + sum(expected[need.level + 1 :])
            yield from _encode(bag, need, done, total, device)
            done += len(need.rows)
            features = bag.features(need.level, need.rows).to(device.torch)
            # Embeddings must be on the graph for Grad-CAM, though no weight is trained.
            need = steps.send(features.requires_grad_())
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()


def _encode(
    bag: LazyBag, need: Need, before: int, total: int, device: Device
) -> Generator[Progress, None, None]:
    """Encode one step's patches batch by batch, with the map as far as it is known."""
    name = magnification_name(bag.grid.levels[need.level].magnification)
    known: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    painted, done = 0.0, 0
    yield Progress(before, total, f"{name}: 0 of {len(need.rows):,} patches")
    with closing(bag.encode(need.level, need.rows)) as batches:
        for rows in batches:
            done += len(rows)
            partial = None
            if need.preview is not None:
                known.append((rows, _preview(need, bag.features(need.level, rows).to(device.torch))))
                if time.perf_counter() - painted > PAINT_SECONDS or done == len(need.rows):
                    partial = _partial(bag, need.level, known)
                    painted = time.perf_counter()
            yield Progress(before + done, total, f"{name}: {done:,} of {len(need.rows):,} patches", partial)


def _preview(need: Need, features: Tensor) -> NDArray[np.float32]:
    import torch

    assert need.preview is not None
    with torch.no_grad():
        return need.preview(features).cpu().numpy()


def _partial(
    bag: LazyBag, level: int, known: list[tuple[NDArray[np.int64], NDArray[np.float32]]]
) -> PartialMap:
    from napari_zoommil.maps.heatmap import rasterise

    rows, scores = (np.concatenate(parts) for parts in zip(*known, strict=True))
    return PartialMap(level, rasterise(bag.grid, level, rows, scores, bag.slide.mpp, "attention"))


def _result(
    slide: Slide, model: str, spec: ModelSpec, bag: LazyBag, output: MILOutput, cost: Cost, damaged: int
) -> Prediction:
    from napari_zoommil.maps.gradcam import grad_cam
    from napari_zoommil.maps.heatmap import rasterise

    cams = [grad_cam(output, index) for index in range(len(spec.class_names))]
    steps = tuple(
        StepResult(
            step.level,
            step.rows,
            step.attention.detach().cpu().numpy(),
            np.stack([cam[index] for cam in cams]),
            step.zoomed,
        )
        for index, step in enumerate(output.steps)
    )
    maps = [rasterise(bag.grid, s.level, s.rows, s.attention, slide.mpp, "attention") for s in steps]
    maps += [
        rasterise(bag.grid, s.level, s.rows, s.grad_cam[index], slide.mpp, "grad-cam", name)
        for index, name in enumerate(spec.class_names)
        for s in steps
    ]
    return Prediction(
        slide=slide.name,
        fingerprint=slide.fingerprint,
        model=model,
        class_names=spec.class_names,
        probabilities=output.probabilities.detach().cpu().numpy(),
        logits=output.logits.detach().cpu().numpy(),
        grid=bag.grid,
        steps=steps,
        maps=tuple(maps),
        cost=cost,
        damaged=damaged,
    )
