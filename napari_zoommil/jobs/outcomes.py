"""What came of a job on each of many slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from napari_zoommil.errors import ConsentError, EncoderError, JobError, ZoomMILError, first_line

FAILURES = (ZoomMILError, OSError, RuntimeError)
"""Errors of one slide, its results or the device; other exceptions are bugs and are not caught."""

OF_ALL = (ConsentError, EncoderError)
"""Errors that every slide would meet."""

PARTS = 1000
"""Progress steps per slide."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[T]):
    """The outcome for one slide.

    Attributes
    ----------
    slide : Path
    result : object, optional
        The job's result, if it succeeded.
    error : Exception, optional
        Its error, if it failed.
    """

    slide: Path
    result: T | None = None
    error: Exception | None = None

    def then(self, write: Callable[[Path, Any], Any] | None) -> Outcome[Any]:
        """The outcome after ``write(slide, result)``, whose return value replaces the result."""
        if write is None or self.error is not None:
            return self
        try:
            return Outcome(self.slide, write(self.slide, self.result))
        except FAILURES as error:
            return Outcome(self.slide, error=error)


def results_of(outcomes: Sequence[Outcome[T]]) -> tuple[T, ...]:
    """The results, if all slides are needed.

    Raises
    ------
    Exception
        The error of the slide, if only one failed.
    JobError
        If several failed, with the error of each.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = "; ".join(
            f"{outcome.slide.name}: {first_line(outcome.error)}" for outcome in outcomes if outcome.error
        )
        raise JobError(f"{len(errors)} of {len(outcomes)} slides failed: {lines}") from errors[0]
    return tuple(cast(T, outcome.result) for outcome in outcomes)
