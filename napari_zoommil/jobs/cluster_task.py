"""What a worker of a cluster is sent: the name of a job and plain values. It loads networks itself."""

from __future__ import annotations

import pickle
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import shapely

import napari_zoommil
from napari_zoommil.errors import EncoderError, JobError, StoreError
from napari_zoommil.geometry import Box
from napari_zoommil.jobs.outcomes import FAILURES, OF_ALL
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_folder import absolute_model

PLAIN = (type(None), bool, int, float, str, Path, Box, shapely.Geometry)
"""Types of values that are sent; and arrays of numbers, and tuples and lists of these."""

MODELS = ("model", "start")
"""Parameters that name a model: a shipped one, a folder, or one on the hub."""

TELL_SECONDS = 0.5
"""Least time between two reports of a worker, and two looks whether it shall stop."""

_one_slide = Lock()
"""Held while this process works on a slide: encoders use all cores, or the GPU, and much memory."""


@dataclass(frozen=True)
class Answer:
    """What a worker answers: a result, an error of the slide, or one that every slide would meet."""

    result: Any = None
    error: Exception | None = None
    of_all: Exception | None = None


@dataclass(frozen=True)
class Task:
    """A job of this package with the values of its parameters, paths absolute.

    Attributes
    ----------
    job : callable
    values : mapping of str to object
    version : str
        Of this package.
    sign : Path, optional
        A file in the store, by which a worker recognises it; it exists as long as the work is wanted.
    """

    job: Callable[..., Job[Any]]
    values: Mapping[str, Any]
    version: str = napari_zoommil.__version__
    sign: Path | None = None

    @classmethod
    def of(cls, job: Callable[..., Job[Any]]) -> Task:
        """The task of a job, or of a ``partial`` of one.

        Raises
        ------
        JobError
            If it is not a function of this package, or a value could be code.
        """
        function = job.func if isinstance(job, partial) else job
        parameters = list(signature(job).parameters.values())[1:]
        values = {one.name: one.default for one in parameters if one.default is not one.empty}
        name = getattr(function, "__qualname__", "")
        if not getattr(function, "__module__", "").startswith("napari_zoommil.jobs.") or "<" in name:
            raise JobError("only jobs of this package, such as embed, can be sent to a cluster")
        for key, value in values.items():
            if not _is_plain(value):
                raise JobError(
                    f"{key} is a {type(value).__name__}, but only plain values are sent to a cluster"
                )
        return cls(function, {key: _absolute(key, value) for key, value in values.items()})

    def with_sign(self, sign: Path) -> Task:
        return replace(self, sign=sign)

    def check(self) -> None:
        """Check that this machine can work on it.

        Raises
        ------
        JobError
            If it has another version of this package.
        StoreError
            If the store is not here.
        """
        if self.version != napari_zoommil.__version__:
            raise JobError(
                f"the worker on {platform.node()} has version {napari_zoommil.__version__} of "
                f"napari-zoommil, not {self.version}; install the same version everywhere"
            )
        if self.sign is not None and not self.sign.exists():
            raise StoreError(
                f"the worker on {platform.node()} does not see {self.sign.parent}; slides and store must be "
                "on a file system that all workers share, under the same path"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def _absolute(key: str, value: Any) -> Any:
    """Paths are told from the folder of this process, which workers do not have."""
    if isinstance(value, tuple | list):
        items = [_absolute(key, one) for one in value]
        return items if isinstance(value, list) else tuple(items)
    if key in MODELS and isinstance(value, str | Path):
        return absolute_model(value)
    if isinstance(value, Path):
        return value.absolute()
    if key == "encoder" and isinstance(value, str):
        from napari_zoommil.encoders.trust import absolute_name

        return absolute_name(value)
    return value


def work_on(task: Task, slide: Path, number: int, run: str) -> Answer:
    """Work on a slide, on a worker, until it is done or the run is cancelled.

    Reports ``number``, the ``share`` that is done and a ``note`` under the topic ``run``; or ``threads``
    of the worker, if the slide waits for another one because of them.
    """
    if _one_slide.locked():
        _tell_waiting(run, number)
    while not _one_slide.acquire(timeout=TELL_SECONDS):
        if _is_cancelled(run):
            return Answer()
    try:
        task.check()
    except (JobError, StoreError) as error:
        return Answer(of_all=error)
    else:
        return _worked(task, slide, number, run)
    finally:
        _one_slide.release()


def _worked(task: Task, slide: Path, number: int, run: str) -> Answer:
    told = 0.0
    try:
        with closing(task.job(slide, **task.values)) as job:
            while True:
                progress = next(job)
                if time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    _tell(run, number, progress)
                    if _is_cancelled(run):
                        return Answer()
    except StopIteration as stop:
        return Answer(stop.value)
    except OF_ALL as error:
        return Answer(of_all=_sendable(error, EncoderError))
    except FAILURES as error:
        return Answer(error=_sendable(error))


def _sendable(error: Exception, otherwise: type[Exception] = JobError) -> Exception:
    """An error that arrives with the same sentence: some are built from other arguments than their text."""
    try:
        kept = str(pickle.loads(pickle.dumps(error))) == str(error)
    except Exception:
        kept = False
    return error if kept else otherwise(str(error))


def _tell(run: str, number: int, progress: Progress) -> None:
    from distributed import get_worker

    share = min(progress.done / progress.total, 1.0) if progress.total else 0.0
    get_worker().log_event(run, {"number": number, "share": share, "note": progress.note})


def _tell_waiting(run: str, number: int) -> None:
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads > 1:
        worker.log_event(run, {"number": number, "threads": worker.state.nthreads})


def _is_cancelled(run: str) -> bool:
    from distributed import Event

    return Event(run).is_set()
