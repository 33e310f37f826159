"""Presets of cell training."""

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
    trust=30,
)
"""Fine-tuning of a trained model in about a minute on two cores. With thirty points the new weights count
half (docs/cells.md, *How many points?*). Five times the learning rate was not better
and varied more between seeds (:mod:`napari_zoommil.experiments.few_points.experiment`)."""

PAPER_GATES = {"unet": "ece-margin", "yollo": "ece"}
"""Gates of ECE's authors: their example trains a U-Net with the gap of the two largest probabilities, and
their loss for one output, as a detector has, takes the probability of foreground."""

PRESETS = {"interactive": INTERACTIVE, "paper": PAPER}

NEW_CLASSES = 10.0
"""Head rate of ``interactive`` for new classes, which start with equal outputs of the last layer. On a
synthetic slide with thirty points of each of two classes, 0.49 of the detected fibroblasts had the right
class without it and 0.86 with it; lymphocytes 0.93 and 0.92."""

CONSTANT = {"threshold": constant(0.5), "sampling": constant(0.5)}
"""Options of exclusive cross-entropy without annealing: a trained model does not need the foreground-only
phase, and a short training would never reach background. On 30 % of the labels of ``sparse-labels`` a
U-Net with the margin gate and these options had the best Dice at 0.5 of all losses, over three seeds. With
sixty points (:mod:`napari_zoommil.experiments.few_points`, three draws) all losses are equal for the shipped
detector."""


def recipe(
    preset: str, architecture: str, loss: str | None = None, new_classes: bool = False, **changes: Any
) -> CellRecipe:
    """A preset by name for an architecture, with changes; values of None are ignored.

    ``new_classes`` states that the model has to learn new classes.
    """
    changed = {name: value for name, value in changes.items() if value is not None}
    settings = replace(PRESETS[preset], **changed)
    if new_classes and preset != "paper":
        settings = replace(settings, head_rate=NEW_CLASSES)
    if architecture != "yollo":  # not measured for others
        settings = replace(settings, trust=0)
    loss = loss or (PAPER_GATES[architecture] if preset == "paper" else settings.loss)
    if not loss.startswith("ece") or preset == "paper":
        return replace(settings, loss=loss)
    # On average elements that are not annotated count 0.1 (0.2 · 0.5); the weight restores the paper's 1.
    return replace(settings, loss=loss, options=CONSTANT, background=PAPER.background)
