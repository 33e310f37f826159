"""Whether a map says what the model goes by: its output while the places that it ranks first are taken.

*Deletion*: patches are taken away, those with the largest values first; the sooner the output falls, the
better, so a small area under the curve is good. *Insertion*: only the first ones are given; the sooner the
output is there, the better, so a large area is good (Petsiuk et al. 2018). Both beside random orders of the
same patches: those of which the map says nothing stay in all orders. Of an image that a model reads as a
whole, boxes of it are covered with the slide's background.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_zoommil.bags.need import NeedImage
from napari_zoommil.bags.subgrid import without
from napari_zoommil.bags.view import PartBag
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Rows
from napari_zoommil.maps.curves import DRAWS, Curves
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.occlusion import background_of, boxes_of, passed, with_answers
from napari_zoommil.maps.recorded import RecordedPass
from napari_zoommil.models.mil import MILOutput

Told = tuple[int, int, str]


class _Parts(Protocol):
    """What can be taken from what a model read."""

    values: NDArray[np.float64]
    """(n,) of the map, NaN where it says nothing."""

    def without(self, taken: Rows, done: int, total: int) -> Generator[Told, None, MILOutput]:
        """The output without some of them."""
        ...


def curves(
    recorded: RecordedPass, shown: HeatMap, target: int, steps: int = 10, draws: int = DRAWS, seed: int = 0
) -> Generator[Told, None, Curves]:
    """Deletion and insertion in the order of a map, and in random orders.

    Parameters
    ----------
    recorded : RecordedPass
    shown : HeatMap
        Of one magnification; larger is for the output.
    target : int
        Index of the output that is followed, in its own unit (a probability of classes).
    steps : int
        Points of a curve, besides its beginning.
    draws : int
        Random orders.

    Raises
    ------
    ModelError
        If the map has values of fewer than two patches, or boxes.
    """
    parts = _parts(recorded, shown)
    known = np.flatnonzero(np.isfinite(parts.values))
    count = len(known)
    if count < 2:
        raise ModelError("one patch has no order: there is nothing to take away one after the other")
    rng = np.random.default_rng(seed)
    own = known[np.argsort(-parts.values[known], kind="stable")]
    orders = [own, *(rng.permutation(known) for _ in range(draws))]
    taken = np.unique(np.rint(np.linspace(0, count, steps + 1)).astype(int))
    found = np.empty((2, len(orders), len(taken)))
    done, total = 0, found.size
    for number, order in enumerate(orders):
        for place, first in enumerate(taken):
            for way, rows in enumerate((order[:first], order[first:])):
                yield done, total, f"{done:,} of {total:,} passes"
                output = yield from parts.without(np.sort(rows), done, total)
                values = recorded.model.task.link(output.logits.cpu())
                found[way, number, place] = float(values[target])
                done += 1
    deletion, insertion = found
    return Curves(
        shown.kind,
        recorded.names[target],
        shown.magnification,
        taken / count,
        deletion[0],
        insertion[0],
        deletion[1:],
        insertion[1:],
        len(parts.values) - count,
    )


def _parts(recorded: RecordedPass, shown: HeatMap) -> _Parts:
    if any(isinstance(need, NeedImage) for need in recorded.needs):
        return _Boxes(recorded, shown)
    levels = [
        level
        for level, one in enumerate(recorded.grid.levels)
        if abs(one.magnification / shown.magnification - 1) < 0.01
    ]
    if not levels:
        raise ModelError("the map is of a magnification at which the model reads no patches")
    return _Patches(recorded, shown, levels[0])


@dataclass(eq=False)
class _Patches:
    """Patches of one magnification, each with all patches inside it."""

    recorded: RecordedPass
    shown: HeatMap
    level: int

    def __post_init__(self) -> None:
        patches = self.recorded.grid.levels[self.level]
        middles = patches.origins + np.asarray(patches.size) / 2
        self.values = np.array([np.nan if (v := self.shown.at(*one)) is None else v for one in middles])

    def without(self, taken: Rows, done: int, total: int) -> Generator[Told, None, MILOutput]:
        """One patch at least is always there: there is no answer to none."""
        if len(taken) == len(self.values):
            taken = np.setdiff1d(taken, [self._kept(taken)])
        grid, kept = without(self.recorded.grid, self.level, taken)
        return (yield from passed(self.recorded, PartBag(self.recorded.bag, grid, kept), done, total))

    def _kept(self, taken: Rows) -> int:
        return int(taken[self.values[taken].argmin()])


class _Boxes:
    """Boxes of the images that a model read."""

    def __init__(self, recorded: RecordedPass, shown: HeatMap) -> None:
        self._recorded = recorded
        self._boxes = [
            (number, slices)
            for number, need in enumerate(recorded.needs)
            if isinstance(need, NeedImage)
            for _, slices in boxes_of(recorded, number)
        ]
        self.values = np.array([self._mean(shown, *one) for one in self._boxes])

    def _mean(self, shown: HeatMap, number: int, slices: tuple[slice, slice]) -> float:
        """Of the map's values in a box."""
        need, shape = self._recorded.needs[number], self._recorded.answers[number].shape[1:]
        assert isinstance(need, NeedImage)
        picked: list[Any] = []
        extents = (need.box.height, need.box.width)
        for start, extent, size, own, step, length, part in zip(
            (need.box.y, need.box.x),
            extents,
            shape,
            shown.origin,
            shown.downsample,
            shown.values.shape,
            slices,
            strict=True,
        ):
            low, high = (start + min(edge, size) * extent / size for edge in (part.start, part.stop))
            first, last = np.floor((low - own) / step + 0.5), np.ceil((high - own) / step - 0.5)
            picked.append(slice(int(max(first, 0)), int(max(min(max(last, first + 1), length), 0))))
        inside = shown.values[tuple(picked)]
        return float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan")

    def without(self, taken: Rows, done: int, total: int) -> Generator[Told, None, MILOutput]:
        background = background_of(self._recorded)
        answers = list(self._recorded.answers)
        for number in {self._boxes[one][0] for one in taken}:
            answers[number] = answers[number].clone()
        for one in taken:
            number, slices = self._boxes[one]
            answers[number][:, *slices] = background[:, None, None]
        yield done, total, f"{done:,} of {total:,} passes"
        with torch.no_grad():
            return with_answers(self._recorded, answers)
