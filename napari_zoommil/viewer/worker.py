"""Jobs on a thread: the generator is always closed, and every error is reported.

A napari worker does not close its generator on ``quit`` and does not report a RuntimeError, such as running
out of device memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, Protocol, cast

import napari
from superqt.utils import GeneratorWorker, create_worker

from napari_zoommil.errors import ConsentError, JobError, ZoomMILError
from napari_zoommil.jobs.progress import Progress, TimeLeft, retold
from napari_zoommil.viewer.compat import announce_task
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.notifications import show_error
from napari_zoommil.viewer.triton import load_triton_apart

JOIN_SECONDS = 1.0

OUTDATED = (
    "The slide was closed, or its resolution or colours were changed: results of the old ones are dropped"
)


def spare_cores() -> int:
    """Number of cores for a job beside the window: all but one, so that the window stays responsive."""
    return max(1, (os.cpu_count() or 2) - 1)


class JobWorker(GeneratorWorker):
    """Runs a job's generator, closes it on the same thread and releases it.

    Since Python 3.12 a generator that is closed before its first step keeps its arguments alive, such as a
    slide that was removed.
    """

    def work(self) -> Any:
        try:
            with closing(self._gen):
                result = super().work()
        finally:
            del self._gen
        if isinstance(result, RuntimeError):
            raise JobError(str(result)) from result
        return result


class Subject(Protocol):
    """The subject of a job: an open slide."""

    generation: int
    outdated: Any
    """Signal of a new generation: jobs on an earlier one must stop."""


class JobRunner:
    """Runs one job at a time, each bound to a generation of its slide.

    If the slide's resolution or colours change, or it is removed, the job is cancelled and its result is
    dropped. This is the only place for that.

    Parameters
    ----------
    viewer : napari.Viewer
    yielded, returned, ended : callable
        Called on the main thread with each :class:`Progress`, with the result, and at the end of every run
        with an error message, or None if it succeeded or was cancelled.
    quiet : bool
        For short tasks: without registration at the window and without notifications of errors.

    Attributes
    ----------
    of : OpenSlide or None
        Subject of the running job, until ``ended`` has been called.
    done : bool
        Whether the last job returned a valid result.
    error : Exception or None
        Error of the last run. It is shown as a notification, unless the dock handles it with a question.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        yielded: Callable[[Any], None],
        returned: Callable[[Any], None],
        ended: Callable[[str | None], None],
        quiet: bool = False,
    ) -> None:
        self._viewer, self._quiet = viewer, quiet
        self._yielded, self._returned, self._ended = yielded, returned, ended
        self._worker: JobWorker | None = None
        self._number = self._generation = 0
        self._bound = Follower()
        self._listening: list[JobRunner] = []
        self.of: Any = None
        self.done = False
        self.error: Exception | None = None

    @property
    def running(self) -> bool:
        return self._worker is not None

    @property
    def cancelling(self) -> bool:
        return self._worker is not None and self._worker.abort_requested

    @property
    def late(self) -> bool:
        """Whether the generation of the slide has changed since the job began."""
        return self.of is not None and self.of.generation != self._generation

    def start(self, job: Callable[[], Iterator[Any]], sentence: str = "", of: Subject | None = None) -> None:
        """Run a job.

        Parameters
        ----------
        job : callable
            Returns its generator; called on the job's thread.
        sentence : str
            Message for the user if the window is closed during the job.
        of : Subject, optional
            The slide to whose generation the job is bound.
        """
        assert self._worker is None, "a job is running"

        def drive() -> Generator[Any, None, Any]:  # a worker needs a generator function
            load_triton_apart()
            return (yield from retold(cast(Any, job()), _with_time_left()))

        worker = cast(JobWorker, create_worker(drive, _worker_class=JobWorker, _ignore_errors=True))
        self._worker, self.of, self.done, self.error = worker, of, False, None
        self._number = number = self._number + 1
        told = (lambda: None) if self._quiet else announce_task(self._viewer, sentence, worker.quit)
        if of is not None:
            self._generation = of.generation
            self._bound.follow(of.outdated, worker.quit)
        # Qt may keep callbacks after the worker is gone, until an event loop runs. They identify the worker
        # by a number, and reach this runner, whose callbacks may hold a slide, only while it listens.
        self._listening = runners = [self]

        def pass_on(call: Callable[[JobRunner], None]) -> None:
            for one in tuple(runners):
                call(one)

        worker.yielded.connect(lambda progress: pass_on(lambda one: one._hear(number, progress)))
        worker.returned.connect(lambda result: pass_on(lambda one: one._succeed(number, result)))
        worker.errored.connect(lambda error: pass_on(lambda one: one._fail(number, error)))
        worker.finished.connect(lambda *_: told())
        worker.finished.connect(lambda *_: pass_on(lambda one: one._finish(number)))
        worker.start()

    def _is_current(self, number: int) -> bool:
        return self._worker is not None and number == self._number

    def _is_heard(self, number: int) -> bool:
        return self._is_current(number) and not self.cancelling and not self.late

    def _hear(self, number: int, progress: Any) -> None:
        if self._is_heard(number):
            self._yielded(progress)

    def _succeed(self, number: int, result: Any) -> None:
        if self._is_heard(number):
            self.done = True
            self._returned(result)

    def _fail(self, number: int, error: Exception) -> None:
        if not self._is_heard(number):
            return
        self.error = error
        if not self._quiet and not isinstance(error, ConsentError):
            show_error(sentence_of(error))

    def _finish(self, number: int) -> None:
        if self._is_current(number):
            self._worker = None
            self._listening.clear()
            failure = None if self.error is None else sentence_of(self.error)
            self._ended(OUTDATED if self.late else failure)
            if number == self._number:  # unless another job has been started
                self._unbind()

    def _unbind(self) -> None:
        """Release the slide, which may be removed."""
        self._bound.stop()
        self.of = None

    def cancel(self) -> None:
        """Request the job to stop, which takes at most one batch."""
        if self._worker is not None:
            self._worker.quit()

    def abandon(self) -> None:
        """Cancel, and ignore all further signals of the job."""
        self.cancel()
        self._worker = None
        self._listening.clear()
        self._unbind()

    def close(self) -> None:
        """Abandon the job of a closed dock, and wait shortly until it releases its resources.

        After the window is closed there is no receiver for the signals of a worker.
        """
        worker, end = self._worker, time.monotonic() + JOIN_SECONDS
        self.abandon()
        while worker is not None and worker.is_running and time.monotonic() < end:
            time.sleep(0.01)


def _with_time_left() -> Callable[[Any], Any]:
    """Adds the remaining time to the progress of a job; some tasks yield something else."""
    left = TimeLeft()
    return lambda told: left.told(told) if isinstance(told, Progress) else told


def sentence_of(error: Exception) -> str:
    """Message for the user; with the type of errors other than :class:`ZoomMILError`, for bug reports."""
    return str(error) if isinstance(error, ZoomMILError) else f"{type(error).__name__}: {error}"
