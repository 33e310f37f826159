"""What a job is: a generator of :class:`Progress` that returns its result.

Closing the generator cancels the job within one batch and frees what it holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    done, total : int
        ``total`` may change while the job learns how much there is to do.
    note : str
        What is being done, as a user reads it.
    partial : object, optional
        A part of the result that can be shown already.
    seconds_left : float, optional
        Expected until the job ends, where it can be told.
    """

    done: int
    total: int
    note: str
    partial: Any = None
    seconds_left: float | None = None


class Steady:
    """Tells the time left of work whose parts take alike; it begins now."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds_left(self, done: int, total: int) -> float | None:
        """None as long as nothing is done."""
        return (time.monotonic() - self._began) / done * (total - done) if done else None


Job = Generator[Progress, None, T]


def retold(job: Job[T], tell: Callable[[Progress], Progress]) -> Job[T]:
    """A job as part of another one, whose progress is told in other words."""
    try:
        while True:
            yield tell(next(job))
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()


def run(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Drive a job to its result.

    Parameters
    ----------
    job : generator
        Such as ``predict("slide.svs", model="demo")``.
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
