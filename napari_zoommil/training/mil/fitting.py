"""Fit of a MIL model by a recipe, and its evaluation, as generators."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Task
from napari_zoommil.training.callbacks import (
    CurveWriter,
    SeededSteps,
    StopsEarly,
    best_checkpoint,
    last_checkpoint,
    seed_of,
)
from napari_zoommil.training.fit import FitStep, fit_steps
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.mil.module import Example, MILModule, columns, loader
from napari_zoommil.training.run import BEST, RunFolder


def fit(
    mil: MILModel,
    recipe: Recipe,
    train: Sequence[Example],
    val: Sequence[Example],
    run: RunFolder,
    checkpoint: Path | None,
    device: Device,
    seed: int = 0,
    flags: TrainerFlags = ONE_DEVICE,
) -> Generator[FitStep, None, None]:
    """Fit a model; afterwards it has the weights of its best epoch.

    Parameters
    ----------
    mil : MILModel
    recipe : Recipe
    train, val : sequence of (Bag, target)
    run : RunFolder
        Folder for curves and checkpoints.
    checkpoint : Path, optional
        Checkpoint from which to resume.
    device : Device
    seed : int
        Seed of the order of slides and of noise.
    flags : TrainerFlags
        ``accumulate`` is that of the recipe.
    """
    with own_random_numbers(seed_of(seed, len(train))):  # of the auxiliary network
        module = MILModule(mil, recipe, len(train))
    callbacks: list[Callback] = [CurveWriter(run, columns(mil.task)), SeededSteps(seed)]
    callbacks.append(best_checkpoint(run, recipe.monitor, recipe.mode))
    if recipe.stop_after:
        callbacks.append(StopsEarly(recipe.monitor, patience=recipe.stop_after, mode=recipe.mode))
    steps = fit_steps(
        module,
        loader(train, mil.task, recipe, seed),
        loader(val),
        epochs=recipe.epochs,
        least_epochs=min(recipe.least_epochs, recipe.epochs),
        device=device,
        flags=replace(flags, accumulate=recipe.accumulate),
        callbacks=[*callbacks, last_checkpoint(run)],
        resume=checkpoint,
    )
    with closing(steps):
        yield from steps
    state = torch.load(run.folder / BEST, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What a model says of n bags.

    Attributes
    ----------
    metrics : dict of str to float
        The task's metrics and the mean ``loss``; those that are undefined for the bags, such as a correlation
        of equal values, are left out.
    targets : (n,) float64
    logits : (n, C) float64
        Outputs before the task's link function.
    """

    metrics: dict[str, float]
    targets: NDArray[np.float64]
    logits: NDArray[np.float64]

    def values(self, task: Task) -> NDArray[np.float64]:
        """(n, C) results: probabilities, or the value."""
        linked = [task.link(torch.from_numpy(one)).numpy() for one in self.logits]
        return np.array(linked).reshape(self.logits.shape)


def evaluate(mil: MILModel, examples: Sequence[Example], device: Device) -> Generator[int, None, Evaluated]:
    """Evaluate a model on bags; yields the number of bags done."""
    mil.to(device.torch).eval()
    task, outputs, losses = mil.task, [], []
    metrics = task.metrics() if examples else {}
    for number, (bag, value) in enumerate(examples, 1):
        with torch.no_grad():
            logits, target = mil(bag).logits.cpu(), torch.tensor(value)
            losses.append(float(task.loss(logits, target)))
            outputs.append(logits.double().numpy())
            for metric in metrics.values():
                metric.update(task.measured(logits), target[None])
        yield number
    mil.cpu()
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    if losses:
        found["loss"] = sum(losses) / len(losses)
    told = {name: value for name, value in found.items() if math.isfinite(value)}
    targets = np.array([float(value) for _, value in examples])
    return Evaluated(told, targets, np.array(outputs).reshape(-1, len(task.names)))
