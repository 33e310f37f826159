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

from napari_zoommil.errors import ConsentError, JobError, ZoomMILError
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.viewer.compat import announce_task
from napari_zoommil.viewer.triton import load_triton_apart

JOIN_SECONDS = 1.0


def spare_cores() -> int:
    """Cores a job may use beside a window: all but one, since a window that stalls is no window."""
    return max(1, (os.cpu_count() or 2) - 1)


class JobWorker(GeneratorWorker):
    """Runs a job's generator and closes it on the same thread."""

    def work(self) -> Any:
        with closing(self._gen):
            result = super().work()
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

    Attributes
    ----------
    error : Exception or None
        What the last run failed of. It is told as a notification, unless it is a question of its dock.
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
        self.error: Exception | None = None

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
        self._worker, self.error = worker, None
        done = announce_task(self._viewer, sentence, worker.quit)
        worker.yielded.connect(lambda progress: self._is_current(worker) and self._yielded(progress))
        worker.returned.connect(lambda result: self._is_current(worker) and self._returned(result))
        worker.errored.connect(lambda error: self._fail(worker, error))
        worker.finished.connect(lambda *_: self._finish(worker, done))
        worker.start()

    def _is_current(self, worker: JobWorker) -> bool:
        return self._worker is worker and not worker.abort_requested

    def _fail(self, worker: JobWorker, error: Exception) -> None:
        if not self._is_current(worker):
            return
        self.error = error
        if not isinstance(error, ConsentError):
            show_error(sentence_of(error))

    def _finish(self, worker: JobWorker, done: Callable[[], None]) -> None:
        done()
        if self._worker is worker:
            self._worker = None
            self._ended(None if self.error is None else sentence_of(self.error))

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
