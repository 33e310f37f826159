"""Evaluation of a cell model on sparsely annotated windows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

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


def measured(found: Sequence[WindowFinds], spec: CellSpec, by_class: bool = True) -> dict[str, float]:
    """Exclusive recall with predictions per mm², and F1 where every cell is annotated.

    Detections count from the model's threshold, and are paired one to one with annotated cells by their
    centres: those of any class within half the largest diameter, and those of each class by itself within
    half its own. Without windows the result is empty, and without complete regions it has no F1.

    Parameters
    ----------
    found : sequence of WindowFinds
    spec : CellSpec
    by_class : bool
        Whether the model knows the classes; one that does not is measured on cells of any class only.

    Returns
    -------
    dict of str to float
        ``exclusive_recall``, ``predictions_per_mm2``, ``f1_complete``; the same of a class with its name,
        such as ``exclusive_recall:lymphocyte``; and of each share ``NAME/cells``, ``NAME/low`` and
        ``NAME/high``: annotated cells that it rests on, and its 95 % confidence interval.
    """
    if not found:
        return {}
    counted = [replace(one, finds=one.finds.chosen(one.finds.scores >= spec.threshold)) for one in found]
    complete = [in_complete_regions(one) for one in counted if one.window.complete.any()]
    area = sum(one.window.dense.size for one in found) * (spec.mpp / 1000) ** 2
    values: dict[str, float] = {}
    for name, label in _classes(spec, by_class):
        score = _score(counted, spec, label)
        values |= _share(f"exclusive_recall{name}", score.recall, score.recall_interval, score.known)
        if not name:
            values["predictions_per_mm2"] = exclusive_recall(score, area).predictions_per_mm2
        if complete:
            score = _score(complete, spec, label)
            values |= _share(f"f1_complete{name}", score.f1, score.f1_interval, score.known)
    return values


def _classes(spec: CellSpec, by_class: bool) -> list[tuple[str, int]]:
    """Ending of the name and label of what is measured; label 0 is cells of any class."""
    several = by_class and len(spec.classes) > 1
    return [("", 0), *((f":{one.name}", label) for label, one in enumerate(spec.classes, 1) if several)]


def _share(name: str, value: float, bounds: tuple[float, float], cells: int) -> dict[str, float]:
    low, high = bounds
    return {name: value, f"{name}/cells": float(cells), f"{name}/low": low, f"{name}/high": high}


def _score(found: Sequence[WindowFinds], spec: CellSpec, label: int) -> DetectionScore:
    """Of the cells with a label, or of all with label 0."""
    diameter = spec.diameters_px[label - 1] if label else spec.diameters_px.max()
    score = DetectionScore(0, 0, 0)
    for one in found:
        window, finds = one.window, one.finds
        known, seen = window.centres, finds.centres
        if label:
            known, seen = known[window.labels == label], seen[finds.labels == label]
        score += centre_score(known, seen, REACH * float(diameter))
    return score


def in_complete_regions(found: WindowFinds) -> WindowFinds:
    """What is annotated and detected where every cell is annotated."""
    return WindowFinds(_inside(found.window), _of(found.window, found.finds))


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
