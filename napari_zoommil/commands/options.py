"""A job's parameters as options of a command: names, defaults, ranges and help are written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, get_origin

from cyclopts import App, Parameter
from cyclopts.validators import Number

from napari_zoommil.jobs.parameters import Field, fields


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


def job_command(
    app: App, job: Callable[..., Any], hidden: tuple[str, ...]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a command of an app that takes its own parameters and those of ``job`` but the hidden ones."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            p
            for p in inspect.signature(function, eval_str=True).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        added = [_option(field) for field in fields(job).values() if field.name not in hidden]
        defaults = {p.name: p.default for p in added if p.default is not p.empty}

        @wraps(function)
        def with_defaults(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **(defaults | options))

        with_defaults.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined]
        app.command(with_defaults, name=job.__name__)
        return function

    return register
