"""Detections of annotated cells: their sizes before a training, and their scores after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.cells.metrics import interval, match_centres
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells.scores import REACH, WindowFinds, in_complete_regions

RECALL = 0.9
"""Share of the cells that a model is to find."""

TRUSTED = 0.5
"""Share of the annotated cells that a model may have found at least, for the number of its detections to say
how many cells there are."""

ENOUGH = 20
"""Annotated cells in complete regions from which on their number decides."""


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


@dataclass(frozen=True, eq=False)
class Before:
    """What an initial model found of the annotated cells.

    Attributes
    ----------
    annotated : int
        Number of annotated cells.
    possible : float
        Largest share of all cells that it may find, with 95 % confidence.
    """

    annotated: int
    possible: float

    @classmethod
    def of(cls, found: Sequence[WindowFinds], spec: CellSpec) -> Before:
        """From its detections in the training windows, which count from the threshold of ``spec``."""
        marks = _scores_of_marks(found, spec)
        return cls(len(marks), interval(int((marks >= spec.threshold).sum()), len(marks))[1])

    @property
    def is_trusted(self) -> bool:
        """Whether it may find at least :data:`TRUSTED` of the cells; otherwise it is blind to them."""
        return bool(self.annotated) and self.possible >= TRUSTED


def threshold_by_count(
    before: Sequence[WindowFinds],
    after: Sequence[WindowFinds],
    spec: CellSpec,
    taught: int | None = None,
) -> float:
    """The threshold at which a fine-tuned model finds about as many cells as there are.

    Exclusive losses do not lower the scores of likely cells, so that all scores rise with those of the
    annotated cells, and the threshold of the initial model is too low. Few scores of annotated cells, on
    which the model was trained, say little; the number of cells in windows says more. It is known in
    complete regions. Elsewhere it is the number that the initial model found, and more if the annotated cells
    show with 95 % confidence that it found fewer than :data:`RECALL` of them. Of an initial model that is not
    trusted, the number says nothing, and the recall on annotated cells becomes :data:`RECALL`.

    Parameters
    ----------
    before, after : sequence of WindowFinds
        Detections of both models in the training windows, and after those in windows at random places. These
        are counted if there are any: points are put where there are cells, so that the training windows do
        not show what else looks like one.
    spec : CellSpec
        With the threshold of the initial model.
    taught : int, optional
        Number of training windows; all by default.

    Returns
    -------
    float
        The threshold of ``spec`` if there is nothing to go by.
    """
    there = before[len(before[:taught]) :], after[len(after[:taught]) :]
    before, after = before[:taught], after[:taught]
    regions = [in_complete_regions(one) for one in after if one.window.complete.any()]
    known = sum(len(one.window.boxes) for one in regions)
    if known >= ENOUGH:
        return _threshold_of(np.concatenate([one.finds.scores for one in regions]), known, spec)
    found = Before.of(before, spec)
    if not found.is_trusted:
        marks = _scores_of_marks(after, spec)
        return _threshold_of(marks, math.ceil(RECALL * len(marks)), spec)
    if _count(there[0], spec):
        before, after = there
    scores = np.concatenate([one.finds.scores for one in after])
    return _threshold_of(scores, round(_count(before, spec) * max(1.0, RECALL / found.possible)), spec)


def _count(found: Sequence[WindowFinds], spec: CellSpec) -> int:
    return sum(int((one.finds.scores >= spec.threshold).sum()) for one in found)


def _threshold_of(scores: NDArray[np.float64], count: int, spec: CellSpec) -> float:
    """The threshold from which ``count`` scores count, in hundredths like the slider."""
    best = np.sort(scores)[::-1]
    if not 0 < count <= len(best):
        return spec.threshold
    # Below at least one score; 0 means not detected.
    return min(math.floor(100 * float(best[count - 1])) / 100, 0.99) or spec.threshold


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
