"""The range, step, unit and help of a job's parameter: written once, shown by every face.

magicgui and cyclopts each have their own way to say it; ``viewer`` and ``commands`` translate this one.
Parameters that mean the same in several jobs have a type here, with their help.
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
class Help:
    """What a parameter is, where its type says it and not the job's docstring."""

    text: str


ModelName = Annotated[str, Help("Shipped model, folder or hub name.")]

EncoderOfModel = Annotated[
    str | None,
    Help(
        "The encoder that the model was trained on, where the model must not choose it: its hub name, or a "
        "TorchScript file, which is code and is run. Its hash must be that of the model."
    ),
]

Mpp = Annotated[
    float | None,
    Range(0.02, 50, unit="µm/px"),
    Help("Pixel size of level 0, where the slide does not state it or states it wrongly."),
]

Icc = Annotated[bool, Help("Convert pixels to sRGB by the slide's colour profile, if it has one.")]

MinTissue = Annotated[
    float | None,
    Range(0, 1, 0.05),
    Help("Least tissue share of a patch at the lowest magnification; the model's own by default."),
]

DeviceName = Annotated[str, Help("auto, cpu, cuda, cuda:1, mps.")]

BatchSize = Annotated[
    int,
    Range(1, 4096),
    Help("Patches encoded at once; halved by itself when device memory runs out."),
]

Workers = Annotated[
    int | None,
    Range(1, 64),
    Help("Threads that read patches; one per core, at most 8, by default."),
]

Threads = Annotated[int | None, Range(1, 256), Help("CPU threads that compute; all cores by default.")]


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
        name.strip(): " ".join((param.description or "").split())
        for param in parse(job.__doc__ or "").params
        for name in param.arg_name.split(",")
    }
    found = {}
    for name, parameter in inspect.signature(job, eval_str=True).parameters.items():
        kind: Any = parameter.annotation
        extras: Sequence[Any] = ()
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
        limits = _limits(extras)
        text = next((extra.text for extra in extras if isinstance(extra, Help)), "")
        found[name] = Field(name, kind, parameter.default, help_texts.get(name, text), limits)
    return found
