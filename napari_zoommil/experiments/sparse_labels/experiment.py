"""``reproduce sparse-labels``: losses on sparse annotations of nuclei (supplement of ECE, sec. 3)."""

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
from napari_zoommil.experiments.sparse_labels.settings import PRESETS, Preset, Trial, select
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
    """Run each trial without a result, then write tables and figures of all results.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`.

    Raises
    ------
    CohortError
        If there are no tiles.
    JobError
        If ``only`` matches no trial, or a result in the folder has other settings or data.
    """
    extent = PRESETS[preset]
    trials = select(extent, only)
    folder = nuclei_folder(data)
    ours = any(folder.glob(f"*{SUFFIX}"))
    split = split_tiles(read_tiles(folder)) if ours else read_split(folder)
    source = {
        "data": folder.name,
        "mpp": mpp,
        "split": {name: [tile.name for tile in part] for name, part in split.items()},
    }
    store = TrialResults(out / "trials", extent, source)
    missing = [trial for trial in trials if not store.has(trial)]
    yield from _missing(missing, store, split, mpp, device)
    done = store.all()
    return _written(out, preset, source, done)


def _missing(
    trials: list[Trial], store: TrialResults, split: dict[str, list[Tile]], mpp: float, device: str
) -> Job[None]:
    chosen, total = choose_device(device), len(trials)
    count = min(processes(chosen.torch), total)
    if count > 1:
        tasks = {str(trial): (trial, store, split, mpp, device) for trial in trials}
        with closing(side_by_side(_keep_one, tasks, count)) as standings:
            for now in standings:
                note = f"{now.share:.1%} of {total} trainings: {', '.join(now.running)}"
                yield Progress(round(1000 * now.share), 1000, note)
        return
    for done, trial in enumerate(trials):
        with closing(_one(trial, store, split, mpp, device)) as steps:
            for step in steps:
                share = (done + step.step / step.total) / total
                note = f"{trial}, {done + 1} of {total}: step {step.step:,} of {step.total:,}"
                yield Progress(round(1000 * share), 1000, note)


def _one(
    trial: Trial, store: TrialResults, split: dict[str, list[Tile]], mpp: float, device: str
) -> Generator[FitStep, None, None]:
    """Run a trial and write its result."""
    result = yield from compute(trial, store.preset, split, mpp, choose_device(device))
    store.keep(trial, result)


def _keep_one(
    trial: Trial, store: TrialResults, split: dict[str, list[Tile]], mpp: float, device: str, tell: Tell
) -> None:
    """The same in another process."""
    for step in _one(trial, store, split, mpp, device):
        tell(step.step / step.total)


class TrialResults:
    """Results of trials in a folder, one file each.

    Parameters
    ----------
    folder : Path
    preset : Preset
    source : dict
        Description of the data.
    """

    def __init__(self, folder: Path, preset: Preset, source: dict[str, Any]) -> None:
        self.folder, self.preset, self.source = folder, preset, source
        make_folder(folder)

    def has(self, trial: Trial) -> bool:
        """Whether a trial has a result.

        Raises
        ------
        JobError
            If the result has other settings or data.
        """
        path = self.folder / trial.file
        if not path.exists():
            return False
        if self._read(path)["made_with"] != self._made_with(trial):
            raise JobError(f"{path} has other settings or data; remove it, or write into another folder")
        return True

    def keep(self, trial: Trial, result: dict[str, Any]) -> None:
        """Write a result atomically."""
        content = {
            "model": trial.model,
            "setting": trial.setting,
            "percent": trial.percent,
            "seed": trial.seed,
            "made_with": self._made_with(trial),
            **result,
        }
        write_json(self.folder / trial.file, content, indent=1)

    def all(self) -> list[dict[str, Any]]:
        """Results of all trials with these settings and data."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [one for one in found if one["made_with"] == self._made_with(_trial_of(one))]

    def _made_with(self, trial: Trial) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(self.preset.described(trial) | self.source))
        return made

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"made_with", "model", "setting", "percent", "seed", "scores"} - content.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise JobError(f"{path} is not the result of a trial; remove it") from error
        if missing:
            raise JobError(f"{path} is not the result of a trial: it lacks {', '.join(missing)}; remove it")
        return content


def _trial_of(result: dict[str, Any]) -> Trial:
    return Trial(result["model"], result["setting"], result["percent"], result["seed"])


def _written(out: Path, preset: str, source: dict[str, Any], trials: list[dict[str, Any]]) -> Reproduction:
    """Write tables and figures of results."""
    summary = summarise(trials)
    results = {
        "experiment": "sparse-labels",
        "preset": preset,
        **source,
        "seconds": sum(trial["seconds"] for trial in trials),
        "summary": _plain(summary),
        "trials": [
            {name: trial[name] for name in trial if name not in ("made_with", "speed")} for trial in trials
        ],
    }
    write_json(out / RESULTS, results, indent=1)
    sizes = {name: len(tiles) for name, tiles in source["split"].items()}
    about = (
        f"Preset `{preset}` on `{source['data']}`: {sizes['train']} training, {sizes['val']} validation and "
        f"{sizes['test']} test tiles; {len(trials)} trainings, "
        f"{results['seconds'] / 60:.0f} minutes in total."
    )
    write_file(out / TABLE, markdown(summary, about).encode())
    write_figure(out / FIGURE, summary)
    drawn = write_speeds(out / SPEEDS, trials)
    names = [RESULTS, TABLE, FIGURE, *([SPEEDS] if drawn else [])]
    return Reproduction(out, tuple(out / name for name in names), results)


def _plain(content: Any) -> Any:
    """Convert named tuples to dictionaries."""
    if hasattr(content, "_asdict"):
        return content._asdict()
    return {key: _plain(value) for key, value in content.items()} if isinstance(content, dict) else content
