"""A job on a thread: its generator is closed whatever happens, and every failure is reported.

A plain napari worker neither closes its generator on ``quit`` nor reports a RuntimeError, and
running out of device memory *is* a RuntimeError.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, Protocol, cast

import napari
from napari.utils.notifications import show_error
from superqt.utils import GeneratorWorker, create_worker

from napari_zoommil.errors import ConsentError, JobError, ZoomMILError
from napari_zoommil.viewer.compat import announce_task
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.triton import load_triton_apart

JOIN_SECONDS = 1.0

OUTDATED = (
    "The slide has another resolution or other colours by now, or is closed: "
    "what was computed of the old ones is dropped"
)


def spare_cores() -> int:
    """Cores a job may use beside a window: all but one, since a window that stalls is no window."""
    return max(1, (os.cpu_count() or 2) - 1)


class JobWorker(GeneratorWorker):
    """Runs a job's generator, closes it on the same thread and lets go of it.

    From Python 3.12 on a generator that is closed before its first step keeps what it would have worked
    on, such as a slide that was removed before its turn came.
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
    """What a job is of: an open slide."""

    generation: int
    outdated: Any
    """A signal: what runs on an earlier generation must stop."""


class JobRunner:
    """At most one job at a time, each bound to a generation of its slide.

    Nothing is heard of a job whose slide has become another one meanwhile, by its resolution, its colours
    or its removal: the job is cancelled, and a result that is already under way is dropped. This is the one
    place where that is done.

    Parameters
    ----------
    viewer : napari.Viewer
    yielded, returned, ended : callable
        Called on the window's thread with each :class:`Progress`, the result, and at the end of
        every run with what it failed of: a sentence, or None if it succeeded or was cancelled.
    quiet : bool
        A short look at files: the window is not told of it, and a failure is no notification.

    Attributes
    ----------
    of : OpenSlide or None
        What the job that runs is of, until its end has been told.
    done : bool
        Whether the last job returned a result that counts.
    error : Exception or None
        What the last run failed of. It is told as a notification, unless it is a question of its dock.
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
        """Whether the slide has become another one since the job began."""
        return self.of is not None and self.of.generation != self._generation

    def start(self, job: Callable[[], Iterator[Any]], sentence: str = "", of: Subject | None = None) -> None:
        """Run a job.

        Parameters
        ----------
        job : callable
            Makes its generator, on the job's thread.
        sentence : str
            Tells the user what goes on if the window is to be closed.
        of : Subject, optional
            The slide whose generation the job is bound to.
        """
        assert self._worker is None, "a job is running"

        def drive() -> Generator[Any, None, Any]:  # a worker asks for a generator function
            load_triton_apart()
            return (yield from job())

        worker = cast(JobWorker, create_worker(drive, _worker_class=JobWorker, _ignore_errors=True))
        self._worker, self.of, self.done, self.error = worker, of, False, None
        self._number = number = self._number + 1
        told = (lambda: None) if self._quiet else announce_task(self._viewer, sentence, worker.quit)
        if of is not None:
            self._generation = of.generation
            self._bound.follow(of.outdated, worker.quit)
        # They know their worker by its number: a signal that held it would keep it, and its job's slide.
        worker.yielded.connect(lambda progress: self._is_heard(number) and self._yielded(progress))
        worker.returned.connect(lambda result: self._succeed(number, result))
        worker.errored.connect(lambda error: self._fail(number, error))
        worker.finished.connect(lambda *_: self._finish(number, told))
        worker.start()

    def _is_current(self, number: int) -> bool:
        return self._worker is not None and number == self._number

    def _is_heard(self, number: int) -> bool:
        return self._is_current(number) and not self.cancelling and not self.late

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

    def _finish(self, number: int, told: Callable[[], None]) -> None:
        told()
        if self._is_current(number):
            self._worker = None
            failure = None if self.error is None else sentence_of(self.error)
            self._ended(OUTDATED if self.late else failure)
            if number == self._number:  # no other job has been started at the end of this one
                self._unbind()

    def _unbind(self) -> None:
        """Let go of the slide, which may be removed."""
        self._bound.stop()
        self.of = None

    def cancel(self) -> None:
        """Ask the job to stop; it does within one batch."""
        if self._worker is not None:
            self._worker.quit()

    def abandon(self) -> None:
        """Cancel, and hear nothing more of it: another job takes its place."""
        self.cancel()
        self._worker = None
        self._unbind()

    def close(self) -> None:
        """Abandon the job of a dock that goes, and give it a moment to let go of what it holds.

        A worker that outlives the window has nothing left to tell its end to.
        """
        worker, end = self._worker, time.monotonic() + JOIN_SECONDS
        self.abandon()
        while worker is not None and worker.is_running and time.monotonic() < end:
            time.sleep(0.01)


def sentence_of(error: Exception) -> str:
    """A sentence for the user; what is no :class:`ZoomMILError` names its type, for a bug report."""
    return str(error) if isinstance(error, ZoomMILError) else f"{type(error).__name__}: {error}"
