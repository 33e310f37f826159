"""A job's parameters as options of a command: names, defaults, ranges and help are written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from cyclopts import Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from napari_zoommil.jobs.parameters import Field

Slides = Annotated[list[Path], Parameter(help="Slides, or a CSV with the column slide.")]
Out = Annotated[Path, Parameter(help="Folder to write; one inside it per slide where there are several.")]
Json = Annotated[bool, Parameter(help="Print one JSON document on standard output.", negative=())]
Mpp = Annotated[
    float | None, Parameter(help="Pixel size of level 0 in µm, where the slide does not state it.")
]


def _numbers(_type: Any, tokens: Sequence[Any]) -> tuple[float, ...]:
    """``5,10,20`` → (5.0, 10.0, 20.0)."""
    return tuple(float(part) for token in tokens for part in token.value.split(",") if part)


def _option(field: Field) -> inspect.Parameter:
    """A job's parameter as an option."""
    unit = f" ({field.range.unit})" if field.range and field.range.unit else ""
    extras: dict[str, Any] = {"help": field.help + unit}
    if field.range:
        extras["validator"] = Number(gte=field.range.low, lte=field.range.high)
    if get_origin(field.type) is tuple:
        extras |= {"converter": _numbers, "n_tokens": 1}
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[field.type, Parameter(**extras)],
    )


def with_options(
    job: Callable[..., Any], hidden: tuple[str, ...]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take its own parameters and those of ``job`` but the hidden ones, as ``**options``."""
    from napari_zoommil.jobs.parameters import fields

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            p
            for p in inspect.signature(command, eval_str=True).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        added = [_option(field) for field in fields(job).values() if field.name not in hidden]
        defaults = {p.name: p.default for p in added if p.default is not p.empty}

        @wraps(command)
        def with_defaults(*arguments: Any, **options: Any) -> Any:
            return command(*arguments, **(defaults | options))

        with_defaults.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined]
        return with_defaults

    return decorate
