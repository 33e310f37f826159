"""Experiments of trials: each trial is trained once per seed, and a training is a piece with a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.run_pieces import Work, run_missing
from napari_zoommil.experiments.written import write_results
from napari_zoommil.jobs.progress import Job

Results = dict[str, dict[str, Any]]
"""Of trainings, by name."""


class Run(NamedTuple):
    """A finished training."""

    trial: Any
    seed: int
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Trials:
    """The trials of a preset, with their results in a folder.

    Attributes
    ----------
    extent : Extent
        A preset. Its ``pieces()`` are trial and seed by name, ordered by seed, so that an interrupted run has
        complete first seeds; ``described(trial)`` is everything else that determines a training, as JSON.
    work : callable
        ``work(trial, extent, seed, data, device)``; before the device also the file of :meth:`kept`, where
        trainings keep one.
    folder : Path
        Of the results.
    data : Path
        What is read.
    ending : str
        Of the file beside each result, such as its weights; empty without one.
    kept_in : Path, optional
        Folder of these files, if it is another one.
    known : dict
        What determines all results beside the preset.
    """

    extent: Any
    work: Work
    folder: Path
    data: Path
    ending: str = ""
    kept_in: Path | None = None
    known: Mapping[str, Any] = field(default_factory=dict)

    def kept(self, name: str) -> Path:
        """The file beside a result."""
        return (self.kept_in or self.folder) / f"{name.replace('/', '_')}{self.ending}"

    @property
    def pieces(self) -> Pieces:
        made_with = {
            name: {**self.extent.described(trial), "seed": seed, **self.known}
            for name, (trial, seed) in self.extent.pieces().items()
        }
        return Pieces(self.folder, made_with)

    def run(self, only: Sequence[str], device: str) -> Job[Results]:
        """Train each chosen trial without a result; returns all results with these settings.

        Raises
        ------
        JobError
            If ``only`` matches no training, or a result in the folder has other settings.
        """
        chosen, place = self.extent.pieces(), choose_device(device).torch
        tasks: dict[str, tuple[Any, ...]] = {}
        for name in select(chosen, only):
            trial, seed = chosen[name]
            kept: tuple[Path, ...] = (self.kept(name),) if self.ending else ()
            tasks[name] = (trial, self.extent, seed, self.data, *kept, str(place))
        yield from run_missing(self.pieces, tasks, self.work, place)
        return self.pieces.all()

    def runs(self, results: Mapping[str, Mapping[str, Any]]) -> list[Run]:
        """Results with their trials."""
        chosen = self.extent.pieces()
        return [Run(chosen[name][0], chosen[name][1], result) for name, result in results.items()]


class Report(NamedTuple):
    """Content of the JSON file, Markdown, and name of each figure → a function that draws it there."""

    content: dict[str, Any]
    text: str
    figures: Mapping[str, Callable[[Path], None]]


@dataclass(frozen=True)
class TrialExperiment:
    """An experiment of trials; calling it is the job.

    Attributes
    ----------
    name : str
    extents : dict of str to Extent
    work : callable
        See :class:`Trials`.
    report : callable
        ``report(trials, results, preset)``.
    data : callable
        ``data(given, extent, folder)``: what is read, with the folder of the experiment.
    drawn : callable, optional
        ``drawn(extent, data)``: a job that makes this, if it is made.
    folder : str
        Of the results within the user's; that of the experiment by default.
    ending : str
    names_data : bool
        Whether the name of the data determines results.
    """

    name: str
    extents: Mapping[str, Any]
    work: Work
    report: Callable[[Trials, Results, str], Report]
    data: Callable[[Path | None, Any, Path], Path]
    drawn: Callable[[Any, Path], Job[None]] | None = None
    folder: str = ""
    ending: str = ""
    names_data: bool = False

    def trials(self, out: Path, preset: str, data: Path | None) -> Trials:
        """Those of a preset."""
        extent = self.extents[preset]
        read = self.data(data, extent, out / self.name)
        known = {"data": read.name} if self.names_data else {}
        folder = out / (self.folder or f"{self.name}/pieces")
        return Trials(extent, self.work, folder, read, self.ending, known=known)

    def __call__(
        self,
        out: Path,
        preset: str = "cpu",
        data: Path | None = None,
        only: Sequence[str] = (),
        mpp: float = 0.25,
        device: str = "auto",
    ) -> Job[Reproduction]:
        """Train each trial without a result, then write tables and figures of all results.

        The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not
        used.
        """
        trials = self.trials(out, preset, data)
        select(trials.extent.pieces(), only)
        if self.drawn is not None:
            yield from self.drawn(trials.extent, trials.data)
        made = self.report(trials, (yield from trials.run(only, device)), preset)
        content = {"experiment": self.name, "preset": preset, **made.content}
        return write_results(out / self.name, content, made.text, made.figures)
