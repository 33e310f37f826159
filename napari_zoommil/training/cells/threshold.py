"""From which score on a find of a fine-tuned model counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_zoommil.cells.model import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.training.cells.scores import finds_of, pairs

RECALL = 0.9
"""Share of the marked cells that a fine-tuned model shall find. Where few cells are marked, nothing tells
what is wrongly found, so recall is all that a threshold can be chosen by."""


def threshold_by_marks(network: nn.Module, spec: CellSpec, windows: Sequence[Window]) -> float:
    """The score from which :data:`RECALL` of the marked cells are found.

    Exclusive losses leave alone what a model takes for a cell, so its scores rise with those of the marked
    cells, and the threshold of the model it began with lets too much through.

    Parameters
    ----------
    network, spec
        The trained model. That of pixels keeps its threshold: its map is cut there, and elsewhere it would
        find other cells.
    windows : sequence of Window
        That it was trained on, each point with its own place.

    Returns
    -------
    float
        That of ``spec`` where less of them is found at any score, or none is marked.
    """
    if not isinstance(network, YOLLO):
        return spec.threshold
    network.eval()
    scores = np.sort(_scores_of_marks(network, spec, windows))
    if not len(scores):
        return spec.threshold
    missed = len(scores) - math.ceil(RECALL * len(scores))
    # In hundredths, as the slider has it, and some score must lie above; 0: it is not found.
    return min(math.floor(100 * float(scores[missed])) / 100, 0.99) or spec.threshold


def _scores_of_marks(network: YOLLO, spec: CellSpec, windows: Sequence[Window]) -> NDArray[np.float64]:
    """(M,) of what is found of each marked cell, the best of the windows it is in; 0 where nothing is."""
    best: dict[tuple[float, ...], float] = {}
    for window in windows:
        finds, scores = finds_of(network, spec, window), np.zeros(len(window.boxes))
        marked, found = pairs(window, finds, spec)
        scores[marked] = finds.scores[found]
        places = (window.centres + window.origin).round(1)
        for place, score in zip(map(tuple, places.tolist()), scores.tolist(), strict=True):
            best[place] = max(score, best.get(place, 0.0))
    return np.array(list(best.values()))
