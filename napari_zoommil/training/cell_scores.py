"""How a cell model does on windows of which only some cells are annotated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_zoommil.cells.metrics import DetectionScore, centre_score, exclusive_recall
from napari_zoommil.cells.model import CellSpec, Finds, as_images, find
from napari_zoommil.cells.windows import Window

REACH = 0.5
"""A find and an annotated cell belong together within so many cell diameters."""


@torch.inference_mode()
def measured(network: nn.Module, spec: CellSpec, windows: Sequence[Window]) -> dict[str, float]:
    """Exclusive recall with predictions per mm², and F1 where every cell is annotated.

    Centres within half a cell diameter of each other are paired one to one; finds count from the
    model's threshold on. Without windows nothing is said, and without complete regions nothing of F1.
    """
    if not windows:
        return {}
    network.eval()
    device = next(network.parameters()).device
    found, complete, area, any_complete = DetectionScore(0, 0, 0), DetectionScore(0, 0, 0), 0.0, False
    for window in windows:
        finds = find(network, spec, as_images(window.image[None]).to(device))[0]
        finds = finds.chosen(finds.scores >= spec.threshold)
        found += _score(window, finds, spec)
        area += window.dense.size * (spec.mpp / 1000) ** 2
        if window.complete.any():
            any_complete = True
            complete += _score(_inside(window), _of(window, finds), spec)
    recall = exclusive_recall(found, area)
    values = {"exclusive_recall": recall.recall, "predictions_per_mm2": recall.predictions_per_mm2}
    return values | ({"f1_complete": complete.f1} if any_complete else {})


def _score(window: Window, finds: Finds, spec: CellSpec) -> DetectionScore:
    centres = (window.boxes[:, :2] + window.boxes[:, 2:]) / 2
    return centre_score(centres, finds.centres, REACH * float(spec.diameters_px.max()))


def _inside(window: Window) -> Window:
    """Only its annotated cells in complete regions."""
    centres = Finds(window.boxes, window.labels.astype(float), window.labels)
    kept = _of(window, centres)
    return Window(window.image, window.dense, kept.boxes, kept.labels, window.complete)


def _of(window: Window, finds: Finds) -> Finds:
    """Finds whose centres lie in complete regions."""
    y, x = finds.centres.astype(int).T
    inside = (y >= 0) & (x >= 0) & (y < window.shape[0]) & (x < window.shape[1])
    y, x = y.clip(0, window.shape[0] - 1), x.clip(0, window.shape[1] - 1)
    return finds.chosen((inside & window.complete[y, x]).nonzero()[0])
