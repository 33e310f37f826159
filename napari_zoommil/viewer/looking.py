"""A quick look at files on a thread: nothing to cancel, nothing to announce, the last one counts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar, cast

from superqt.utils import create_worker

from napari_zoommil.viewer.worker import JobWorker

K = TypeVar("K")
V = TypeVar("V")


class Looking(Generic[K, V]):
    """Runs one generator at a time on a thread and hands over what it yields.

    Parameters
    ----------
    seen : callable
        Called on the window's thread with what the look was for, and each thing it yields.
    failed : callable
        The same with what it failed of.
    """

    def __init__(self, seen: Callable[[K, V], None], failed: Callable[[K, Exception], None]) -> None:
        self._seen, self._failed = seen, failed
        self._worker: JobWorker | None = None
        self._number = 0

    @property
    def running(self) -> bool:
        return self._worker is not None

    def start(self, key: K, look: Callable[[], Iterator[V]]) -> None:
        """Look; what a look before it still says is not heard."""
        self.stop()

        def drive() -> Generator[V, None, None]:
            yield from look()

        worker = cast(JobWorker, create_worker(drive, _worker_class=JobWorker, _ignore_errors=True))
        self._worker, self._number = worker, self._number + 1
        number = self._number
        worker.yielded.connect(lambda value: self._is_current(number) and self._seen(key, value))
        worker.errored.connect(lambda error: self._is_current(number) and self._failed(key, error))
        worker.finished.connect(lambda *_: self._finish(number))
        worker.start()

    def _is_current(self, number: int) -> bool:
        return self._worker is not None and number == self._number

    def _finish(self, number: int) -> None:
        if self._is_current(number):
            self._worker = None

    def stop(self) -> None:
        """Hear nothing more of what is under way."""
        if self._worker is not None:
            self._worker.quit()
            self._worker = None
