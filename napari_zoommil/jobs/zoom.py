"""A model's pass over a slide as a job: the driver of predictions, estimates and comparisons.

The patches that the model requests are encoded batch by batch. After each batch the job reports progress
and a partial map, and can be cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Rows, magnification_name
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.jobs.progress import Job, Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_zoommil.bags.need import Need, NeedImage
    from napari_zoommil.models.mil import MILModel, MILOutput

PAINT_SECONDS = 0.1
"""Least time between two partial maps: the viewer must be able to draw them."""


def zoom(
    mil: MILModel,
    bag: Any,
    device: torch.device,
    title: str = "",
    paint: bool = True,
    answered: list[tuple[Need | NeedImage, Tensor]] | None = None,
    on_need: Callable[[Need | NeedImage], None] | None = None,
) -> Job[MILOutput]:
    """One pass of a model, without gradients.

    Parameters
    ----------
    mil : MILModel
        In evaluation mode, on ``device``.
    bag : LazyBag, PixelBag or PartBag
        Encodes, or reads, the patches that the model requests.
    device : torch.device
    title : str
        Prefix of notes.
    paint : bool
        Whether to report partial maps.
    answered : list, optional
        Each need and its answer, on ``device``, are appended to it.
    on_need : callable, optional
        Called with each need before it is answered; an exception in it ends the pass.

    Yields
    ------
    Progress
        ``partial`` is a :class:`PartialMap` while a magnification is encoded.

    Returns
    -------
    MILOutput

    Raises
    ------
    ModelError
        If patches or features are not those that the model was built for, or the bag cannot answer a need.
    """
    import torch

    from napari_zoommil.bags.need import NeedImage, source_of

    mil.check(bag)
    expected = mil.patches_needed(tuple(map(len, bag.grid.levels)), bag.grid.ratios)
    # A model that chooses asks once for each magnification, and may get fewer: parents at the edge of the
    # tissue lack children.
    done, answer, asked = 0, None, [0] * len(expected)
    with closing(mil.steps(bag.grid)) as steps:
        while True:
            try:
                with torch.no_grad():  # not across a yield, because the mode belongs to the thread
                    need = steps.send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            if on_need is not None:
                on_need(need)
            source = source_of(bag, need)
            if isinstance(need, NeedImage):
                answer = yield from _image(source, need, title, done, sum(expected))
            else:
                left = max(len(need.rows), expected[need.level] - asked[need.level] if mil.reads_all else 0)
                total = done + left + sum(expected[need.level + 1 :])
                asked[need.level] += len(need.rows)
                painter = _Painter(mil, bag, source, need, device) if paint and need.preview else None
                yield from encode(source, need.level, need.rows, title, done, total, painter)
                answer = source.features(need.level, need.rows)
                done += len(need.rows)
            answer = mil.fitting(answer, need).to(device)
            if answered is not None:
                answered.append((need, answer))


def encode(
    bag: Any,
    level: int,
    rows: Rows,
    title: str = "",
    before: int = 0,
    total: int | None = None,
    paint: Callable[[Rows], PartialMap | None] | None = None,
) -> Generator[Progress, None, None]:
    """Encode those of ``rows`` that a bag does not have in memory, with progress.

    Parameters
    ----------
    bag : LazyBag, PixelBag or PartBag
    level : int
    rows : (n,) int64
    title : str
        Prefix of notes.
    before, total : int
        Patches done before, and the total number; only ``rows`` by default.
    paint : callable, optional
        Called with the rows of each batch; returns a partial map or None.
    """
    name = magnification_name(bag.grid.levels[level].magnification)
    known = rows[bag.known(level)[rows]]
    done, total = len(known), len(rows) if total is None else total

    def told(new: Rows) -> Progress:
        partial = paint(new) if paint and len(new) else None
        return Progress(before + done, total, f"{title}{name}: {done:,} of {len(rows):,} patches", partial)

    yield told(known)
    with closing(bag.encode(level, rows)) as batches:
        for chunk in batches:
            done += len(chunk)
            yield told(chunk)


def _image(source: Any, need: NeedImage, title: str, done: int, total: int) -> Job[Tensor]:
    with closing(source.image(need.box, need.mpp)) as strips:
        while True:
            try:
                share = next(strips)
            except StopIteration as stop:
                return stop.value
            name = magnification_name(need.magnification)
            yield Progress(done, total, f"{title}image at {name}: {share:.0%}")


class _Painter:
    """Draws partial maps of one need, limited in frequency."""

    def __init__(self, mil: MILModel, bag: Any, source: Any, need: Need, device: torch.device) -> None:
        self.mil, self.bag, self.source, self.need, self.device = mil, bag, source, need, device
        self.known: list[tuple[Rows, NDArray[np.float32]]] = []
        self.painted = 0.0

    def __call__(self, new: Rows) -> PartialMap | None:
        self.known.append((new, self._scores(new)))
        last = sum(len(rows) for rows, _ in self.known) == len(self.need.rows)
        if not last and time.perf_counter() - self.painted <= PAINT_SECONDS:
            return None
        from napari_zoommil.maps.heatmap import score_map

        self.painted = time.perf_counter()
        rows, scores = (np.concatenate(parts) for parts in zip(*self.known, strict=True))
        grid, level, names = self.bag.grid, self.need.level, self.mil.task.names
        shown = score_map(grid, level, rows, scores, self.bag.slide.mpp, self.mil.heads[0], names)
        return PartialMap(level, shown, self.mil.task.output_unit)

    def _scores(self, rows: Rows) -> NDArray[np.float32]:
        """(n,) scores of the first head."""
        import torch

        assert self.need.preview is not None
        with torch.no_grad():
            features = self.mil.fitting(self.source.features(self.need.level, rows), self.need)
            return self.need.preview(features.to(self.device))[:, 0].cpu().numpy()
