"""Detections of annotated cells: their sizes before a training, and their scores after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.cells.metrics import match_centres
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells.scores import REACH, WindowFinds

RECALL = 0.9
"""Recall on annotated cells at which the threshold of a fine-tuned model is set. With sparse annotations
false positives are unknown, so that recall is the only criterion."""


def pairs(found: WindowFinds, spec: CellSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One-to-one pairs of annotated cells and detections of any class: rows of both."""
    return match_centres(found.window.centres, found.finds.centres, REACH * float(spec.diameters_px.max()))


def with_known_sizes(found: Sequence[WindowFinds], spec: CellSpec) -> list[Window]:
    """Windows in which each point has the box of its detection or, without one, the size of its class.

    A detector trained on boxes of constant size soon returns that size for every cell.
    """
    return [_sized(one, spec) for one in found]


def _sized(found: WindowFinds, spec: CellSpec) -> Window:
    boxes, (marked, rows) = found.window.boxes.copy(), pairs(found, spec)
    boxes[marked] = found.finds.boxes[rows]
    return replace(found.window, boxes=boxes)


def threshold_by_marks(found: Sequence[WindowFinds], spec: CellSpec) -> float:
    """The threshold at which the recall on annotated cells is :data:`RECALL`.

    Exclusive losses do not lower the scores of likely cells, so that all scores rise with those of the
    annotated cells, and the threshold of the initial model is too low.

    Parameters
    ----------
    found : sequence of WindowFinds
        Detections of the trained model in its training windows.
    spec : CellSpec

    Returns
    -------
    float
        The threshold of ``spec`` if the recall cannot be reached, or no cell is annotated.
    """
    scores = np.sort(_scores_of_marks(found, spec))
    if not len(scores):
        return spec.threshold
    missed = len(scores) - math.ceil(RECALL * len(scores))
    # In hundredths like the slider, and below at least one score; 0 means not detected.
    return min(math.floor(100 * float(scores[missed])) / 100, 0.99) or spec.threshold


def _scores_of_marks(found: Sequence[WindowFinds], spec: CellSpec) -> NDArray[np.float64]:
    """(M,) score of the detection of each annotated cell, the best of its windows; 0 if not detected."""
    best: dict[tuple[float, ...], float] = {}
    for one in found:
        scores = np.zeros(len(one.window.boxes))
        marked, rows = pairs(one, spec)
        scores[marked] = one.finds.scores[rows]
        places = (one.window.centres + one.window.origin).round(1)
        for place, score in zip(map(tuple, places.tolist()), scores.tolist(), strict=True):
            best[place] = max(score, best.get(place, 0.0))
    return np.array(list(best.values()))
