"""The paper's four findings, each with our numbers and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needles.groups import Cell, alike, by_canvas, smallest_sets
from napari_zoommil.experiments.needles.trials import Trial

MARGIN = 0.03
"""Least difference of two accuracies that is more than the spread between seeds at the scale of ``cpu``."""

LEARNT = 0.6
"""Test accuracy from which on a network has learnt something."""

REPRODUCED, NOT, UNDECIDED = "reproduced", "not reproduced", "not decidable at this scale"


@dataclass(frozen=True)
class Finding:
    """A statement of the paper beside our numbers.

    Attributes
    ----------
    statement : str
    numbers : str
    verdict : str
    """

    statement: str
    numbers: str
    verdict: str


def findings(all_cells: Sequence[Cell], base: Trial) -> list[Finding]:
    """Each of the four statements of the abstract."""
    return [
        _size(all_cells, base),
        _capacity(all_cells, base),
        _field(all_cells, base),
        _pooling(all_cells, base),
    ]


def verdict(difference: float | None) -> str:
    """By the difference of two accuracies in the direction that the paper states."""
    if difference is None or abs(difference) < MARGIN:
        return UNDECIDED
    return REPRODUCED if difference > 0 else NOT


def _size(all_cells: Sequence[Cell], base: Trial) -> Finding:
    statement = (
        "(1) More training images generalise better, and far more are needed where the object is smaller"
    )
    found = alike(all_cells, base, "canvas", "train")
    told, differences = [], []
    for ratio, own in by_canvas(found).items():
        own = sorted(own, key=lambda cell: cell.trial.train)
        first, last = own[0], own[-1]
        if len(own) > 1:
            told.append(f"{ratio:.1%}: {_shown(first, 'train')} → {_shown(last, 'train')}")
            if _learnt(first, last):
                differences.append(last.mean().mean - first.mean().mean)
    needed = smallest_sets(found, (0.7,))
    sizes = [own[0.7] for own in needed.values()]
    told.append("for 70 %: " + ", ".join(f"{one or 'more than tried'}" for one in sizes))
    more = len(sizes) > 1 and sizes[0] is not None and (sizes[-1] is None or sizes[-1] > sizes[0])
    kind = verdict(min(differences)) if differences else UNDECIDED
    if kind == REPRODUCED and not more:
        kind = UNDECIDED
    return Finding(statement, "; ".join(told), kind)


def _capacity(all_cells: Sequence[Cell], base: Trial) -> Finding:
    own = sorted(alike(all_cells, base, "width"), key=lambda cell: cell.trial.width)
    return Finding(
        "(2) Networks with more filters generalise better",
        ", ".join(_shown(cell, "width") for cell in own),
        _between(own[0], own[-1]) if len(own) > 1 else UNDECIDED,
    )


def _field(all_cells: Sequence[Cell], base: Trial) -> Finding:
    """The smallest field sees less than a digit; the base's sees more."""
    told, kinds = [], []
    for ratio, own in by_canvas(alike(all_cells, base, "canvas", "field")).items():
        own = sorted(own, key=lambda cell: cell.trial.field)
        told.append(f"{ratio:.1%}: " + ", ".join(_shown(cell, "field") for cell in own))
        known = [cell for cell in own if cell.trial.field == base.field]
        if len(own) > 1 and known:
            kinds.append(_between(own[0], known[0]))
    return Finding(
        "(3) A receptive field of the size of the object or larger is better than a smaller one",
        "; ".join(told),
        _agreed(kinds),
    )


def _pooling(all_cells: Sequence[Cell], base: Trial) -> Finding:
    told, spreads, gains = [], [], []
    groups = by_canvas(alike(all_cells, base, "canvas", "pooling"))
    for ratio, own in groups.items():
        told.append(f"{ratio:.1%}: " + ", ".join(_shown(cell, "pooling") for cell in own))
        values = {cell.trial.pooling: cell.mean().mean for cell in own}
        if len(values) > 1 and max(values.values()) >= LEARNT:
            spreads.append(max(values.values()) - min(values.values()))
            others = [value for name, value in values.items() if name != "max"]
            gains.append(values["max"] - max(others) if "max" in values else None)
    kind = UNDECIDED
    if len(spreads) > 1:
        halves = {REPRODUCED if spreads[0] < MARGIN else NOT, verdict(gains[-1])}
        kind = NOT if NOT in halves else UNDECIDED if UNDECIDED in halves else REPRODUCED
    return Finding(
        "(4) Poolings differ little where the object is large; where it is small, max is the best",
        "; ".join(told),
        kind,
    )


def _between(lower: Cell, higher: Cell) -> str:
    return verdict(higher.mean().mean - lower.mean().mean) if _learnt(lower, higher) else UNDECIDED


def _learnt(*compared: Cell) -> bool:
    return max(cell.mean().mean for cell in compared) >= LEARNT


def _agreed(kinds: Sequence[str]) -> str:
    decided = {kind for kind in kinds if kind != UNDECIDED}
    return decided.pop() if len(decided) == 1 else UNDECIDED if not decided else "differs between canvases"


def _shown(cell: Cell, field: str) -> str:
    value = getattr(cell.trial, field)
    mean: Mean = cell.mean()
    return f"{value} {mean.percent()} %"
