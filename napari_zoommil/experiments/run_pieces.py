"""Run the pieces of an experiment that have no result yet: several at a time on a CPU, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_zoommil.encoders.device import cpu_threads
from napari_zoommil.experiments.pieces import Pieces
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.jobs.progress import Job, Progress

T = TypeVar("T")

Work = Callable[..., Generator[float, None, dict[str, Any]]]
"""Yields the share that is done, 0 to 1, and returns the result of a piece."""


def within(part: Generator[float, None, T], first: float, last: float) -> Generator[float, None, T]:
    """A part of a piece, from one share of the whole to another."""
    while True:
        try:
            yield first + (last - first) * next(part)
        except StopIteration as stop:
            found: T = stop.value
            return found


def shares_of(job: Job[T]) -> Generator[float, None, T]:
    """A job as a piece, or a part of one."""
    with closing(job):
        while True:
            try:
                told = next(job)
            except StopIteration as stop:
                found: T = stop.value
                return found
            yield min(1.0, told.done / max(1, told.total))


def run_missing(pieces: Pieces, tasks: Mapping[str, tuple[Any, ...]], work: Work, device: Any) -> Job[None]:
    """Compute and keep each piece without a result.

    Parameters
    ----------
    pieces : Pieces
    tasks : mapping of str to tuple
        Name of a piece → arguments of ``work``; they are sent to another process.
    work : callable
        A function of a module.
    device : torch.device
        One piece at a time is computed on a GPU.

    Raises
    ------
    JobError
        If a result in the folder has other settings or data, or a piece fails in another process.
    """
    missing = {name: (name, task, work, pieces) for name, task in tasks.items() if not pieces.has(name)}
    count = min(processes(device), len(missing))
    shares = _several(missing, count) if count > 1 else _one_by_one(missing)
    told: set[str] = set()
    with closing(shares):
        for share, running in shares:
            ended = [name for name in missing if name not in {*told, *running} and pieces.has(name)]
            told.update(ended)
            note = f"{share:.1%} of {len(missing)} pieces: {', '.join(running)}"
            lines = [summary_line(name, pieces.read(name)) for name in ended]
            yield Progress(round(1000 * share), 1000, note, FinishedPieces(tuple(lines)) if lines else None)


@dataclass(frozen=True)
class FinishedPieces:
    """A line for each piece that has ended, for those who watch a long run."""

    lines: tuple[str, ...]


def summary_line(name: str, result: Mapping[str, Any]) -> str:
    """``NAME: test 0.861, seconds 140``: the numbers of a result that are not within others."""
    numbers = [f"{key} {value:.4g}" for key, value in result.items() if isinstance(value, (int, float))]
    return f"{name}: {', '.join(numbers)}"


Shares = Generator[tuple[float, tuple[str, ...]], None, None]
"""Share of all that is done, and the pieces that are running; at the end 1 and none."""


def _several(missing: Mapping[str, tuple[Any, ...]], count: int) -> Shares:
    with closing(side_by_side(_in_process, missing, count)) as standings:
        for now in standings:
            yield now.share, now.running


def _one_by_one(missing: Mapping[str, tuple[Any, ...]]) -> Shares:
    for done, (name, task) in enumerate(missing.items()):
        with closing(_kept(*task)) as shares:
            for share in shares:
                yield (done + share) / len(missing), (name,)
        yield (done + 1) / len(missing), ()


def _kept(name: str, task: tuple[Any, ...], work: Work, pieces: Pieces) -> Generator[float, None, None]:
    with cpu_threads(1):  # more threads are slower on small networks, and share cores with other pieces
        pieces.keep(name, (yield from work(*task)))


def _in_process(name: str, task: tuple[Any, ...], work: Work, pieces: Pieces, tell: Tell) -> None:
    for share in _kept(name, task, work, pieces):
        tell(share)
