"""``reproduce sparse-labels``: what a loss makes of few annotated nuclei (supplement of ECE, sec. 3)."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.data.nuclei import SUFFIX, Tile, nuclei_folder, read_tiles, split_tiles
from napari_zoommil.experiments.data.nuclei_layouts import read_split
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.experiments.sparse_labels.report import markdown, summarise, write_figure, write_speeds
from napari_zoommil.experiments.sparse_labels.settings import PRESETS, Cell, Preset, select
from napari_zoommil.experiments.sparse_labels.training import compute
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.training.fit import FitStep

RESULTS, TABLE, FIGURE, SPEEDS = "results.json", "table.md", "figure.svg", "learning-speed.svg"


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Train and judge each cell that has no result yet, then write tables and figures of all that have.

    Parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`.

    Raises
    ------
    CohortError
        If there are no tiles.
    JobError
        If ``only`` names no cell, or a result in the folder comes of other settings or data.
    """
    extent = PRESETS[preset]
    cells = select(extent, only)
    folder = nuclei_folder(data)
    ours = any(folder.glob(f"*{SUFFIX}"))
    split = split_tiles(read_tiles(folder)) if ours else read_split(folder)
    source = {
        "data": folder.name,
        "mpp": mpp,
        "split": {name: [tile.name for tile in part] for name, part in split.items()},
    }
    store = Store(out / "cells", extent, source)
    missing = [cell for cell in cells if not store.has(cell)]
    yield from _missing(missing, store, split, mpp, device)
    done = store.all()
    return _written(out, preset, source, done)


def _missing(
    cells: list[Cell], store: Store, split: dict[str, list[Tile]], mpp: float, device: str
) -> Job[None]:
    chosen, total = choose_device(device), len(cells)
    count = min(processes(chosen.torch), total)
    if count > 1:
        tasks = {str(cell): (cell, store, split, mpp, device) for cell in cells}
        with closing(side_by_side(_keep_one, tasks, count)) as standings:
            for now in standings:
                note = f"{now.share:.1%} of {total} trainings: {', '.join(now.running)}"
                yield Progress(round(1000 * now.share), 1000, note)
        return
    for done, cell in enumerate(cells):
        with closing(_one(cell, store, split, mpp, device)) as steps:
            for step in steps:
                share = (done + step.step / step.total) / total
                note = f"{cell}, {done + 1} of {total}: step {step.step:,} of {step.total:,}"
                yield Progress(round(1000 * share), 1000, note)


def _one(
    cell: Cell, store: Store, split: dict[str, list[Tile]], mpp: float, device: str
) -> Generator[FitStep, None, None]:
    """Train and judge a cell, and keep its result."""
    result = yield from compute(cell, store.preset, split, mpp, choose_device(device))
    store.keep(cell, result)


def _keep_one(
    cell: Cell, store: Store, split: dict[str, list[Tile]], mpp: float, device: str, tell: Tell
) -> None:
    """The same in a process of its own."""
    for step in _one(cell, store, split, mpp, device):
        tell(step.step / step.total)


class Store:
    """Results of cells in a folder, a file each.

    Parameters
    ----------
    folder : Path
    preset : Preset
    source : dict
        What the data were.
    """

    def __init__(self, folder: Path, preset: Preset, source: dict[str, Any]) -> None:
        self.folder, self.preset, self.source = folder, preset, source
        make_folder(folder)

    def has(self, cell: Cell) -> bool:
        """Whether a cell is done.

        Raises
        ------
        JobError
            If it was done with other settings or data.
        """
        path = self.folder / cell.file
        if not path.exists():
            return False
        if self._read(path)["made_with"] != self._made_with(cell):
            raise JobError(f"{path} comes of other settings or data; remove it, or write into another folder")
        return True

    def keep(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write a result, whole or not at all."""
        content = {
            "model": cell.model,
            "setting": cell.setting,
            "percent": cell.percent,
            "seed": cell.seed,
            "made_with": self._made_with(cell),
            **result,
        }
        write_json(self.folder / cell.file, content, indent=1)

    def all(self) -> list[dict[str, Any]]:
        """Results of all cells that were made with these settings and data."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [one for one in found if one["made_with"] == self._made_with(_cell_of(one))]

    def _made_with(self, cell: Cell) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(self.preset.described(cell) | self.source))
        return made

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"made_with", "model", "setting", "percent", "seed", "scores"} - content.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise JobError(f"{path} is not the result of a cell; remove it") from error
        if missing:
            raise JobError(f"{path} is not the result of a cell: it lacks {', '.join(missing)}; remove it")
        return content


def _cell_of(result: dict[str, Any]) -> Cell:
    return Cell(result["model"], result["setting"], result["percent"], result["seed"])


def _written(out: Path, preset: str, source: dict[str, Any], cells: list[dict[str, Any]]) -> Reproduction:
    """Tables and figures of results."""
    summary = summarise(cells)
    results = {
        "experiment": "sparse-labels",
        "preset": preset,
        **source,
        "seconds": sum(cell["seconds"] for cell in cells),
        "summary": _plain(summary),
        "cells": [
            {name: cell[name] for name in cell if name not in ("made_with", "speed")} for cell in cells
        ],
    }
    write_json(out / RESULTS, results, indent=1)
    sizes = {name: len(tiles) for name, tiles in source["split"].items()}
    about = (
        f"Preset `{preset}` on `{source['data']}`: {sizes['train']} tiles to train on, {sizes['val']} to "
        f"validate, {sizes['test']} to test; {len(cells)} trainings, "
        f"{results['seconds'] / 60:.0f} minutes in all."
    )
    write_file(out / TABLE, markdown(summary, about).encode())
    write_figure(out / FIGURE, summary)
    drawn = write_speeds(out / SPEEDS, cells)
    names = [RESULTS, TABLE, FIGURE, *([SPEEDS] if drawn else [])]
    return Reproduction(out, tuple(out / name for name in names), results)


def _plain(content: Any) -> Any:
    """Named tuples as objects."""
    if hasattr(content, "_asdict"):
        return content._asdict()
    return {key: _plain(value) for key, value in content.items()} if isinstance(content, dict) else content
