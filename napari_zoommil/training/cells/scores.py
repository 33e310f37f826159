"""Evaluation of a cell model on sparsely annotated windows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from napari_zoommil.cells.metrics import DetectionScore, centre_score, exclusive_recall
from napari_zoommil.cells.model import Finds, as_images, find
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.fit import Stage

REACH = 0.5
"""Largest distance between a detection and an annotated cell that match, in cell diameters."""


@dataclass(frozen=True, eq=False)
class WindowFinds:
    """A window without its rim, and the cells that a network detects in it; px of that part."""

    window: Window
    finds: Finds


@torch.inference_mode()
def finds_in_window(network: nn.Module, spec: CellSpec, window: Window) -> WindowFinds:
    """The cells that a network detects in a window, on the network's device."""
    images = as_images(window.image[None]).to(next(network.parameters()).device)
    finds = find(network, spec, images)[0]
    return WindowFinds(window.inner, Finds(finds.boxes - window.rim, finds.scores, finds.labels))


def finds_in_windows(
    network: nn.Module, spec: CellSpec, windows: Sequence[Window], title: str
) -> Generator[Stage, None, list[WindowFinds]]:
    """The cells that a network detects in each of several windows; yields after each window."""
    network.eval()
    found = []
    for window in windows:
        found.append(finds_in_window(network, spec, window))
        yield Stage(title, len(found), len(windows))
    return found


def measured(found: Sequence[WindowFinds], spec: CellSpec) -> dict[str, float]:
    """Exclusive recall with predictions per mm², and F1 where every cell is annotated.

    Centres of the same class at most half its diameter apart are paired one to one; detections count from
    the model's threshold. Without windows the result is empty, and without complete regions it has no F1.
    """
    if not found:
        return {}
    every, complete, area, any_complete = DetectionScore(0, 0, 0), DetectionScore(0, 0, 0), 0.0, False
    for one in found:
        window, finds = one.window, one.finds.chosen(one.finds.scores >= spec.threshold)
        every += _score(window, finds, spec)
        area += window.dense.size * (spec.mpp / 1000) ** 2
        if window.complete.any():
            any_complete = True
            complete += _score(_inside(window), _of(window, finds), spec)
    recall = exclusive_recall(every, area)
    values = {"exclusive_recall": recall.recall, "predictions_per_mm2": recall.predictions_per_mm2}
    return values | ({"f1_complete": complete.f1} if any_complete else {})


def _score(window: Window, finds: Finds, spec: CellSpec) -> DetectionScore:
    score = DetectionScore(0, 0, 0)
    for label, diameter in enumerate(spec.diameters_px, 1):
        known, found = window.centres[window.labels == label], finds.centres[finds.labels == label]
        score += centre_score(known, found, REACH * float(diameter))
    return score


def _inside(window: Window) -> Window:
    """The window with only its annotated cells in complete regions."""
    kept = _of(window, Finds(window.boxes, window.labels.astype(float), window.labels))
    return Window(window.image, window.dense, kept.boxes, kept.labels, window.complete)


def _of(window: Window, finds: Finds) -> Finds:
    """Detections whose centres are in complete regions."""
    y, x = finds.centres.astype(int).T
    inside = (y >= 0) & (x >= 0) & (y < window.shape[0]) & (x < window.shape[1])
    y, x = y.clip(0, window.shape[0] - 1), x.clip(0, window.shape[1] - 1)
    return finds.chosen((inside & window.complete[y, x]).nonzero()[0])
