"""Tables of the experiments ``zoom-*``: means over seeds, with the paper's numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.zooming.cohort import described
from napari_zoommil.experiments.zooming.training import METRICS, Bench
from napari_zoommil.experiments.zooming.units import Extent, Unit
from napari_zoommil.files import make_folder, write_file, write_json

RESULTS, TABLE, FIGURE = "results.json", "table.md", "figure.svg"
DASH = "–"


class Mean(NamedTuple):
    """Mean and standard deviation over seeds; the deviation is 0 for one seed."""

    mean: float
    sd: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), sd, len(values))

    def percent(self) -> str:
        """``92.0 ± 0.6``, in percent."""
        spread = f" ± {100 * self.sd:.1f}" if self.seeds > 1 else ""
        return f"{100 * self.mean:.1f}{spread}"


class Row(NamedTuple):
    """A unit's results over its seeds.

    Attributes
    ----------
    unit : Unit
    metrics : dict of str to Mean
    patches : tuple of float
        Mean number of patches that are encoded at each magnification of a test slide.
    """

    unit: Unit
    metrics: dict[str, Mean]
    patches: tuple[float, ...]

    @property
    def encoded(self) -> float:
        return sum(self.patches)

    def shown(self, metric: str) -> str:
        """A metric in percent."""
        found = self.metrics.get(metric)
        return found.percent() if found else DASH


def rows_of(units: Iterable[Unit], results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each unit with results, in their order."""
    rows = []
    for unit in units:
        own = [result for name, result in results.items() if name.rpartition("/")[0] == unit.name]
        if own:
            metrics = {
                name: Mean.of([one[name] for one in own])
                for name in METRICS
                if all(name in one for one in own)
            }
            rows.append(Row(unit, metrics, tuple(np.mean([one["patches"] for one in own], 0).tolist())))
    return rows


def summarised(row: Row) -> dict[str, Any]:
    """A row for the JSON file."""
    return {
        "name": row.unit.name,
        "metrics": {name: value._asdict() for name, value in row.metrics.items()},
        "patches": row.patches,
    }


def about(bench: Bench, data: Path | None, results: Mapping[str, Any]) -> str:
    """Sentences on data, extent and time."""
    extent: Extent = bench.extent
    splits = {split: len(bench.slides(split)) for split in ("train", "val", "test")}
    minutes = sum(result["seconds"] for result in results.values()) / 60
    rate = "that of the recipe" if extent.learning_rate is None else f"{extent.learning_rate:g}"
    epochs = "those of the recipe" if extent.epochs is None else f"at most {extent.epochs}"
    return (
        f"{described(None if data else extent.cohort, bench.table)} {splits['train']} slides to train, "
        f"{splits['val']} to choose the epoch, {splits['test']} to test. Encoder `{extent.encoder}`, patches "
        f"of {extent.patch_size} px; recipe `{extent.recipe}` with learning rate {rate}, epochs: {epochs}. "
        f"{len(results)} trainings, {minutes:.0f} minutes in total. Means ± standard deviations over seeds "
        "(weights and order of slides; slides and splits are fixed)."
    )


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
    folder = make_folder(bench.out / experiment)
    content = {"experiment": experiment, "preset": preset, "cohort": bench.data, **(more or {})}
    content["trainings"] = dict(results)
    write_json(folder / RESULTS, content, indent=1)
    write_file(folder / TABLE, table.encode())
    for name, draw in figures.items():
        draw(folder / name)
    return Reproduction(folder, tuple(folder / name for name in (RESULTS, TABLE, *figures)), content)
