"""What finds tell of marked cells: their sizes before a training, how surely they are found after it."""

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
"""Share of the marked cells that a fine-tuned model shall find. Where few cells are marked, nothing tells
what is wrongly found, so recall is all that a threshold can be chosen by."""


def pairs(found: WindowFinds, spec: CellSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of annotated cells and of the finds that they belong to, one to one, whatever their classes."""
    return match_centres(found.window.centres, found.finds.centres, REACH * float(spec.diameters_px.max()))


def with_known_sizes(found: Sequence[WindowFinds], spec: CellSpec) -> list[Window]:
    """Windows in which a point has the box of the find that it lies in; without one, that of its class.

    A detector that learns boxes of one size from points soon gives that size to every cell it finds.
    """
    return [_sized(one, spec) for one in found]


def _sized(found: WindowFinds, spec: CellSpec) -> Window:
    boxes, (marked, rows) = found.window.boxes.copy(), pairs(found, spec)
    boxes[marked] = found.finds.boxes[rows]
    return replace(found.window, boxes=boxes)


def threshold_by_marks(found: Sequence[WindowFinds], spec: CellSpec) -> float:
    """The score from which :data:`RECALL` of the marked cells are found.

    Exclusive losses leave alone what a model takes for a cell, so its scores rise with those of the marked
    cells, and the threshold of the model it began with lets too much through.

    Parameters
    ----------
    found : sequence of WindowFinds
        Of the trained model, in the windows it was trained on, each point with its own place.
    spec : CellSpec

    Returns
    -------
    float
        That of ``spec`` where less of them is found at any score, or none is marked.
    """
    scores = np.sort(_scores_of_marks(found, spec))
    if not len(scores):
        return spec.threshold
    missed = len(scores) - math.ceil(RECALL * len(scores))
    # In hundredths, as the slider has it, and some score must lie above; 0: it is not found.
    return min(math.floor(100 * float(scores[missed])) / 100, 0.99) or spec.threshold


def _scores_of_marks(found: Sequence[WindowFinds], spec: CellSpec) -> NDArray[np.float64]:
    """(M,) of what is found of each marked cell, the best of the windows it is in; 0 where nothing is."""
    best: dict[tuple[float, ...], float] = {}
    for one in found:
        scores = np.zeros(len(one.window.boxes))
        marked, rows = pairs(one, spec)
        scores[marked] = one.finds.scores[rows]
        places = (one.window.centres + one.window.origin).round(1)
        for place, score in zip(map(tuple, places.tolist()), scores.tolist(), strict=True):
            best[place] = max(score, best.get(place, 0.0))
    return np.array(list(best.values()))
