"""Jobs: generators of :class:`Progress` that return a result.

Closing the generator cancels the job within one batch and releases its resources.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes
    ----------
    done, total : int
        ``total`` may change during the job.
    note : str
        Description of the current step, for the user.
    partial : object, optional
        A partial result to show.
    seconds_left : float, optional
        Estimated time until the job ends, if known.
    """

    done: int
    total: int
    note: str
    partial: Any = None
    seconds_left: float | None = None


class Steady:
    """Estimates the remaining time of work with equal parts, which begins now."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds_left(self, done: int, total: int) -> float | None:
        """Remaining time; None as long as nothing is done."""
        return (time.monotonic() - self._began) / done * (total - done) if done else None


Job = Generator[Progress, None, T]


def retold(job: Job[T], tell: Callable[[Progress], Progress]) -> Job[T]:
    """A job as part of another one, with its progress converted by ``tell``."""
    try:
        while True:
            yield tell(next(job))
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()


def run(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run a job and return its result.

    Parameters
    ----------
    job : generator
        For example ``predict("slide.svs", model="demo")``.
    on_progress : callable, optional
        Called with each :class:`Progress`; an exception in it cancels the job.
    """
    try:
        while True:
            progress = next(job)
            if on_progress is not None:
                on_progress(progress)
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()
