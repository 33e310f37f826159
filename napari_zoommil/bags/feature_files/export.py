"""Writing features in the layout of TRIDENT: a folder per magnification, a file per slide."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from shutil import disk_usage
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.hdf5 import attributes, dataset, opened, text
from napari_zoommil.bags.feature_files.layouts import EDGE_DOWN
from napari_zoommil.errors import FeatureFileError, FileError
from napari_zoommil.files import make_folder, read_file, replacing
from napari_zoommil.geometry import PatchLevel, Rows, magnification_name

ROWS = 4096
"""Rows written at once."""

CHUNK = 32
"""Rows of a chunk of features."""

OVERHEAD, LEAST_ROOM = 8, 1 << 18
"""Bytes that a file takes beside its arrays, for each row and in all, at most."""


@dataclass(frozen=True)
class Exported:
    """What is written about a slide.

    Attributes
    ----------
    stem, fingerprint : str
        Its name without extension, and identity.
    shape : (int, int)
        Level-0 extent, px.
    magnification : float
        Of level 0.
    encoder, encoder_hash : str
    patch_size : int
    """

    stem: str
    fingerprint: str
    shape: tuple[int, int]
    magnification: float
    encoder: str
    encoder_hash: str
    patch_size: int


def write_trident(
    out: Path,
    slide: Exported,
    level: PatchLevel,
    features: Callable[[Rows], NDArray[np.float32]],
    width: int,
) -> Iterator[int | tuple[Path, Path]]:
    """Write ``20x_256px_0px_overlap/features_ENCODER/SLIDE.h5``, and ``patches/SLIDE_patches.h5`` beside it.

    Yields
    ------
    int
        Rows written so far; at the end the two files.

    Raises
    ------
    FileError
        If they cannot be written, or are there of another slide of the same name.
    """
    edge = level.size[1]
    overlap = round(slide.patch_size * (1 - level.stride[1] / edge))
    name = f"{magnification_name(level.magnification)}_{slide.patch_size}px_{overlap}px_overlap"
    path = out / name / f"features_{safe_name(slide.encoder)}" / f"{slide.stem}.h5"
    beside = out / name / "patches" / f"{slide.stem}_patches.h5"
    _require_own(path, slide.fingerprint)
    facts = _facts(slide, level, overlap, name)
    places = np.rint(level.origins[:, ::-1]).astype(np.int64)
    for each in (path, beside):
        make_folder(each.parent)
    count = len(places)
    with _written(beside, places.nbytes) as file:
        _add(file, "coords", places, facts)
    with _written(path, places.nbytes + count * (4 * width + OVERHEAD)) as file:
        _add(file, "coords", places, facts)
        made = file.create_dataset(
            "features", (count, width), np.float32, chunks=(max(1, min(CHUNK, count)), width)
        )
        made.attrs.update(
            {
                "encoder": slide.encoder, "encoder_hash": slide.encoder_hash, "name": slide.stem,
                "savetodir": path.parent.name, "fingerprint": slide.fingerprint,
            }
        )  # fmt: skip
        for start in range(0, count, ROWS):
            rows = np.arange(start, min(start + ROWS, count))
            made[start : rows[-1] + 1] = features(rows)
            yield int(rows[-1]) + 1
    yield path, beside


@contextmanager
def _written(path: Path, size: int) -> Iterator[h5py.File]:
    """A new file for that many bytes, if the disk has room: HDF5 can crash where it cannot finish one."""
    with replacing(path) as part:
        if disk_usage(path.parent).free < size + LEAST_ROOM:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        with h5py.File(part, "w") as file:
            yield file


def safe_name(encoder: str) -> str:
    """The name of an encoder as part of a path."""
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in encoder)


def _require_own(path: Path, fingerprint: str) -> None:
    if not path.is_file():
        return
    try:
        with opened(path) as file:
            theirs = text(attributes(dataset(file, "features")), "fingerprint")
    except FeatureFileError:
        return  # damaged: it is replaced
    _require_same(path, theirs, fingerprint)


def require_own_json(path: Path, fingerprint: str) -> None:
    """Refuse to replace a JSON file that is of another slide; one that is damaged is replaced.

    Raises
    ------
    FileError
    """
    if not path.is_file():
        return
    try:
        theirs = json.loads(read_file(path))["fingerprint"]
    except (ValueError, KeyError, TypeError):
        return
    _require_same(path, theirs, fingerprint)


def _require_same(path: Path, theirs: str, fingerprint: str) -> None:
    if theirs != fingerprint:
        raise FileError(
            f"{path.parent.name}/{path.name} is there already, and not of this slide as it is exported now; "
            "export to another folder"
        )


def _facts(slide: Exported, level: PatchLevel, overlap: int, folder: str) -> dict[str, Any]:
    height, width = slide.shape
    down, across = map(_whole, level.size)
    return {
        "patch_size": slide.patch_size,
        "patch_size_level0": across,
        "level0_magnification": _whole(slide.magnification),
        "target_magnification": _whole(level.magnification),
        "overlap": overlap,
        "name": slide.stem,
        "savetodir": folder,
        "level0_width": width,
        "level0_height": height,
    } | ({} if down == across else {EDGE_DOWN: down})


def _whole(value: float) -> int | float:
    """An integer, as TRIDENT writes it, where nothing is lost."""
    return round(value) if abs(value - round(value)) < 1e-6 else float(value)


def _add(file: h5py.File, name: str, values: NDArray[Any], facts: dict[str, Any]) -> None:
    file.create_dataset(name, data=values).attrs.update(facts)
