"""Occlusion of a MIL prediction: how much an output falls when a patch is not there.

A patch goes with all patches inside it: their tissue is the same. Where a model zooms, it zooms anew, and
what it then asks for is encoded if it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from napari_zoommil.bags.need import NeedImage
from napari_zoommil.bags.subgrid import inside, without
from napari_zoommil.bags.view import PartBag, ReplacedBag, glass_of
from napari_zoommil.errors import ModelError
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass

Telling = Generator[tuple[int, int, str], None, Found]


def left_out(recorded: RecordedPass) -> Telling:
    """The output less that without the patch; NaN for a patch that is the only one."""

    def view(level: int, row: int) -> Any:
        grid, rows = without(recorded.grid, level, row)
        return PartBag(recorded.bag, grid, rows) if len(grid.levels[0]) else None

    return _occluded(recorded, "occlusion", view)


def as_glass(recorded: RecordedPass) -> Telling:
    """The output less that with background in the patch's place."""
    glass = glass_of(recorded.bag)

    def view(level: int, row: int) -> Any:
        return ReplacedBag(recorded.bag, inside(recorded.grid, level, np.array([row])), glass)

    return _occluded(recorded, "occlusion-glass", view)


def _occluded(recorded: RecordedPass, kind: str, view: Callable[[int, int], Any]) -> Telling:
    asked = recorded.asked()
    total, done = sum(len(rows) for _, rows in asked), 0
    if not total or any(isinstance(need, NeedImage) for need in recorded.needs):
        name = recorded.model.name
        raise ModelError(f"{name} does not read patches alone, one by one: none can be left out")
    patches = []
    for level, rows in asked:
        values = np.full((len(recorded.names), len(rows)), np.nan, np.float32)
        for place, row in enumerate(rows):
            yield done, total, f"{done:,} of {total:,} patches"
            bag = view(level, int(row))
            if bag is not None:
                again = recorded.again(bag)
                try:
                    while True:
                        next(again)
                        yield done, total, f"{done:,} of {total:,} patches"
                except StopIteration as end:
                    values[:, place] = _fall(recorded.output.logits, end.value.logits)
            done += 1
        patches.append(PatchScores(level, rows, values))
    return recorded.found(kind, tuple(patches))


def _fall(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    return (before - after).cpu().numpy()
