"""What JSON files state, as frozen dataclasses: one parser, with a sentence for each wrong entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import make_dataclass
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from napari_zoommil.errors import ZoomMILError, short

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

LONGEST = 60
"""Characters of a wrong value that are quoted."""


def parsed(shape: type[T], content: object) -> T:
    """A dataclass with the entries of a JSON object.

    A value must be of its field's type: neither ``"3"`` nor ``true`` serves for a number. Entries that the
    dataclass does not have are left out, so that later versions can add some.

    Parameters
    ----------
    shape : type
        A dataclass, whose fields may have constraints of :mod:`annotated_types`.
    content : object
        What :func:`json.loads` gave.

    Raises
    ------
    ValueError
        That says of each wrong entry what is wrong with it.
    """
    from pydantic import ValidationError

    try:
        found: T = _adapter(cast("Any", shape)).validate_json(json.dumps(content), strict=True)
        return found
    except ValidationError as error:
        raise ValueError("; ".join(_sentences(error.errors(include_url=False)))) from error
    except ZoomMILError as error:  # of a dataclass that checks itself
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@lru_cache(maxsize=32)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    """The parser of a dataclass, which takes some 10 ms to make."""
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def check_arguments(function: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Refuse values out of a JSON file that do not fit a function's annotations.

    Parameters
    ----------
    function : callable
        Constraints of its parameters are those of :mod:`annotated_types`.
    given : mapping
        Arguments; what the function does not take is left to it to refuse.

    Raises
    ------
    ValueError
        That says of each wrong argument what is wrong with it.
    """
    hints = get_type_hints(function, include_extras=True)
    fields = [(name, hints[name]) for name in signature(function).parameters if name in given]
    parsed(make_dataclass("Arguments", fields), given)


def _sentences(errors: Iterable[Any]) -> list[str]:
    """One for each wrong entry; where an item is wrong, nothing is said of its list."""
    found = {tuple(one["loc"]): _sentence(one) for one in errors}
    inner = {place[:end] for place in found for end in range(len(place))}
    return [said for place, said in found.items() if place not in inner]


def _sentence(wrong: Any) -> str:
    """``mpp should be a valid number, not 'half'``."""
    where, said = _place(wrong["loc"]), str(wrong["msg"])
    if wrong["type"] == "missing":
        return f"{where} is missing"
    if said.startswith("Input "):
        return f"{where} {said.removeprefix('Input ')}, not {short(repr(wrong['input']), LONGEST)}"
    return f"{where}: {said.removeprefix('Value error, ')}"


def _place(parts: Iterable[int | str]) -> str:
    """``classes[0].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "it"
