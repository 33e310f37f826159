"""Rows of features appended to a folder by several processes, so that no marked row is ever lost or wrong.

A group of features is a folder of *parts*, each a zarr group with ``features`` (n, D) and ``origins`` (n, 2).
A row counts once its origin is there; NaN marks one that is not. What makes it safe:

- A part is changed by one thread alone: the one that holds its lock, in a process of the host that made it.
  Where files cannot be locked, only the writer that made a part adds to it. Nobody ever waits: a writer that
  finds all parts busy makes another.
- A part is made aside and renamed. Features are written before their origins, and each file is replaced as a
  whole (zarr 3.1.3 and later): killed at any moment, a part holds what it held, or more.
- A chunk that is gone reads as NaN and one that is damaged fails its checksum: both count as not there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import zarr
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsGroupError

CHUNK_ROWS = 256
"""Rows that are read and written together."""

ORIGIN_ROWS = 4096
"""Origins in one file: a row of them is small, and all are read at once."""

ABANDONED_SECONDS = 3600.0
"""Age from which what a killed process left unfinished is deleted."""

DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError)
"""What zarr raises for files that are not there or not whole."""

HOST = hashlib.sha256(f"{platform.node()} {uuid.getnode()}".encode()).hexdigest()[:8]
"""Tells apart machines that share a disk: some disks lock files among the processes of one machine only."""

_appending = Lock()
"""Held while this process adds to any part: some disks lock files for a process, not for a thread."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Part:
    """A part as it was when it was looked at.

    Attributes
    ----------
    path : Path
    origins : (n, 2) float64
        Level-0 y and x of each row's patch; NaN where there are no features.
    features : zarr.Array
        (n or more, D).

    Raises
    ------
    ValueError
        If they do not fit together.
    """

    path: Path
    origins: NDArray[np.float64]
    features: zarr.Array[Any]

    def __post_init__(self) -> None:
        if self.features.dtype.kind != "f" or not self.origins.ndim == self.features.ndim == 2:
            raise ValueError(f"{self.path} does not hold features of patches")
        if len(self.origins) > self.features.shape[0]:
            raise ValueError(f"{self.path} lacks features of some patches")

    @property
    def chunk_rows(self) -> int:
        return int(self.features.chunks[0])

    def chunk(self, number: int) -> Floats:
        """Rows that lie in one file, (≤ chunk_rows, D); NaN where they cannot be read."""
        start = number * self.chunk_rows
        try:
            return np.asarray(self.features[start : start + self.chunk_rows])
        except DAMAGE:
            rows = min(self.chunk_rows, self.features.shape[0] - start)
            return np.full((rows, self.features.shape[1]), np.nan, self.features.dtype)


def parts_of(folder: Path) -> list[Part]:
    """The parts of a group; those that are damaged count as none, with a warning."""
    found = []
    for path in _paths(folder, ("part-", "solo-")):
        try:
            origins = np.asarray(zarr.open_array(path / "origins", mode="r")[:], np.float64)
            features = zarr.open_array(path / "features", mode="r")  # after the origins: it has their rows
            found.append(Part(path, origins, features))
        except DAMAGE:
            warn_unused(path, "it is damaged")
    return found


def warn_unused(path: Path, reason: str) -> None:
    """Warn that features on disk are not used, and say what to do; not of what was deleted meanwhile."""
    if path.exists():
        warnings.warn(
            f"the features in {path} are not used: {reason}. What is needed of them is encoded again; "
            "delete them to end this warning",
            stacklevel=2,
        )


def _paths(folder: Path, prefixes: tuple[str, ...]) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.startswith(prefixes))
    except OSError:
        return []


