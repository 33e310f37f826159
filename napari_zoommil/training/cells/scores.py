"""How a cell model does on windows of which only some cells are annotated."""

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
"""A find and an annotated cell belong together within so many cell diameters."""


@dataclass(frozen=True, eq=False)
class WindowFinds:
    """A window, as far as a network says anything of it, and what it finds there; px of that part."""

    window: Window
    finds: Finds


@torch.inference_mode()
def finds_in_window(network: nn.Module, spec: CellSpec, window: Window) -> WindowFinds:
    """What a network finds in a window, on the device that it is on."""
    images = as_images(window.image[None]).to(next(network.parameters()).device)
    finds = find(network, spec, images)[0]
    return WindowFinds(window.inner, Finds(finds.boxes - window.rim, finds.scores, finds.labels))


def finds_in_windows(
    network: nn.Module, spec: CellSpec, windows: Sequence[Window], title: str
) -> Generator[Stage, None, list[WindowFinds]]:
    """What a network finds in each of some windows, one by one."""
    network.eval()
    found = []
    for window in windows:
        found.append(finds_in_window(network, spec, window))
        yield Stage(title, len(found), len(windows))
    return found


def measured(found: Sequence[WindowFinds], spec: CellSpec) -> dict[str, float]:
    """Exclusive recall with predictions per mm², and F1 where every cell is annotated.

    Centres of one class within half its diameter of each other are paired one to one; finds count from the
    model's threshold on. Without windows nothing is said, and without complete regions nothing of F1.
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
    """Only its annotated cells in complete regions."""
    kept = _of(window, Finds(window.boxes, window.labels.astype(float), window.labels))
    return Window(window.image, window.dense, kept.boxes, kept.labels, window.complete)


def _of(window: Window, finds: Finds) -> Finds:
    """Finds whose centres lie in complete regions."""
    y, x = finds.centres.astype(int).T
    inside = (y >= 0) & (x >= 0) & (y < window.shape[0]) & (x < window.shape[1])
    y, x = y.clip(0, window.shape[0] - 1), x.clip(0, window.shape[1] - 1)
    return finds.chosen((inside & window.complete[y, x]).nonzero()[0])
