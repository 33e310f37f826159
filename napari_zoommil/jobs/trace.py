"""The curves of a training while it runs, and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_zoommil.jobs.progress import Progress
from napari_zoommil.training.run import FOLDS, CurveLines, read_curves

SECONDS_BETWEEN = 0.1
"""Least time between two reports, which the viewer draws."""

STEADY_STEPS = 3
"""Steps after which the remaining time is estimated."""


@dataclass(frozen=True)
class Trace:
    """The curves of a training.

    Attributes
    ----------
    epochs : int
        Epochs of the whole training; 0 if unknown.
    places, losses : tuple of float
        For each step since the start or resume: epochs done after it, and its loss.
    history : tuple of dict
        Metrics at the end of each epoch.
    """

    epochs: int = 0
    places: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    history: CurveLines = ()


def curves_of(folder: Path) -> CurveLines:
    """The curves of a training; of one with folds, those of the fold that was begun last."""
    folds = [one for one in (folder / FOLDS).glob("*") if one.name.isdigit()]
    return read_curves(max(folds, key=lambda one: int(one.name), default=folder))


class Follow:
    """Collects the curves of a training, of the fold that is being trained, and estimates the remaining time.

    Parameters
    ----------
    folder : Path
        Of the run.
    history : tuple of dict
        Metrics at the end of each epoch before it began, of one that is gone on with.
    """

    def __init__(self, folder: Path, history: CurveLines = ()) -> None:
        self._folder, self._trace = folder, Trace(history=history)
        self._places: list[float] = []
        self._losses: list[float] = []
        self._began: tuple[int, float] | None = None  # what was done before the first step, and when
        self._last, self._epoch, self._epochs, self._is_fitting = 0.0, -1, 1, False

    def told(self, progress: Progress) -> Iterator[Progress]:
        """The reports for a step of the job; at most one per ``SECONDS_BETWEEN``."""
        from napari_zoommil.training.fit import FitStep

        step, now = progress.partial, time.monotonic()
        if not isinstance(step, FitStep):
            self._is_fitting = False
            yield Progress(progress.done, progress.total, progress.note, self._trace)
            return
        self._began = self._began or (progress.done, now)
        if not self._is_fitting:  # of another fold: the model of the last one was measured in between
            self._is_fitting = True
            self._epochs, self._epoch = max(1, step.epochs), -1
            self._places, self._losses = [], []
        if not step.validated and (loss := step.metrics.get("train_loss")) is not None:
            self._places.append(step.step / max(1, step.total) * self._epochs)
            self._losses.append(loss)
        if now - self._last < SECONDS_BETWEEN and progress.done < progress.total:
            return
        self._last = now
        history = self._trace.history
        if step.epoch != self._epoch:
            self._epoch, history = step.epoch, curves_of(self._folder)
        self._trace = Trace(self._epochs, tuple(self._places), tuple(self._losses), history)
        yield replace(progress, partial=self._trace, seconds_left=self._left(progress, now))

    def _left(self, progress: Progress, now: float) -> float | None:
        before, began = self._began or (progress.done, now)
        done = progress.done - before
        if done < STEADY_STEPS or progress.done >= progress.total:
            return None
        return (now - began) / done * (progress.total - progress.done)
