"""The paper's four findings, each with our numbers and a verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needles.groups import Cell, Needed, alike, by_canvas, smallest_sets
from napari_zoommil.experiments.needles.trials import Trial

MARGIN = 0.03
"""Least difference of two accuracies that is more than the spread between seeds at the scale of ``cpu``."""

LEVELS = (0.7, 0.85, 0.9)
"""Validation accuracies of Fig. 6b."""

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
    needed = list(smallest_sets(found, LEVELS).values())
    told += [
        f"for {level:.0%}: " + ", ".join(str(own[level]) for own in needed)
        for level in LEVELS
        if any(own[level].short and math.isfinite(own[level].enough) for own in needed)
    ]
    kinds = {
        "more images": verdict(min(differences)) if differences else UNDECIDED,
        "more where it is smaller": _more(needed[0], needed[-1]) if len(needed) > 1 else UNDECIDED,
    }
    return Finding(statement, "; ".join(told), _both(kinds))


def _more(large: Mapping[float, Needed], small: Mapping[float, Needed]) -> str:
    """Whether a small object takes more images than a large one, at all levels where it is known."""
    more = any(small[level].short >= large[level].enough for level in LEVELS)
    fewer = any(small[level].enough <= large[level].short for level in LEVELS)
    return UNDECIDED if more == fewer else REPRODUCED if more else NOT


def _capacity(all_cells: Sequence[Cell], base: Trial) -> Finding:
    own = sorted(alike(all_cells, base, "width"), key=lambda cell: cell.trial.width)
    return Finding(
        "(2) Networks with more filters generalise better",
        ", ".join(_shown(cell, "width") for cell in own),
        _between(own[0], own[-1]) if len(own) > 1 else UNDECIDED,
    )


def _field(all_cells: Sequence[Cell], base: Trial) -> Finding:
    """Each field that sees less than a digit, against the base's, which sees more."""
    told: list[str] = []
    kinds: dict[int, list[str]] = defaultdict(list)
    for ratio, own in by_canvas(alike(all_cells, base, "canvas", "field")).items():
        own = sorted(own, key=lambda cell: cell.trial.field)
        told.append(f"{ratio:.1%}: " + ", ".join(_shown(cell, "field") for cell in own))
        for known in (cell for cell in own if cell.trial.field == base.field):
            for cell in own:
                if cell.trial.field < cell.trial.canvas.digit:
                    kinds[cell.trial.field].append(_between(cell, known))
    verdicts = {f"than {field} px": _agreed(each) for field, each in sorted(kinds.items())}
    return Finding(
        "(3) A receptive field of the size of the object or larger is better than a smaller one",
        "; ".join(told),
        _both(verdicts) if verdicts else UNDECIDED,
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
    known = len(spreads) > 1
    kinds = {
        "little where it is large": (REPRODUCED if spreads[0] < MARGIN else NOT) if known else UNDECIDED,
        "max where it is small": verdict(gains[-1]) if known else UNDECIDED,
    }
    return Finding(
        "(4) Poolings differ little where the object is large; where it is small, max is the best",
        "; ".join(told),
        _both(kinds),
    )


def _both(kinds: Mapping[str, str]) -> str:
    """One verdict where the parts of a statement have the same, else that of each."""
    if len(set(kinds.values())) == 1:
        return next(iter(kinds.values()))
    return "; ".join(f"{name}: {kind}" for name, kind in kinds.items())


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
