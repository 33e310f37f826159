"""Settings of cell trainings that are known to serve a purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_zoommil.cells.losses.schedules import constant
from napari_zoommil.training.cells.module import CellRecipe

PAPER = CellRecipe()
"""Supplement of ECE, Table 2: Adam, 1e-4, batches of 16 accumulated four times, 300 epochs."""

INTERACTIVE = replace(
    PAPER,
    loss="ece-margin",
    epochs=12,
    draws=64,
    batch_size=8,
    accumulate=1,
    crop=160,
    background=1.0,
)
"""From a trained model, in about a minute on two cores. Five times the learning rate gained nothing and
spread more (:mod:`napari_zoommil.experiments.few_points.experiment`)."""

PRESETS = {"interactive": INTERACTIVE, "paper": PAPER}

NEW_CLASSES = 10.0
"""Head rate of ``interactive`` where a model is to tell classes apart that it did not know: its last layer
begins with the same output for all of them. On a made slide with thirty marks of each of two, 0.49 of the
finds among fibroblasts were called so without and 0.86 with it; lymphocytes 0.93 and 0.92."""

CONSTANT = {"threshold": constant(0.5), "sampling": constant(0.5)}
"""Options of exclusive cross-entropy without annealing: a model that knows cells needs no foreground-only
beginning, and a short training would never see background. On 30 % of the labels of ``sparse-labels`` a
U-Net had the best Dice at 0.5 with the margin gate and these, of all losses and over three seeds. Of sixty
points (:mod:`napari_zoommil.experiments.few_points`, three draws) all losses make the same of the shipped
detector."""


def recipe(preset: str, loss: str | None = None, new_classes: bool = False, **changes: Any) -> CellRecipe:
    """Settings by name, with some of them changed; what is None stays.

    ``new_classes`` says that the model is to tell classes apart that it does not know.
    """
    changed = {name: value for name, value in changes.items() if value is not None}
    settings = replace(PRESETS[preset], **changed)
    if new_classes and preset != "paper":
        settings = replace(settings, head_rate=NEW_CLASSES)
    loss = loss or settings.loss
    if not loss.startswith("ece") or preset == "paper":
        return replace(settings, loss=loss)
    # The loss takes a tenth of what is not annotated (0.2 · 0.5), the paper's weight brings it back to one.
    return replace(settings, loss=loss, options=CONSTANT, background=PAPER.background)
