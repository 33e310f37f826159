"""A fine-tuning in a run folder of its slide, with its curves and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from napari_zoommil.jobs import Job, Progress, finetune
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.finetune_runs import POINTS, Request, begin, discard_if_empty
from napari_zoommil.model_folder import find_model
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import CurveLines, read_curves

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


def finetune_in_run(
    slide: Slide,
    request: Request,
    resume: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    encoder: str | None = None,
) -> Job[Any]:
    """Fine-tune a model in a run folder of the slide; a run without a finished epoch is deleted at the end.

    Yields the job's progress with the remaining time and a :class:`Trace` or, for a MIL model,
    :class:`~napari_zoommil.jobs.attention_change.AttentionMaps`; returns the result of
    :func:`~napari_zoommil.jobs.finetune`.

    Parameters
    ----------
    resume : Path, optional
        The run to resume, with its own points and the ``request`` of its start.
    encoder : str, optional
        The encoder of a MIL model that the user names; not part of the request, which is read from a file.
    """
    find_model(request.model, request.kind, fetch=False)  # a run folder may be from an untrusted source
    folder = resume or begin(slide, request)
    job = finetune(
        slide,
        folder / POINTS,
        request.model,
        out=folder,
        loss=cast(Any, request.loss),
        preset=cast(Any, request.preset),
        epochs=request.epochs,
        learning_rate=request.learning_rate,
        seed=request.seed,
        stain_augmentation=request.stain_augmentation,
        label=request.label,
        resume=resume is not None,
        overwrite=True,  # the folder is the run's own, and holds its points
        encoder=encoder,
        device=device,
        threads=threads,
    )
    follow = _Follow(folder, read_curves(folder) if resume else ())
    try:
        with closing(job):
            while True:
                yield from follow.told(next(job))
    except StopIteration as end:
        return end.value
    except BaseException:  # also when the job is closed
        discard_if_empty(folder)
        raise


class _Follow:
    """Collects the curves of a training and estimates the remaining time."""

    def __init__(self, folder: Path, history: CurveLines) -> None:
        self._folder, self._trace = folder, Trace(history=history)
        self._places: list[float] = []
        self._losses: list[float] = []
        self._times: list[float] = []
        self._first, self._last, self._epoch, self._epochs = 0, 0.0, -1, 1

    def told(self, progress: Progress) -> Iterator[Progress]:
        """The reports for a step of the job; at most one per ``SECONDS_BETWEEN``."""
        from napari_zoommil.training.fit import FitStep

        step, now = progress.partial, time.monotonic()
        if isinstance(step, AttentionMaps):
            yield progress
            return
        if not isinstance(step, FitStep):
            yield Progress(progress.done, progress.total, progress.note, self._trace)
            return
        if not self._times:
            self._first, self._epochs = progress.done, max(1, step.epochs)
        self._times.append(now)
        if not step.validated and (loss := step.metrics.get("train_loss")) is not None:
            self._places.append(progress.done / max(1, progress.total) * self._epochs)
            self._losses.append(loss)
        if now - self._last < SECONDS_BETWEEN and progress.done < progress.total:
            return
        self._last = now
        history = self._trace.history
        if step.epoch != self._epoch:
            self._epoch, history = step.epoch, read_curves(self._folder)
        self._trace = Trace(self._epochs, tuple(self._places), tuple(self._losses), history)
        yield replace(progress, partial=self._trace, seconds_left=self._left(progress))

    def _left(self, progress: Progress) -> float | None:
        done = progress.done - self._first
        if done < STEADY_STEPS or progress.done >= progress.total:
            return None
        return (self._times[-1] - self._times[0]) / done * (progress.total - progress.done)
