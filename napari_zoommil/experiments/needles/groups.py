"""Runs that differ in one or two parameters only, and means over their seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needles.trials import Trial
from napari_zoommil.experiments.trials import Run

FITTED = 0.99
"""Training accuracy above which the paper calls an optimisation successful."""

CHANCE = 0.5


@dataclass(frozen=True)
class Cell:
    """Runs of one trial.

    Attributes
    ----------
    trial : Trial
    runs : tuple of Run
        One per seed, not empty.
    """

    trial: Trial
    runs: tuple[Run, ...]

    def mean(self, what: str = "test") -> Mean:
        """Of ``test``, ``val`` or ``train`` accuracy."""
        return Mean.of([run.result[what] for run in self.runs])

    @property
    def test_if_fitted(self) -> Mean:
        """Test accuracy; that of a run that did not fit its training images is chance (Figs. 7 and 8)."""
        return Mean.of([run.result["test"] if fitted(run) else CHANCE for run in self.runs])

    @property
    def epochs_to_fit(self) -> Mean | None:
        """Of the runs that fitted their training images; None without any."""
        own = [run.result["fitted"] for run in self.runs if fitted(run)]
        return Mean.of(own) if own else None

    @property
    def share_fitted(self) -> float:
        return sum(map(fitted, self.runs)) / len(self.runs)


def fitted(run: Run) -> bool:
    """Whether more than 99 % of the training images were right in an epoch."""
    return run.result["fitted"] is not None


def cells(runs: Iterable[Run]) -> list[Cell]:
    """Runs by trial, in their order."""
    found: dict[Trial, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.trial].append(run)
    return [Cell(trial, tuple(own)) for trial, own in found.items()]


def alike(all_cells: Iterable[Cell], base: Trial, *varied: str) -> list[Cell]:
    """Cells that differ from a trial in these fields alone; canvases of other noise are others."""
    same = [field.name for field in fields(Trial) if field.name not in varied]
    return [
        cell
        for cell in all_cells
        if all(getattr(cell.trial, name) == getattr(base, name) for name in same)
        and cell.trial.canvas.noise == base.canvas.noise
    ]


def by_canvas(found: Iterable[Cell]) -> dict[float, list[Cell]]:
    """Cells by the ratio of object to image, from large to small."""
    groups: dict[float, list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.trial.canvas.ratio].append(cell)
    return dict(sorted(groups.items(), reverse=True))


class Needed(NamedTuple):
    """How many training images an accuracy takes, as far as the sizes that were tried tell.

    Attributes
    ----------
    short : float
        The largest size below ``enough`` that falls short; 0 if none was tried.
    enough : float
        The smallest size that reaches it; infinite if none does.
    """

    short: float
    enough: float

    def __str__(self) -> str:
        if math.isinf(self.enough):
            return f"more than {self.short:,.0f}"
        return f"{self.enough:,.0f}" if self.short else f"at most {self.enough:,.0f}"


def smallest_sets(found: Sequence[Cell], levels: Sequence[float]) -> dict[float, dict[float, Needed]]:
    """Ratio → accuracy level → training images that a mean validation accuracy of that takes."""
    return {
        ratio: {level: _needed(own, level) for level in levels} for ratio, own in by_canvas(found).items()
    }


def _needed(own: Sequence[Cell], level: float) -> Needed:
    reached = {one.trial.train: one.mean("val").mean >= level for one in own}
    enough = min((size for size, is_enough in reached.items() if is_enough), default=math.inf)
    return Needed(max((size for size in reached if size < enough), default=0), enough)


def valued(found: Iterable[Cell], by: Callable[[Cell], Any], what: str = "test") -> dict[Any, Mean]:
    """Mean accuracy by a property; of several cells with the same, the best one by validation."""
    best: dict[Any, Cell] = {}
    for cell in found:
        key = by(cell)
        if key not in best or cell.mean("val").mean > best[key].mean("val").mean:
            best[key] = cell
    return {key: cell.mean(what) for key, cell in sorted(best.items(), key=lambda one: one[0])}