class Appender:
    """Adds rows to a group of features.

    Parameters
    ----------
    folder : Path
        Of the group; it need not be there yet.
    dtype : str
        Of a part that is made; one that is there keeps its own.
    about : dict
        Attributes of the group.
    """

    def __init__(self, folder: Path, dtype: str, about: dict[str, Any]) -> None:
        self.folder, self.dtype, self.about = folder, dtype, about
        self._last: Path | None = None

    def append(self, origins: NDArray[np.float64], features: Floats) -> None:
        """Add (n, 2) origins and their (n, D) features.

        Raises
        ------
        OSError
            If nothing can be written there.
        """
        with _appending:
            for path in self._mine():
                with _alone(path) as alone:
                    if alone and path != self._last:
                        _sweep_files(path)
                    if alone and _appended(path, origins, features):
                        self._last = path
                        return
            self._last = self._made(origins, features)

    def _mine(self) -> list[Path]:
        """Parts that this writer may add to, the last one first."""
        shared = _paths(self.folder, (f"part-{HOST}-",))
        return sorted(shared if self._last is None else {*shared, self._last}, key=lambda p: p != self._last)

    def _made(self, origins: NDArray[np.float64], features: Floats) -> Path:
        if not (self.folder / "zarr.json").exists():
            with suppress(ContainsGroupError):  # another process was first
                zarr.create_group(self.folder, attributes=self.about)
        _sweep(self.folder)
        name = uuid.uuid4().hex
        aside = self.folder / f".new-{HOST}-{name}"
        try:
            zarr.create_group(aside)
            for array, dtype, rows in (
                ("features", self.dtype, CHUNK_ROWS),
                ("origins", "float64", ORIGIN_ROWS),
            ):
                width = features.shape[1] if array == "features" else 2
                zarr.create_array(
                    aside / array,
                    shape=(0, width),
                    chunks=(rows, width),
                    dtype=dtype,
                    fill_value=np.nan,
                    compressors=[Crc32cCodec()],
                )
            _append(aside, origins, features)
            with _alone(aside) as lockable:
                pass
            path = self.folder / (f"part-{HOST}-{name}" if lockable else f"solo-{HOST}-{name}")
            os.replace(aside, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return path


def _append(path: Path, origins: NDArray[np.float64], features: Floats) -> None:
    marks, values = (zarr.open_array(path / name, mode="r+") for name in ("origins", "features"))
    start, end = marks.shape[0], marks.shape[0] + len(origins)
    if values.shape[0] < start or values.shape[1] != features.shape[1]:
        raise ValueError(f"{path} is damaged, or of other features")
    values.resize((end, values.shape[1]))  # shorter where a writer was killed before it marked what it wrote
    values[start:end] = features
    marks.resize((end, 2))
    marks[start:end] = origins


def _appended(path: Path, origins: NDArray[np.float64], features: Floats) -> bool:
    """Whether rows could be added to a part that is there."""
    try:
        _append(path, origins, features)
    except DAMAGE:
        return False  # a part of its own will tell whether nothing can be written at all
    return True


def forget(part: Part, rows: NDArray[np.integer]) -> None:
    """Mark rows as not there, since their features cannot be read; if that can be written."""
    if not part.path.name.startswith(f"part-{HOST}-"):
        return
    with suppress(*DAMAGE), _appending, _alone(part.path) as alone:
        if alone:
            marks = zarr.open_array(part.path / "origins", mode="r+")
            values = np.asarray(marks[:])
            values[rows] = np.nan
            marks[:] = values


@contextmanager
def _alone(part: Path) -> Iterator[bool]:
    """Whether no other process changes a part meanwhile."""
    if part.name.startswith("solo-"):
        yield True
        return
    lock = FileLock(part / ".lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _sweep_files(part: Path) -> None:
    """Delete what a writer that was killed left in a part that nobody else changes now."""
    for file in part.rglob("*.partial"):  # zarr's name for a file it has not finished
        with suppress(OSError):
            file.unlink()


def _sweep(folder: Path) -> None:
    """Delete what processes that were killed while they made a part left behind."""
    for path in _paths(folder, (".new-",)):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
