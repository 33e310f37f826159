"""A MIL model fitted by a recipe and measured, step by step."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from tempfile import TemporaryDirectory

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from napari_zoommil.encoders.device import Device
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.registry import Recipe
from napari_zoommil.training.fit import FitStep, accelerator, fit_steps
from napari_zoommil.training.mil.module import Example, MILModule, loader


def fit(
    mil: MILModel,
    recipe: Recipe,
    train: Sequence[Example],
    val: Sequence[Example],
    device: Device,
    seed: int = 0,
) -> Generator[FitStep, None, None]:
    """Fit a model, and leave it as it was in its best epoch."""
    module = MILModule(mil, recipe)
    with TemporaryDirectory(prefix="zoommil-") as folder:
        keeper = ModelCheckpoint(folder, monitor=recipe.monitor, mode=recipe.mode, save_weights_only=True)
        callbacks: list[L.Callback] = [keeper]
        if recipe.stop_after:
            callbacks.append(EarlyStopping(recipe.monitor, patience=recipe.stop_after, mode=recipe.mode))
        steps = fit_steps(
            module,
            loader(train, mil.task, recipe, seed),
            loader(val),
            callbacks=callbacks,
            max_epochs=recipe.epochs,
            min_epochs=min(recipe.least_epochs, recipe.epochs),
            accumulate_grad_batches=recipe.accumulate,
            **accelerator(device),
            logger=False,
            num_sanity_val_steps=0,
        )
        # Closed before the folder goes: the fit's thread writes there.
        with closing(steps):
            yield from steps
        state = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])


def evaluate(
    mil: MILModel, examples: Sequence[Example], device: Device
) -> Generator[int, None, dict[str, float]]:
    """The task's metrics and the mean of its loss over bags; yields how many are done.

    A metric that so few bags do not have, as a correlation of two equal ones, is left out.
    """
    if not examples:
        return {}
    mil.to(device.torch).eval()
    metrics, losses = mil.task.metrics(), []
    for number, (bag, value) in enumerate(examples, 1):
        with torch.no_grad():
            logits, target = mil(bag).logits.cpu(), torch.tensor(value)
            losses.append(float(mil.task.loss(logits, target)))
            for metric in metrics.values():
                metric.update(mil.task.measured(logits), target[None])
        yield number
    mil.cpu()
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    found["loss"] = sum(losses) / len(losses)
    return {name: value for name, value in found.items() if math.isfinite(value)}
