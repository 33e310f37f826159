"""``finetune`` of a cell model with points on one slide."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.annotations import Points
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.finetuning import (
    FineTuning,
    LossName,
    PresetName,
    points_on,
    provenance,
    trained_before_in,
)
from napari_zoommil.jobs.loading import cell_model_on, open_own
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.model_card import model_card
from napari_zoommil.model_folder import familiarity_of
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import FINISHED, RunFolder, is_trained, require_elsewhere, working_in

WINDOW_STEP = 32
"""Between neighbouring patches of the few windows that a slide's points are in, px."""

if TYPE_CHECKING:
    from napari_zoommil.cells.spec import CellSpec
    from napari_zoommil.cells.windows import Window, WindowPlan
    from napari_zoommil.familiarity import Familiarity
    from napari_zoommil.training.cells.fit import TrainedCells
    from napari_zoommil.training.fit import FitStep, Stage


def finetune_cells(
    slide: Path | Slide,
    annotations: Path | Points,
    model: str,
    *,
    out: Path,
    loss: LossName | None,
    preset: PresetName,
    epochs: int | None,
    learning_rate: float | None,
    seed: int,
    stain_augmentation: bool,
    resume: bool,
    overwrite: bool,
    mpp: float | None,
    icc: bool,
    device: str,
    threads: int | None,
) -> Job[FineTuning]:
    """Fine-tune a cell model; the parameters are those of :func:`napari_zoommil.jobs.finetune`.

    Yields
    ------
    Progress
        After each window that is read or measured, and each training batch; ``partial`` is a
        :class:`FitStep` during training.
    """
    from napari_zoommil.cells.change_classes import with_classes
    from napari_zoommil.cells.model import trainable
    from napari_zoommil.cells.windows import classes_of, hold_out
    from napari_zoommil.encoders.device import choose_device, cpu_threads
    from napari_zoommil.training.cells.fit import finish_cells, fit_cells
    from napari_zoommil.training.cells.framing import Framing, elsewhere
    from napari_zoommil.training.cells.presets import recipe

    started = time.perf_counter()
    with ExitStack() as stack:
        require_elsewhere(out, model)
        stack.enter_context(working_in(out, overwrite, resume))
        own = stack.enter_context(open_own(slide, mpp, icc))
        told = points_on(own, annotations)
        yield Progress(0, 1, "loading the model")
        before = familiarity_of(model, "cells")
        chosen, cpu = choose_device(device), choose_device("cpu")
        stack.callback(chosen.release)
        stack.enter_context(cpu_threads(threads))
        with cell_model_on(cpu, model) as (known, old):
            classes = classes_of(told.points, own.shape)
            network, spec = with_classes(trainable(known, model), old, classes)  # a copy
        # Only the threshold of a detector is chosen by the number of its cells.
        tissue = (yield from find_tissue(own)) if spec.architecture == "yollo" else None
        same = {one.name for one in old.classes} == {one.name for one in classes}
        new = len(classes) > 1 and not same
        changes = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
        settings = recipe(preset, spec.architecture, loss, new, stained=stain_augmentation, **changes)
        framing = Framing.of(network, spec.mpp, settings.crop)
        settings = replace(settings, crop=framing.crop)
        if resume and is_trained(out):
            yield Progress(1, 1, FINISHED)
            return trained_before_in(out, told, model, settings, classes, told.counts)
        plan = framing.plan(told.points, own)
        there = elsewhere(plan, own, tissue, seed) if tissue is not None else None
        windows = yield from _read(own, plan)
        train, held_out = hold_out(windows, plan.held_out, seed)
        others = (yield from _read(own, there)) if there is not None else []
        statistics = _familiarity(before, windows, spec)
        counts = {"windows": len(train), "held_out": len(held_out)}
        run = RunFolder(out, provenance(told, model, settings, **counts))
        steps = fit_cells(network, spec, settings, train, held_out, run, resume, chosen, same, others)
        trained = yield from _told(steps, settings.epochs, str(chosen.torch))
        finish_cells(trained, run, card, statistics)
        seconds = round(time.perf_counter() - started, 1)
        counted = (told.counts, len(windows), len(held_out))
        return FineTuning(out, classes, *counted, trained.metrics, seconds, off_slide=told.off_slide)


def _familiarity(before: Familiarity | None, windows: list[Window], spec: CellSpec) -> Familiarity | None:
    """Statistics of what the model knew ``before``, and of the windows, if they are enough."""
    from napari_zoommil.cells.compared import image_statistics

    images = ((str(number), window.image) for number, window in enumerate(windows))
    new = image_statistics(images, spec.mpp, WINDOW_STEP)
    return before.after(new) if before and new else before or new


def _read(slide: Slide, plan: WindowPlan) -> Job[list[Window]]:
    """Read the windows of a plan."""
    windows: list[Window] = []
    for window in plan.read(slide):
        windows.append(window)
        yield Progress(len(windows), len(plan), f"reading: {len(windows):,} of {len(plan):,} windows")
    return windows


def _told(
    steps: Generator[Stage | FitStep, None, TrainedCells], epochs: int, device: str
) -> Job[TrainedCells]:
    """The training with its progress as messages for the user.

    Raises
    ------
    ModelError
        If the device has too little memory.
    """
    import torch

    with closing(steps):
        try:
            while True:
                yield _progress(next(steps), epochs)
        except StopIteration as end:
            trained: TrainedCells = end.value
            return trained
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{device} has too little memory for training; free some, or choose another device"
            ) from None


def _progress(step: Stage | FitStep, epochs: int) -> Progress:
    from napari_zoommil.training.fit import Stage

    if isinstance(step, Stage):
        return Progress(step.done, step.total, f"{step.title}: {step.done:,} of {step.total:,} windows")
    note = f"epoch {step.epoch + 1} of {epochs}"
    if "train_loss" in step.metrics:
        note += f", loss {step.metrics['train_loss']:.3f}"
    if step.validated:
        note += f", measured on {step.validated:,} of {step.to_validate:,} windows"
    return Progress(step.step, step.total, note, step)


def card(spec: CellSpec) -> str:
    """Model card of a fine-tuned model."""
    training: dict[str, Any] = spec.training
    points = ", ".join(f"{count:,} {name}" for name, count in training["points"].items())
    return model_card(
        f"{spec.architecture}: {', '.join(one.name for one in spec.classes)}",
        f"Input at {spec.mpp:g} µm/px. Fine-tuned from `{training['model']}` on {points}.",
        training["metrics"],
        tags=["cell-detection"],
    )
