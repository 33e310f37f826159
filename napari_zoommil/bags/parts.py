"""Rows of features that several processes append to one folder; no valid row is ever lost or wrong.

A group of features is a folder of *parts*, each a zarr group with ``features`` (n, D) and ``origins`` (n, 2).
A row is valid once its origin is written; NaN marks rows that are not. This is safe because:

- A part is changed only by the thread that holds its lock, in a process of the host that created the part.
  If files cannot be locked, only the writer that created a part appends to it. A writer never waits: if all
  parts are locked, it creates a new one.
- A part is created under a temporary name and renamed. Features are written before their origins, and files
  are replaced atomically (zarr 3.1.3 and later): if a process is killed, the part keeps all its valid rows.
- A missing chunk reads as NaN, and a damaged one fails its checksum: both count as missing rows.
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

from napari_zoommil.geometry import Rows
from napari_zoommil.unfinished_files import sweep, unique_name

CHUNK_ROWS = 256
"""Rows per file of features."""

ORIGIN_ROWS = 4096
"""Rows per file of origins, which are small and always read together."""

ABANDONED_SECONDS = 3600.0
"""Age above which unfinished files of killed processes are deleted."""

OWN = ("part-", "solo-")
"""Beginnings of the names of parts."""

DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError)
"""Exceptions of zarr for missing or incomplete files."""

HOST = hashlib.sha256(f"{platform.node()} {uuid.getnode()}".encode()).hexdigest()[:8]
"""Identifies the host: on some shared disks file locks hold only among the processes of one host."""

_appending = Lock()
"""Held while this process appends to any part: some file locks hold for a process, not for a thread."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Part:
    """A snapshot of a part.

    Attributes
    ----------
    path : Path
    origins : (n, 2) float64
        Level-0 (y, x) of each row's patch; NaN if there are no features.
    features : zarr.Array
        (n or more, D).

    Raises
    ------
    ValueError
        If the arrays do not fit together.
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
        """The rows of one file, (≤ chunk_rows, D); NaN if they cannot be read."""
        start = number * self.chunk_rows
        try:
            return np.asarray(self.features[start : start + self.chunk_rows])
        except DAMAGE:
            rows = min(self.chunk_rows, self.features.shape[0] - start)
            return np.full((rows, self.features.shape[1]), np.nan, self.features.dtype)

    def rows(self, number: int, inside: Rows) -> Floats:
        """Some rows of one file, (n, D); NaN if they cannot be read."""
        return self.chunk(number)[inside]

    def rows_alone(self, number: int, inside: Rows) -> Floats:
        """As :meth:`rows`, but only they are read, so that the checksum of the file is not looked at."""
        if not self.path.name.startswith(OWN):
            return self.rows(number, inside)  # of another layout
        width, dtype = self.features.shape[1], self.features.dtype
        try:
            file = self.path / "features" / "c" / str(number) / "0"
            return np.memmap(file, dtype, "r", shape=(self.chunk_rows, width))[inside]
        except DAMAGE:
            return np.full((len(inside), width), np.nan, dtype)


def parts_of(folder: Path) -> list[Part]:
    """The parts of a group; damaged ones are left out with a warning."""
    found = []
    for path in _paths(folder, OWN):
        try:
            origins = np.asarray(zarr.open_array(path / "origins", mode="r")[:], np.float64)
            # opened after the origins, so that it has at least their rows
            features = zarr.open_array(path / "features", mode="r")
            found.append(Part(path, origins, features))
        except DAMAGE:
            warn_unused(path, "it is damaged")
    return found


def warn_unused(path: Path, reason: str) -> None:
    """Warn that features on disk are not used, unless they have been deleted meanwhile."""
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
    """Appends rows to a group of features.

    Parameters
    ----------
    folder : Path
        Folder of the group; it need not exist.
    dtype : str
        Type of new parts; existing parts keep their own.
    about : dict
        Attributes of the group.
    """

    def __init__(self, folder: Path, dtype: str, about: dict[str, Any]) -> None:
        self.folder, self.dtype, self.about = folder, dtype, about
        self._last: Path | None = None

    def append(self, origins: NDArray[np.float64], features: Floats) -> None:
        """Append (n, 2) origins and their (n, D) features.

        Raises
        ------
        OSError
            If the folder cannot be written.
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
        """Parts to which this writer may append, the last one first."""
        shared = _paths(self.folder, (f"part-{HOST}-",))
        return sorted(shared if self._last is None else {*shared, self._last}, key=lambda p: p != self._last)

    def _made(self, origins: NDArray[np.float64], features: Floats) -> Path:
        if not (self.folder / "zarr.json").exists():
            with suppress(ContainsGroupError):  # another process was first
                zarr.create_group(self.folder, attributes=self.about)
        _sweep(self.folder)
        name = uuid.uuid4().hex
        aside = self.folder / f".new-{unique_name()}"
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
        raise ValueError(f"{path} is damaged, or holds other features")
    values.resize((end, values.shape[1]))  # shrinks it if a writer was killed before it wrote the origins
    values[start:end] = features
    marks.resize((end, 2))
    marks[start:end] = origins


def _appended(path: Path, origins: NDArray[np.float64], features: Floats) -> bool:
    """Append rows to an existing part; returns whether that was possible."""
    try:
        _append(path, origins, features)
    except DAMAGE:
        return False  # creating a new part shows whether the folder can be written at all
    return True


def forget(part: Part, rows: NDArray[np.integer]) -> None:
    """Mark rows whose features cannot be read as missing, if the part is writable."""
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
    """Lock a part; yields whether the lock was obtained."""
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
    """Delete unfinished files of killed writers in a locked part."""
    for file in part.rglob("*.partial"):  # zarr's name for a file it has not finished
        with suppress(OSError):
            file.unlink()


def _sweep(folder: Path) -> None:
    """Delete unfinished parts of killed processes; of those that cannot be seen, what is old."""
    found = _paths(folder, (".new-",))
    sweep(found)
    for path in found:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
