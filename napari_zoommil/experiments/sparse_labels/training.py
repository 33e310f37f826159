"""A trial of the experiment ``sparse-labels``: training on sparse labels, and evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.losses.learning_speed import second_derivative_curves
from napari_zoommil.cells.model import NETWORKS
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO, kmeans_anchors
from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.nuclei import Tile, thinned, typical_diameter, window_of
from napari_zoommil.experiments.sparse_labels.scores import scores_of
from napari_zoommil.experiments.sparse_labels.settings import Preset, Trial
from napari_zoommil.training.cells.module import (
    CellModule,
    CellRecipe,
    WindowData,
    target_maker,
    train_loader,
)
from napari_zoommil.training.fit import FitStep, fit_steps
from napari_zoommil.training.flags import TrainerFlags

ANCHORS = 2
"""Number of anchors of YOLLO, fitted to the annotated nuclei."""

WATCHED = 4
"""Windows whose learning speed is recorded."""


class SpeedRecorder(L.Callback):
    """Records the output for fixed windows at the start of each epoch and at the end of the training."""

    def __init__(self, windows: Sequence[Window], recipe: CellRecipe, network: UNet, loss: Loss) -> None:
        data = WindowData(windows, recipe, target_maker(network, recipe.crop), augment=False)
        self.loss = loss
        samples = [data[0, 0, index] for index in range(min(WATCHED, len(windows)))]
        self.images = torch.stack([sample.image for sample in samples])
        self.targets = torch.stack([sample.targets for sample in samples])
        self.said: list[tuple[float, Tensor, Tensor]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._look(module, trainer.current_epoch / (trainer.max_epochs or 1))

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._look(module, 1.0)

    def _look(self, module: L.LightningModule, progress: float) -> None:
        assert isinstance(module, CellModule)
        module.network.eval()
        with torch.no_grad():
            logits = module.network(self.images.to(module.device)).float().cpu()
        module.network.train()
        self.said.append((progress, logits, self.targets))

    def curves(self, seed: int) -> dict[str, list[float]]:
        """The learning speed (supplement, Fig. 1)."""
        found = second_derivative_curves(self.loss, self.said, generator=torch.Generator().manual_seed(seed))
        return {name: values.tolist() for name, values in asdict(found).items()}


def compute(
    trial: Trial, preset: Preset, split: dict[str, list[Tile]], mpp: float, device: Device
) -> Generator[FitStep, None, dict[str, Any]]:
    """Train and evaluate.

    Parameters
    ----------
    trial : Trial
    preset : Preset
    split : dict of str to list of Tile
        ``train`` and ``val`` are thinned to the trial's share; ``test`` is used completely.
    mpp : float
        Resolution of the tiles, µm/px.
    device : Device

    Returns
    -------
    dict
        ``scores``, ``losses`` per epoch, ``speed`` of learning (for losses without running targets and
        dense outputs), ``diameter_px``, ``seconds``, ``device``.
    """
    started = time.perf_counter()
    train, validation = (
        [thinned(tile, trial.percent, trial.seed) for tile in split[name]] for name in ("train", "val")
    )
    diameter, recipe = typical_diameter(train), fitted(preset.recipe(trial), train)
    with own_random_numbers(trial.seed):
        network = _network(trial.model, preset.networks[trial.model], train)
    module, windows = CellModule(network, recipe), [window_of(tile) for tile in train]
    recorder = None
    if isinstance(network, UNet) and isinstance(module.loss, Loss):
        recorder = SpeedRecorder(windows, recipe, network, module.loss)
    loader = train_loader(windows, recipe, network)
    losses = yield from _fit(module, loader, [recorder] if recorder else [], device)
    scores = scores_of(network.to(device.torch), validation, split["test"], diameter, mpp)
    device.release()
    return {
        "scores": scores,
        "losses": losses,
        "speed": recorder.curves(trial.seed) if recorder else None,
        "diameter_px": diameter,
        "annotated": sum(len(instance_boxes(tile.instances)[1]) for tile in train),
        "seconds": time.perf_counter() - started,
        "device": str(device.torch),
    }


def fitted(recipe: CellRecipe, tiles: Sequence[Tile]) -> CellRecipe:
    """The recipe with a crop that is a power of two (supplement, sec. 2) and fits into the smallest tile."""
    least = min(min(tile.image.shape[:2]) for tile in tiles)
    return replace(recipe, crop=min(recipe.crop, 2 ** int(math.log2(least))))


def _fit(
    module: CellModule, loader: Any, callbacks: list[L.Callback], device: Device
) -> Generator[FitStep, None, list[float]]:
    """Train to the end; returns the mean loss of each epoch."""
    losses: dict[int, list[float]] = {}
    steps = fit_steps(
        module,
        loader,
        callbacks=callbacks,
        epochs=module.recipe.epochs,
        device=device,
        flags=TrainerFlags(accumulate=module.recipe.accumulate),
    )
    with closing(steps):
        for step in steps:
            losses.setdefault(step.epoch, []).append(step.metrics["train_loss_step"])
            yield step
    return [float(np.mean(values)) for values in losses.values()]


def _network(model: str, config: dict[str, Any], train: Sequence[Tile]) -> UNet | YOLLO:
    """An untrained network; a detector's anchors are fitted to the annotated nuclei."""
    if model == "yollo":
        boxes = np.concatenate([instance_boxes(tile.instances)[0] for tile in train])
        config = {**config, "anchors": kmeans_anchors(boxes[:, 2:] - boxes[:, :2], ANCHORS)}
    return NETWORKS[model](**config)
