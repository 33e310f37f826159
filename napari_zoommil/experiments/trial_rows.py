"""Rows of tables: the results of a trial over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_zoommil.experiments.means import Mean

DASH = "–"


@dataclass(frozen=True)
class Row:
    """Results of a trial, one per seed."""

    trial: Any
    results: tuple[Mapping[str, Any], ...]

    def mean(self, *path: str) -> Mean | None:
        """Of a number within the results; None where no seed has it."""
        values = [value for one in self.results if (value := _within(one, path)) is not None]
        return Mean.of(values) if values else None

    def shown(self, *path: str) -> str:
        mean = self.mean(*path)
        if mean is None:
            return DASH
        return f"{mean.mean:.3f}" + (f" ± {mean.sd:.3f}" if mean.seeds > 1 else "")


def _within(result: Any, path: Sequence[str]) -> float | None:
    for name in path:
        result = result.get(name) if isinstance(result, Mapping) else None
    return None if result is None else float(result)


def by_trial(
    extent: Any, results: Mapping[str, Mapping[str, Any]]
) -> dict[Any, tuple[Mapping[str, Any], ...]]:
    """Results of each trial that has one, one per seed, in the order of the preset."""
    pieces = extent.pieces()
    found: dict[Any, list[Mapping[str, Any]]] = {trial: [] for trial, _ in pieces.values()}
    for name, result in results.items():
        found[pieces[name][0]].append(result)
    return {trial: tuple(own) for trial, own in found.items() if own}


def rows_of(extent: Any, results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each trial with results, in their order."""
    return [Row(trial, own) for trial, own in by_trial(extent, results).items()]
