"""The range, step and unit of a job's parameter: written once, shown by every face.

magicgui and cyclopts each have their own way to say it; ``viewer`` and ``cli`` translate this one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Interval
from docstring_parser import parse


@dataclass(frozen=True)
class Range:
    """Allowed values of a number. ``unit`` is written as users read it; ``log`` asks for even ratios."""

    low: float
    high: float
    step: float | None = None
    unit: str = ""
    log: bool = False


@dataclass(frozen=True)
class Field:
    """One parameter of a job."""

    name: str
    type: Any
    default: Any
    help: str
    range: Range | None


def _limits(extras: Sequence[Any]) -> Range | None:
    """The range among what an annotation adds to a type; options of models have the ecosystem's own kind."""
    for extra in extras:
        if isinstance(extra, Range):
            return extra
        if isinstance(extra, Interval):
            low, high = (
                one if other is None else other for one, other in ((extra.gt, extra.ge), (extra.lt, extra.le))
            )
            return Range(low, high)  # type: ignore[arg-type]
    return None


def fields(job: Callable[..., Any]) -> dict[str, Field]:
    """Parameters of a job, or options of a model, from signature and NumPy docstring, in order."""
    help_texts = {
        param.arg_name: " ".join((param.description or "").split())
        for param in parse(job.__doc__ or "").params
    }
    found = {}
    for name, parameter in inspect.signature(job, eval_str=True).parameters.items():
        kind, limits = parameter.annotation, None
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
            limits = _limits(extras)
        found[name] = Field(name, kind, parameter.default, help_texts.get(name, ""), limits)
    return found
