"""A job on a thread: its generator is closed whatever happens, and every failure is reported.

A plain napari worker neither closes its generator on ``quit`` nor reports a RuntimeError, and
running out of device memory *is* a RuntimeError.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, cast

import napari
from napari.utils.notifications import show_error
from superqt.utils import GeneratorWorker, create_worker

from napari_zoommil.errors import JobError, ZoomMILError
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.viewer.compat import announce_task
from napari_zoommil.viewer.libraries import load_triton_apart

JOIN_SECONDS = 1.0


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


class JobRunner:
    """At most one job of a dock at a time.

    Parameters
    ----------
    viewer : napari.Viewer
    yielded, returned, ended : callable
        Called on the window's thread with each :class:`Progress`, the result, and at the end of
        every run with what it failed of: a sentence, or None if it succeeded or was cancelled.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        yielded: Callable[[Progress], None],
        returned: Callable[[Any], None],
        ended: Callable[[str | None], None],
    ) -> None:
        self._viewer = viewer
        self._yielded, self._returned, self._ended = yielded, returned, ended
        self._worker: JobWorker | None = None
        self._number = 0
        self._failure: str | None = None

    @property
    def running(self) -> bool:
        return self._worker is not None

    @property
    def cancelling(self) -> bool:
        return self._worker is not None and self._worker.abort_requested

    def start(self, job: Callable[[], Job[Any]], sentence: str) -> None:
        """Run a job; ``sentence`` tells the user what goes on if the window is to be closed."""
        assert self._worker is None, "a job is running"

        def drive() -> Generator[Progress, None, Any]:  # a worker asks for a generator function
            load_triton_apart()
            return (yield from job())

        worker = cast(JobWorker, create_worker(drive, _worker_class=JobWorker, _ignore_errors=True))
        self._worker, self._failure, self._number = worker, None, self._number + 1
        done, number = announce_task(self._viewer, sentence, worker.quit), self._number
        # They know their worker by its number: a signal that held it would keep it, and its job's slide.
        worker.yielded.connect(lambda progress: self._is_heard(number) and self._yielded(progress))
        worker.returned.connect(lambda result: self._is_heard(number) and self._returned(result))
        worker.errored.connect(lambda error: self._fail(number, error))
        worker.finished.connect(lambda *_: self._finish(number, done))
        worker.start()

    def _is_current(self, number: int) -> bool:
        return self._worker is not None and number == self._number

    def _is_heard(self, number: int) -> bool:
        return self._is_current(number) and not self.cancelling

    def _fail(self, number: int, error: Exception) -> None:
        if not self._is_heard(number):
            return
        self._failure = sentence_of(error)
        show_error(self._failure)

    def _finish(self, number: int, done: Callable[[], None]) -> None:
        done()
        if self._is_current(number):
            self._worker = None
            self._ended(self._failure)

    def cancel(self) -> None:
        """Ask the job to stop; it does within one batch."""
        if self._worker is not None:
            self._worker.quit()

    def abandon(self) -> None:
        """Cancel, and hear nothing more of it: another job takes its place."""
        self.cancel()
        self._worker = None

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
