"""Occlusion of a MIL prediction: how much an output falls when a patch is not there.

A patch goes with all patches inside it: their tissue is the same. Where a model zooms, it zooms anew, and
what it then asks for is encoded if it is not known. Of an image that a model reads as a whole, boxes are
covered with the slide's background.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_zoommil.bags.need import NeedImage
from napari_zoommil.bags.subgrid import inside, without
from napari_zoommil.bags.view import PartBag, ReplacedBag, glass_of
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box, Rows
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass
from napari_zoommil.models.mil import MILOutput, drain

Telling = Generator[tuple[int, int, str], None, Found]


def left_out(recorded: RecordedPass) -> Telling:
    """The output less that without the patch; NaN for a patch that is the only one."""
    if any(isinstance(need, NeedImage) for need in recorded.needs):
        return (yield from _covered(recorded, "occlusion"))

    def view(level: int, rows: Rows) -> Any:
        grid, kept = without(recorded.grid, level, rows)
        return PartBag(recorded.bag, grid, kept) if len(grid.levels[0]) else None

    return (yield from _occluded(recorded, "occlusion", view))


def as_glass(recorded: RecordedPass) -> Telling:
    """The output less that with background in the patch's place."""
    if any(isinstance(need, NeedImage) for need in recorded.needs):
        return (yield from _covered(recorded, "occlusion-glass"))
    glass = glass_of(recorded.bag)

    def view(level: int, rows: Rows) -> Any:
        return ReplacedBag(recorded.bag, inside(recorded.grid, level, rows), glass)

    return (yield from _occluded(recorded, "occlusion-glass", view))


def _occluded(recorded: RecordedPass, kind: str, view: Callable[[int, Rows], Any]) -> Telling:
    chosen = recorded.chosen()
    if not recorded.asked():
        raise ModelError(f"{recorded.model.name} reads no patches: none can be left out")
    blocks = [(level, _blocks(recorded, level, rows)) for level, rows in chosen]
    total, done, patches = sum(len(places) for _, places in blocks), 0, []
    for (level, rows), (_, places) in zip(chosen, blocks, strict=True):
        values = np.full((len(recorded.names), len(rows)), np.nan, np.float32)
        for block in places:
            yield done, total, f"{done:,} of {total:,} passes"
            bag = view(level, rows[block])
            if bag is not None:
                output = yield from passed(recorded, bag, done, total)
                values[:, block] = fall(recorded.output, output)[:, None]
            done += 1
        patches.append(PatchScores(level, rows, values))
    return recorded.found(kind, tuple(patches))


def _blocks(recorded: RecordedPass, level: int, rows: Rows) -> list[Rows]:
    """Places in ``rows`` of the patches that are left out together."""
    edge, patches = recorded.options.block, recorded.grid.levels[level]
    if edge == 1:
        return list(np.arange(len(rows))[:, None])
    block = patches.lattice[rows] // edge
    _, number = np.unique(block, axis=0, return_inverse=True)
    return [np.flatnonzero(number == one) for one in range(number.max() + 1)]


def passed(
    recorded: RecordedPass, bag: Any, done: int, total: int
) -> Generator[tuple[int, int, str], None, MILOutput]:
    """A pass over a view on the bag."""
    again = recorded.again(bag)
    try:
        while True:
            try:
                next(again)
            except StopIteration as end:
                return end.value
            yield done, total, f"{done:,} of {total:,} passes"
    finally:
        again.close()


def fall(before: MILOutput, after: MILOutput) -> np.ndarray:
    """(C,) how much each output fell."""
    return (before.logits - after.logits).cpu().numpy()


def _covered(recorded: RecordedPass, kind: str) -> Telling:
    """Boxes of each image that the model read, covered one by one."""
    images = [n for n, need in enumerate(recorded.needs) if isinstance(need, NeedImage)]
    boxes = [(number, box) for number in images for box in boxes_of(recorded, number)]
    values = {number: np.full((len(recorded.names), *box_counts(recorded, number)), np.nan, np.float32)
              for number in images}  # fmt: skip
    background = background_of(recorded)
    for done, (number, (place, slices)) in enumerate(boxes):
        yield done, len(boxes), f"{done:,} of {len(boxes):,} boxes"
        answers = list(recorded.answers)
        answers[number] = answers[number].clone()
        answers[number][:, *slices] = background[:, None, None]
        values[number][:, *place] = fall(recorded.output, with_answers(recorded, answers))
    planes = [
        map_of_boxes(recorded, number, values[number][index], kind, name)
        for index, name in enumerate(recorded.names)
        for number in images
    ]
    return recorded.found(kind, (), tuple(planes))


def with_answers(recorded: RecordedPass, answers: list[Tensor]) -> MILOutput:
    """The pass again, with other answers to the same needs."""
    given = iter(answers)
    with torch.no_grad():
        return drain(recorded.model.steps(recorded.grid), lambda _: next(given))


def background_of(recorded: RecordedPass) -> Tensor:
    """(3,) uint8 colour of the slide's background, on the model's device."""
    return torch.as_tensor(
        recorded.bag.slide.background, dtype=torch.uint8, device=recorded.answers[0].device
    )


def _edge(recorded: RecordedPass, number: int) -> int:
    """Edge of a box, px."""
    return -(-max(recorded.answers[number].shape[1:]) // recorded.options.boxes)


def box_counts(recorded: RecordedPass, number: int) -> tuple[int, int]:
    """Boxes of an image, down and across."""
    edge = _edge(recorded, number)
    height, width = recorded.answers[number].shape[1:]
    return -(-height // edge), -(-width // edge)


def boxes_of(recorded: RecordedPass, number: int) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Place among the boxes, and px, of each box of an image that touches the window."""
    edge, need, window = _edge(recorded, number), recorded.needs[number], recorded.focus.box
    assert isinstance(need, NeedImage)
    size = recorded.answers[number].shape[1:]
    step = need.box.height / size[0], need.box.width / size[1]
    for row, column in np.ndindex(*box_counts(recorded, number)):
        top, left = row * edge, column * edge
        own = Box(need.box.y + top * step[0], need.box.x + left * step[1], edge * step[0], edge * step[1])
        if window is None or _touch(own, window):
            yield (row, column), (slice(top, top + edge), slice(left, left + edge))


def map_of_boxes(recorded: RecordedPass, number: int, values: np.ndarray, kind: str, name: str) -> HeatMap:
    """A value for each box of an image as a map."""
    edge, need = _edge(recorded, number), recorded.needs[number]
    assert isinstance(need, NeedImage)
    height, width = recorded.answers[number].shape[1:]
    step = (need.box.height / height * edge, need.box.width / width * edge)
    return HeatMap(values, (need.box.y, need.box.x), step, recorded.mpp, need.magnification, kind, name)


def _touch(one: Box, other: Box) -> bool:
    return (
        one.y < other.y + other.height
        and other.y < one.y + one.height
        and one.x < other.x + other.width
        and other.x < one.x + one.width
    )
