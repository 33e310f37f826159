"""Tables of the experiments ``zoom-*``: means over seeds, with the paper's numbers beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.written import write_results
from napari_zoommil.experiments.zooming.cohort import described
from napari_zoommil.experiments.zooming.training import METRICS, Bench
from napari_zoommil.experiments.zooming.units import Extent, Unit

FIGURE = "figure.svg"
DASH = "–"


class Row(NamedTuple):
    """A unit's results.

    Attributes
    ----------
    unit : Unit
    results : dict of int to dict
        By seed, ascending; not empty.
    """

    unit: Unit
    results: Mapping[int, Mapping[str, Any]]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.results)

    @property
    def metrics(self) -> dict[str, Mean]:
        """Over the seeds; of the metrics that all of them have."""
        own = self.results.values()
        return {
            name: Mean.of([one[name] for one in own]) for name in METRICS if all(name in one for one in own)
        }

    @property
    def patches(self) -> tuple[float, ...]:
        """Mean number of patches that are encoded at each magnification of a test slide."""
        return tuple(np.mean([one["patches"] for one in self.results.values()], 0).tolist())

    @property
    def encoded(self) -> float:
        return sum(self.patches)

    def shown(self, metric: str) -> str:
        """A metric in percent."""
        found = self.metrics.get(metric)
        return found.percent() if found else DASH

    def beside(self, other: Row, metric: str) -> tuple[Row, Row] | None:
        """Both on the seeds with this metric that they have in common; None without such a seed."""
        common = [
            seed
            for seed, one in self.results.items()
            if metric in one and metric in other.results.get(seed, {})
        ]
        return (self._on(common), other._on(common)) if common else None

    def _on(self, seeds: Iterable[int]) -> Row:
        return Row(self.unit, {seed: self.results[seed] for seed in seeds})


def gain(own: Row, other: Row, metric: str) -> Mean:
    """Mean difference of two rows of the same seeds."""
    return Mean.of([own.results[seed][metric] - other.results[seed][metric] for seed in own.seeds])


def rows_of(units: Iterable[Unit], results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each unit with results, in their order."""
    found: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for name, result in results.items():
        unit, _, seed = name.rpartition("/")
        found[unit][int(seed)] = result
    return [Row(unit, dict(sorted(found[unit.name].items()))) for unit in units if unit.name in found]


def with_metric(rows: Iterable[Row], metric: str) -> list[Row]:
    """The rows that have a metric."""
    return [row for row in rows if metric in row.metrics]


def summarised(row: Row) -> dict[str, Any]:
    """A row for the JSON file."""
    return {
        "name": row.unit.name,
        "seeds": row.seeds,
        "metrics": {name: value._asdict() for name, value in row.metrics.items()},
        "patches": row.patches,
    }


def about(bench: Bench, data: Path | None, results: Mapping[str, Any]) -> str:
    """Sentences on data, extent and time."""
    extent: Extent = bench.extent
    splits = {split: len(bench.slides(split)) for split in ("train", "val", "test")}
    rate = "that of the recipe" if extent.learning_rate is None else f"{extent.learning_rate:g}"
    epochs = "those of the recipe" if extent.epochs is None else f"at most {extent.epochs}"
    return (
        f"{described(None if data else extent.cohort, bench.table)} {splits['train']} slides to train, "
        f"{splits['val']} to choose the epoch, {splits['test']} to test. Encoder `{extent.encoder}`, patches "
        f"of {extent.patch_size} px; recipe `{extent.recipe}` with learning rate {rate}, epochs: {epochs}. "
        f"{len(results)} trainings, {_minutes(results.values())}. Means ± standard deviations over seeds "
        "(weights and order of slides; slides and splits are fixed); compare rows of the same seeds only."
    )


def _minutes(results: Iterable[Mapping[str, Any]]) -> str:
    """Time of trainings; of those that were cut off, and of old results that do not tell, it is a part."""
    told = list(results)
    total = f"{sum(one['seconds'] for one in told) / 60:.0f} minutes in total"
    if any(one.get("resumed", True) for one in told):
        return f"at least {total} (of a training that was cut off, the time since then)"
    return total


def written(
    experiment: str,
    preset: str,
    bench: Bench,
    results: Mapping[str, Any],
    table: str,
    figures: Mapping[str, Callable[[Path], None]],
    more: Mapping[str, Any] | None = None,
) -> Reproduction:
    """Write the files of an experiment into its own folder."""
    content = {"experiment": experiment, "preset": preset, "cohort": bench.data, **(more or {})}
    content["trainings"] = dict(results)
    return write_results(bench.out / experiment, content, table, figures)
