"""How a cell model does on windows of which only some cells are annotated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_zoommil.cells.metrics import DetectionScore, centre_score, exclusive_recall, match_centres
from napari_zoommil.cells.model import CellSpec, Finds, as_images, find
from napari_zoommil.cells.windows import Window

REACH = 0.5
"""A find and an annotated cell belong together within so many cell diameters."""


@torch.inference_mode()
def measured(network: nn.Module, spec: CellSpec, windows: Sequence[Window]) -> dict[str, float]:
    """Exclusive recall with predictions per mm², and F1 where every cell is annotated.

    Centres of one class within half its diameter of each other are paired one to one; finds count from the
    model's threshold on. Without windows nothing is said, and without complete regions nothing of F1.
    """
    if not windows:
        return {}
    network.eval()
    found, complete, area, any_complete = DetectionScore(0, 0, 0), DetectionScore(0, 0, 0), 0.0, False
    for window in windows:
        finds = finds_of(network, spec, window)
        finds = finds.chosen(finds.scores >= spec.threshold)
        found += _score(window, finds, spec)
        area += window.dense.size * (spec.mpp / 1000) ** 2
        if window.complete.any():
            any_complete = True
            complete += _score(_inside(window), _of(window, finds), spec)
    recall = exclusive_recall(found, area)
    values = {"exclusive_recall": recall.recall, "predictions_per_mm2": recall.predictions_per_mm2}
    return values | ({"f1_complete": complete.f1} if any_complete else {})


@torch.inference_mode()
def finds_of(network: nn.Module, spec: CellSpec, window: Window) -> Finds:
    """What a network finds in a window, px of it, on the device that it is on."""
    return find(network, spec, as_images(window.image[None]).to(next(network.parameters()).device))[0]


def pairs(window: Window, finds: Finds, spec: CellSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of annotated cells and of the finds that they belong to, one to one, whatever their classes."""
    return match_centres(window.centres, finds.centres, REACH * float(spec.diameters_px.max()))


def _score(window: Window, finds: Finds, spec: CellSpec) -> DetectionScore:
    score = DetectionScore(0, 0, 0)
    for label, diameter in enumerate(spec.diameters_px, 1):
        known, found = window.centres[window.labels == label], finds.centres[finds.labels == label]
        score += centre_score(known, found, REACH * float(diameter))
    return score


def _inside(window: Window) -> Window:
    """Only its annotated cells in complete regions."""
    kept = _of(window, Finds(window.boxes, window.labels.astype(float), window.labels))
    return Window(window.image, window.dense, kept.boxes, kept.labels, window.complete)


def _of(window: Window, finds: Finds) -> Finds:
    """Finds whose centres lie in complete regions."""
    y, x = finds.centres.astype(int).T
    inside = (y >= 0) & (x >= 0) & (y < window.shape[0]) & (x < window.shape[1])
    y, x = y.clip(0, window.shape[0] - 1), x.clip(0, window.shape[1] - 1)
    return finds.chosen((inside & window.complete[y, x]).nonzero()[0])
