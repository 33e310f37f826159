"""How large marked cells are: a point does not say it, but a model that finds the cell does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from napari_zoommil.cells.model import CellSpec, Finds
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.training.cells.scores import finds_of, pairs


def with_known_sizes(network: torch.nn.Module, spec: CellSpec, windows: Sequence[Window]) -> list[Window]:
    """Windows in which a point has the box of the find that it lies in; without one, that of its class.

    A detector that learns boxes of one size from points soon gives that size to every cell it finds. What
    is no detector learns discs, and its windows stay as they are.
    """
    if not isinstance(network, YOLLO):
        return list(windows)
    network.eval()
    return [_sized(window, finds_of(network, spec, window), spec) for window in windows]


def _sized(window: Window, finds: Finds, spec: CellSpec) -> Window:
    boxes, (marked, found) = window.boxes.copy(), pairs(window, finds, spec)
    boxes[marked] = finds.boxes[found]
    return replace(window, boxes=boxes)
