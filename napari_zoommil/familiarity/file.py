"""Statistics of a training as one file of a model folder: arrays, and the rest as JSON in its head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Len

from napari_zoommil.configuration import parsed
from napari_zoommil.errors import ModelError, first_line
from napari_zoommil.familiarity.descriptors import VERSION, WIDTH
from napari_zoommil.familiarity.gaussian import Gaussian
from napari_zoommil.familiarity.nearest import Nearest
from napari_zoommil.familiarity.statistics import STAINED_SHARES, Familiarity, Reference

NAME = "familiarity.safetensors"
"""Of the file in a model folder."""

ARRAYS = ("mean", "scale", "axes", "spread")

MIXED = "its arrays do not belong together"

LARGEST = 64 << 20
"""Bytes of a file that is read: what is written has a few MB."""


@dataclass(frozen=True)
class _Head:
    version: int
    mpps: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1)]
    patch_size: Annotated[int, Ge(1)]
    encoder_hash: str
    shares: tuple[float, ...]
    residuals: tuple[Annotated[tuple[tuple[float, ...], ...], Len(1)], ...]
    """By magnification, training and kind of numbers."""


def to_bytes(familiarity: Familiarity) -> bytes:
    """The content of the file."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    residuals = []
    for number, level in enumerate(familiarity.levels):
        trainings = (level, *level.others)
        residuals.append([[_space(measure).residual for measure in one.measures] for one in trainings])
        for place, one in enumerate(trainings):
            arrays[f"{number}.{place}.limits"] = one.limits
            for kind, measure in enumerate(one.measures):
                own = f"{number}.{place}.{kind}"
                arrays |= {f"{own}.{name}": getattr(_space(measure), name) for name in ARRAYS}
                if isinstance(measure, Nearest):
                    arrays[f"{own}.points"] = measure.points
    head = {
        "version": VERSION,
        "mpps": familiarity.mpps,
        "patch_size": familiarity.patch_size,
        "encoder_hash": familiarity.encoder_hash,
        "shares": familiarity.shares,
        "residuals": residuals,
    }
    return save(arrays, {"head": json.dumps(head)})


def _space(measure: Gaussian | Nearest) -> Gaussian:
    return measure.space if isinstance(measure, Nearest) else measure


def hash_of(content: bytes) -> str:
    """By which a model's configuration vouches for the file."""
    return hashlib.sha256(content).hexdigest()


def read_familiarity(folder: Path, expected: str) -> Familiarity | None:
    """The statistics that a model folder keeps; None where it keeps none, or those of another version.

    Parameters
    ----------
    folder : Path
    expected : str
        The hash in the model's configuration; empty where it names none.

    Raises
    ------
    ModelError
        If the file is not the one that the configuration vouches for, or cannot be read.
    """
    path = folder / NAME
    if not expected or not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        content = path.read_bytes()
        if hash_of(content) != expected:
            raise ValueError("it is not the one that was written with the model")
        return _read(content)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be used ({first_line(error)}); fetch the model again, or remove this file: then "
            "nobody can tell whether the model knows what it is shown"
        ) from error


def _read(content: bytes) -> Familiarity | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    length = int.from_bytes(content[:8], "little")  # checked by load, which does not give what is in the head
    told = json.loads(json.loads(content[8 : 8 + length]).get("__metadata__", {})["head"])
    if not isinstance(told, dict) or told.get("version") != VERSION:
        return None
    head = parsed(_Head, told)
    if len(head.residuals) != len(head.mpps):
        raise ValueError("its magnifications are incomplete")
    levels = []
    for number, trainings in enumerate(head.residuals):
        first, *others = (_reference(arrays, f"{number}.{place}", one) for place, one in enumerate(trainings))
        levels.append(replace(first, others=tuple(others)))
    return Familiarity(head.mpps, head.patch_size, head.encoder_hash, tuple(levels), head.shares)


def _reference(arrays: Mapping[str, Any], place: str, residuals: tuple[float, ...]) -> Reference:
    limits = arrays[f"{place}.limits"]
    measures = tuple(_measure(arrays, f"{place}.{kind}", residual) for kind, residual in enumerate(residuals))
    fits = limits.shape == (len(measures), len(STAINED_SHARES)) and len(_space(measures[0]).mean) == WIDTH
    if not fits or not _is_finite(limits, np.float32):
        raise ValueError(MIXED)
    return Reference(measures, limits)


def _measure(arrays: Mapping[str, Any], place: str, residual: float) -> Gaussian | Nearest:
    own = {name: arrays[f"{place}.{name}"] for name in ARRAYS}
    count, width = own["axes"].shape if own["axes"].ndim == 2 else (0, 0)
    fits = own["mean"].shape == own["scale"].shape == (width,) and own["spread"].shape == (count,)
    if not fits or not all(_is_finite(one, np.float32) for one in own.values()):
        raise ValueError(MIXED)
    space, points = Gaussian(**own, residual=residual), arrays.get(f"{place}.points")
    if points is None:
        return space
    if points.ndim != 2 or not len(points) or points.shape[1] != count or not _is_finite(points, np.float16):
        raise ValueError(MIXED)
    return Nearest(space, points)


def _is_finite(array: np.ndarray, kind: type[np.floating[Any]]) -> bool:
    return array.dtype == kind and bool(np.isfinite(array).all())
