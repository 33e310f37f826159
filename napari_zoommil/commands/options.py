"""A job's parameters as options of a command: names, defaults, ranges and help texts are defined once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from cyclopts import Parameter
from cyclopts.validators import Number

from napari_zoommil.errors import ModelError
from napari_zoommil.slides.readers.base import PLAUSIBLE_MPP

if TYPE_CHECKING:
    from napari_zoommil.jobs.parameters import Field

Slides = Annotated[list[Path], Parameter(help="Slides, a CSV with the column slide, or a folder of images.")]
Out = Annotated[Path, Parameter(help="Folder to write; for several slides with a subfolder for each.")]
Json = Annotated[bool, Parameter(help="Print one JSON document on standard output.", negative=())]
Mpp = Annotated[
    float | None,
    Parameter(
        help="Pixel size of level 0, if the slide does not state it or states it wrongly. (µm/px)",
        validator=Number(gte=PLAUSIBLE_MPP[0], lte=PLAUSIBLE_MPP[1]),
    ),
]
"""The same as that of jobs, defined again because commands start faster without importing them."""


SETS = {"options": "--set", "settings": "--set-recipe"}
"""Options of the form NAME=VALUE, by the job's parameter that they fill."""


def _numbers(_type: Any, tokens: Sequence[Any]) -> tuple[float, ...]:
    """``5,10,20`` → (5.0, 10.0, 20.0)."""
    return tuple(float(part) for token in tokens for part in token.value.split(",") if part)


def _is(kind: type, annotation: Any) -> bool:
    """Whether an annotation is a generic of ``kind``, or optional with such a generic."""
    return any(get_origin(part) is kind for part in (annotation, *get_args(annotation)))


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """``k=16``, ``k=12,16``, ``sigma=none`` → a dictionary with texts, which the model converts.

    Raises
    ------
    ModelError
        If one is not of the form name=value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ModelError(f"an option must have the form name=value, not {text!r}")
        found[name] = None if value == "none" else value.split(",") if "," in value else value
    return found


def _option(field: Field) -> inspect.Parameter:
    """A job's parameter as an option."""
    extras: dict[str, Any] = {"help": field.help_with_unit}
    if field.range:
        extras["validator"] = Number(gte=field.range.low, lte=field.range.high)
    kind: Any = field.type
    if _is(tuple, kind):
        extras |= {"converter": _numbers, "n_tokens": 1, "negative": ()}
    elif kind == Sequence[Path]:
        kind = list[Path]
        extras |= {"negative": (), "show_default": False}
    elif _is(Mapping, kind):
        kind = list[str] | None
        extras |= {"name": SETS[field.name], "negative": ()}
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[kind, Parameter(**extras)],
    )


def with_options(
    job: Callable[..., Any], hidden: tuple[str, ...]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that adds the parameters of ``job``, except hidden ones, to a command as ``**options``.

    Each field of a parameter that is a dataclass becomes an option.
    """
    from napari_zoommil.jobs.parameters import fields

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            p
            for p in inspect.signature(command, eval_str=True).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        parts: dict[str, Any] = {
            name: field.type for name, field in fields(job).items() if is_dataclass(field.type)
        }
        single = {name: field for name, field in fields(job).items() if name not in parts}
        whole = single | {name: field for part in parts.values() for name, field in fields(part).items()}
        added = [_option(field) for field in whole.values() if field.name not in hidden]
        settings = [name for name, field in fields(job).items() if _is(Mapping, field.type)]
        defaults = {p.name: p.default for p in added if p.default is not p.empty}

        @wraps(command)
        def with_defaults(*arguments: Any, **options: Any) -> Any:
            given = {name: _settings(texts) for name in settings if (texts := options.get(name))}
            taken = defaults | options | given
            for name, part in parts.items():
                taken[name] = part(**{one: taken.pop(one) for one in fields(part) if one in taken})
            return command(*arguments, **taken)

        with_defaults.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined]
        # cyclopts reads these first; a parameter may have the same name as the function's **keywords.
        with_defaults.__annotations__ = {p.name: p.annotation for p in own + added}
        return with_defaults

    return decorate
