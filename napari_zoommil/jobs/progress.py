"""Jobs: generators of :class:`Progress` that return a result.

Closing the generator cancels the job within one batch and releases its resources.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
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
        Estimated time until the current work ends, if known; :func:`timed` estimates it for any job.
    """

    done: int
    total: int
    note: str
    partial: Any = None
    seconds_left: float | None = None


SHORT_SECONDS = 10.0
"""Least length of work of which the remaining time is told."""

SOON_SECONDS = 2.0
"""Time after which it is estimated."""


class TimeLeft:
    """Estimates the remaining time of a job from its progress, for those that do not tell it themselves.

    The pace is that of the latter half of the time so far: the first parts of a work are slower, and some
    need not be done at all. Each piece of work, such as detecting tissue, is estimated by itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self._began = 0.0

    def told(self, progress: Progress) -> Progress:
        """The progress with the remaining time, if it is known and the work is not short."""
        now, done = self._clock(), progress.done
        if not self._seen or done < self._seen[-1][1]:
            self._seen.clear()
            self._began = now
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= (self._began + now) / 2:
            self._seen.popleft()
        if progress.seconds_left is not None:
            return progress
        return replace(progress, seconds_left=self._left(now, progress))

    def _left(self, now: float, progress: Progress) -> float | None:
        since, before = self._seen[0]
        if now - self._began < SOON_SECONDS or progress.done <= before or progress.done >= progress.total:
            return None
        left = (now - since) / (progress.done - before) * (progress.total - progress.done)
        return left if now - self._began + left >= SHORT_SECONDS else None


def duration(seconds: float) -> str:
    """A duration as text."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


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


def timed(job: Job[T]) -> Job[T]:
    """A job with the remaining time in its progress."""
    return retold(job, TimeLeft().told)


def run(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run a job and return its result.

    Parameters
    ----------
    job : generator
        For example ``predict("slide.svs", model="demo")``.
    on_progress : callable, optional
        Called with each :class:`Progress`; an exception in it cancels the job.
    """
    job = timed(job)
    try:
        while True:
            progress = next(job)
            if on_progress is not None:
                on_progress(progress)
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()
