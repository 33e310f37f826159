"""A quick look at files on a thread: nothing to cancel, nothing to announce, the last one counts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from superqt.utils import GeneratorWorker, create_worker

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
        self._worker: GeneratorWorker | None = None

    @property
    def running(self) -> bool:
        return self._worker is not None

    def start(self, key: K, look: Callable[[], Iterator[V]]) -> None:
        """Look; what a look before it still says is not heard."""
        self.stop()

        def drive() -> Generator[V, None, None]:
            yield from look()

        worker: Any = create_worker(drive, _ignore_errors=True)
        self._worker = worker
        worker.yielded.connect(lambda value: self._worker is worker and self._seen(key, value))
        worker.errored.connect(lambda error: self._worker is worker and self._failed(key, error))
        worker.finished.connect(lambda *_: self._finish(worker))
        worker.start()

    def _finish(self, worker: GeneratorWorker) -> None:
        if self._worker is worker:
            self._worker = None

    def stop(self) -> None:
        """Hear nothing more of what is under way."""
        if self._worker is not None:
            self._worker.quit()
            self._worker = None
