"""Opening HDF5 files, and what their attributes say, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from napari_zoommil.errors import FeatureFileError, first_line
from napari_zoommil.files import FEATURES, TORCHSCRIPT, has_ending

PICKLES = (*TORCHSCRIPT, ".pkl", ".pickle", ".ckpt")


def is_feature_file(path: Path) -> bool:
    """Whether a path names features and no slide, by its ending only: HDF5, or a pickle, which is refused
    where it is opened."""
    return has_ending(path, (*FEATURES, *PICKLES))


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, for reading.

    Raises
    ------
    FeatureFileError
        If there is none, or it cannot be read, also while it is open.
    """
    if has_ending(path, PICKLES):
        raise FeatureFileError(
            f"{path.name} is a pickle, which can run code, and is not read; give the .h5 file that the tool "
            "writes beside it"
        )
    if not path.is_file():
        raise FeatureFileError(f"there is no feature file at {path}; name an .h5 file, or a folder of them")
    if not path.stat().st_size:
        raise FeatureFileError(f"{path.name} is empty; extract its features again")
    try:
        with _file(path) as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise FeatureFileError(
            f"{path.name} cannot be read as HDF5 ({first_line(error)}); it may be cut off: copy it, or "
            "extract its features, again"
        ) from error


def _file(path: Path) -> h5py.File:
    """Without a lock, because a folder of results may be read-only or on a share; with one where this process
    has the file open with a lock already, since HDF5 wants both alike."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return h5py.File(path, "r")


def dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset by its name; None where there is none."""
    found = file.get(name)
    return found if isinstance(found, h5py.Dataset) else None


def attributes(of: h5py.HLObject | None) -> dict[str, Any]:
    """The attributes of a file or dataset as plain numbers, texts and arrays; those of other types are left
    out."""
    found: dict[str, Any] = {}
    for name in () if of is None else of.attrs:
        try:
            value = of.attrs[name]  # type: ignore[union-attr]
        except (OSError, TypeError, KeyError):  # a type that h5py does not know
            continue
        if isinstance(value, np.ndarray):
            value = value.reshape(-1)[0] if value.size == 1 else value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):  # bytes that are no text, as h5py passes them on
            value = value.encode("utf-8", "surrogateescape")
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, h5py.Empty):
            found[name] = value
    return found


def number(attributes: dict[str, Any], name: str) -> float | None:
    """A positive number among attributes, also where it is written as text; None where there is none."""
    value = attributes.get(name)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size:
        value = float(value.flat[0])
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if 0 < found < np.inf else None


def text(attributes: dict[str, Any], name: str) -> str:
    """A text among attributes; empty where there is none."""
    value = attributes.get(name, "")
    return value.strip() if isinstance(value, str) else ""
