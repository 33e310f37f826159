"""A job's result as one file: a NumPy archive with its arrays, and everything else as JSON.

A result is a frozen dataclass of numbers, texts, arrays, and tuples and dataclasses of these. It is read by
the types of its fields only: a file cannot create objects of other types. Pickles are not read.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from napari_zoommil.errors import JobError

T = TypeVar("T")

TREE = "result"
"""Name of the archive entry with the JSON."""


class Excerpt:
    """Base of dataclasses with some fields of a result: of its file no more than these is read."""


def result_bytes(result: Any) -> bytes:
    """A result as the content of a file."""
    arrays: dict[str, Any] = {}
    tree = json.dumps(_taken_apart(result, "", arrays), ensure_ascii=False).encode()
    file = io.BytesIO()
    arrays[TREE] = np.frombuffer(tree, np.uint8)
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _taken_apart(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; arrays are added to ``arrays`` and replaced by their names."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return place
    if is_dataclass(value):
        return {
            one.name: _taken_apart(getattr(value, one.name), f"{place}.{one.name}".strip("."), arrays)
            for one in fields(value)
        }
    if isinstance(value, tuple):
        return [_taken_apart(one, f"{place}.{number}", arrays) for number, one in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def read_result(path: Path, kind: type[T]) -> T:
    """Read a result of type ``kind`` that :func:`result_bytes` wrote.

    Raises
    ------
    JobError
        If it cannot be read, or has another type.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            tree = json.loads(file[TREE].tobytes())
            found: T = _put_together(kind, tree, file)  # an array is read when a field asks for it
    except OSError as error:
        raise JobError(f"{path} cannot be read ({error.strerror or error})") from error
    except (
        ValueError, TypeError, KeyError, EOFError, AttributeError, RecursionError,
        NotImplementedError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise JobError(f"{path} is damaged, or of another version: create it again ({error})") from error
    return found


def _put_together(kind: Any, tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A value of type ``kind`` from JSON; TypeError if it does not fit."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first_that_fits(arguments, tree, arrays)
    if is_dataclass(kind):
        return _dataclass(kind, tree, arrays)
    if origin is tuple and isinstance(tree, list):
        variadic = arguments[-1] is Ellipsis
        kinds = arguments[:1] * len(tree) if variadic else arguments
        return tuple(_put_together(one, part, arrays) for one, part in zip(kinds, tree, strict=True))
    if origin is np.ndarray and isinstance(tree, str):
        (dtype,) = get_args(arguments[1])
        values = arrays[tree]  # decompressed at each access
        if values.dtype == dtype:
            return values
    elif origin is Literal:
        if tree in arguments:
            return tree
    elif kind is float and type(tree) in (int, float):
        return float(tree)
    elif kind in (str, int, bool, type(None)) and type(tree) is kind:
        return tree
    raise TypeError(f"{str(tree)[:40]!r} is not of the type {kind}")


def _first_that_fits(kinds: tuple[Any, ...], tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    for kind in kinds:
        try:
            return _put_together(kind, tree, arrays)
        except (TypeError, ValueError, KeyError):
            continue
    raise TypeError(f"{str(tree)[:40]!r} is not one of {kinds}")


def _dataclass(kind: Any, tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    types, known = get_type_hints(kind), {one.name: one for one in fields(kind)}
    if not isinstance(tree, dict) or not (issubclass(kind, Excerpt) or tree.keys() <= known.keys()):
        raise TypeError(f"{str(tree)[:40]!r} is not a {kind.__name__}")
    for name, one in known.items():
        if name not in tree and one.default is MISSING and one.default_factory is MISSING:
            raise TypeError(f"its {kind.__name__} lacks {name}")
    parts = {name: part for name, part in tree.items() if name in known}
    return kind(**{name: _put_together(types[name], part, arrays) for name, part in parts.items()})
