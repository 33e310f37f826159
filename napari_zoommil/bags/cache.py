"""The feature cache: a folder with a zarr group per slide, encoder and magnification.

Layout: ``FINGERPRINT/ENCODER-HASH/20x-256px-…/part-…``, each part with ``features`` (n, D) and ``origins``
(n, 2), level-0 y and x (see :mod:`napari_zoommil.bags.parts`), and ``FINGERPRINT/grids/…`` with the patches
of the slide's tissue. Slides are identified only by their fingerprint, because a name can identify a patient.

Rows are found by the origins of their patches: features can be used for other sets of magnifications, tissue
masks and overlaps than those for which they were encoded.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from cachetools import LRUCache

from napari_zoommil.bags.cache_size import entries_in, folders_in, trim
from napari_zoommil.bags.format_1 import older_parts
from napari_zoommil.bags.grids import GridKey, read_grid, write_grid
from napari_zoommil.bags.group import FeatureGroup
from napari_zoommil.bags.parts import DAMAGE, Floats, Part
from napari_zoommil.errors import StoreError, first_line, short
from napari_zoommil.files import is_full
from napari_zoommil.geometry import PatchGrid, PatchLevel, Rows, magnification_name
from napari_zoommil.resources import cache_folder

T = TypeVar("T")

FORMAT = 2
"""Format of feature groups; groups of a later format are neither read nor appended to."""

READING = 1
"""Version of patch reading; increase it when pixels change, so that features of both are never mixed."""

USER_BYTES = 4 << 30
"""Largest size of the user's cache; the least recently used groups are deleted."""

TRIM_BYTES = 64 << 20
"""Bytes written between two checks of that size."""

RECENT_BYTES = 512 << 20
"""Memory that a cache may use for features read lately, for all bags together."""

FEW = 0.5
"""Share of the rows of a file up to which they are read alone."""

GRIDS, DAMAGED = "grids", "damaged-"


@dataclass(frozen=True)
class EncoderKey:
    """Identity of the encoder of some features; the hash is that of its weights and pre-processing."""

    name: str
    hash: str

    @property
    def folder(self) -> str:
        return f"{_safe(self.name)}-{self.hash}"


def _safe(encoder: str) -> str:
    """An encoder's name as a folder name; of a file path only the last component."""
    name = Path(encoder).name if Path(encoder).suffix else encoder
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[-60:]


class FeatureCache:
    """A folder of features that several processes can read and fill at the same time.

    Parameters
    ----------
    folder : Path
        It need not exist.
    dtype : str
        Type in which features are stored, float16 or float32.
    most_bytes : int, optional
        Largest size of the folder, above which the oldest groups are deleted; unlimited by default. A
        folder with such a limit is the user's own cache, in which unusable content is not an error.
    """

    def __init__(self, folder: Path, dtype: str = "float16", most_bytes: int | None = None) -> None:
        self.folder, self.dtype, self.most_bytes = folder, dtype, most_bytes
        self.recent = Recent(RECENT_BYTES)
        self._untrimmed = TRIM_BYTES  # the first write checks the size

    def check_writable(self) -> None:
        """Check that the folder is writable, before features are computed for it.

        Raises
        ------
        StoreError
        """
        probe = self.folder / f".{uuid.uuid4().hex}"
        try:
            probe.mkdir(parents=True)
            probe.rmdir()
        except OSError as error:
            raise StoreError(unwritable(self.folder, error)) from error

    def group(
        self, fingerprint: str, encoder: EncoderKey, level: PatchLevel, patch_size: int, variant: int = 0
    ) -> FeatureGroup:
        """The features of a slide at one magnification; the group may be empty.

        Raises
        ------
        StoreError
            If the features were written by a later version, in a folder that the user named.
        """
        height, width = level.size
        name = f"{magnification_name(level.magnification)}-{patch_size}px-{height:.6g}x{width:.6g}-r{READING}"
        name += f"-view{variant}" if variant else ""
        folder = self.folder / fingerprint / encoder.folder / name
        self._touch(folder)
        closed = self._later(folder)
        about = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "encoder": _safe(encoder.name),
            "encoder_hash": encoder.hash,
            "magnification": level.magnification,
            "mpp": level.mpp,
            "patch_size": patch_size,
            "size": list(level.size),
            "variant": variant,
        }
        which = fingerprint, encoder.name, encoder.hash, level, patch_size
        older = () if variant else older_parts(self.folder, *which)
        return FeatureGroup(folder, self.dtype, older, about, closed)

    def hashes(self, fingerprint: str, encoder: str) -> tuple[str, ...]:
        """Hashes of the encoders of this name for which the slide has features."""
        names = (path.name for path in folders_in(self.folder / fingerprint))
        start = f"{_safe(encoder)}-"
        return tuple(sorted(name[len(start) :] for name in names if name.rpartition("-")[0] + "-" == start))

    def grid(self, fingerprint: str, key: GridKey) -> PatchGrid | None:
        """The stored patch grid of a slide; None if there is none.

        Raises
        ------
        StoreError
            If features of the slide were written by a later version, in a folder that the user named: here,
            before anything is computed for them.
        """
        for folder in folders_in(self.folder / fingerprint):
            for group in folders_in(folder) if folder.name != GRIDS else ():
                self._later(group)
        path = self._grid_path(fingerprint, key)
        self._touch(path)
        return read_grid(path)

    def keep_grid(self, fingerprint: str, key: GridKey, grid: PatchGrid) -> None:
        """Store the patch grid of a slide, if the folder is writable."""
        with suppress(*DAMAGE):
            write_grid(self._grid_path(fingerprint, key), grid)

    def damaged(self, fingerprint: str, seen: int = 0) -> int:
        """Number of damaged tiles of a slide: ``seen`` now, or more if another run found more."""
        folder = self.folder / fingerprint
        known = [
            int(path.name[len(DAMAGED) :]) for path in entries_in(folder) if path.name.startswith(DAMAGED)
        ]
        if seen > max(known, default=0) and folder.is_dir():
            with suppress(OSError):
                (folder / f"{DAMAGED}{seen}").touch()
        return max([seen, *known])

    def _grid_path(self, fingerprint: str, key: GridKey) -> Path:
        return self.folder / fingerprint / GRIDS / key.name

    def _later(self, group: Path) -> str:
        """Why a group of a later version is not used (or empty); an error in a folder that the user named."""
        made = _format(group)
        if made <= FORMAT:
            return ""
        later = f"a later version of napari-zoommil made {group.name}, in format {short(made)}"
        if self.most_bytes is None:
            raise StoreError(
                f"features in {self.folder} cannot be used ({later}); "
                "update the package, or name another --store"
            )
        return later

    def _touch(self, path: Path) -> None:
        """Mark a path as used, so that unused ones are deleted first."""
        if self.most_bytes is not None:
            with suppress(OSError):
                os.utime(path)

    def wrote(self, count: int) -> None:
        """Count bytes written and, if the size is bounded, delete the oldest groups."""
        self._untrimmed += count
        if self.most_bytes is not None and self._untrimmed >= TRIM_BYTES:
            self._untrimmed = 0
            trim(self.folder, self.most_bytes)


def user_cache() -> FeatureCache:
    """The user's own cache: features in full precision, bounded in size."""
    return FeatureCache(cache_folder() / "features", "float32", USER_BYTES)


def open_cache(store: Path | None) -> FeatureCache:
    """The cache in a given folder, or the user's own."""
    return user_cache() if store is None else FeatureCache(store)


def unwritable(folder: Path, error: BaseException) -> str:
    """Message that features cannot be stored, with the reason and a remedy."""
    reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
    room = "free some space there, or " if isinstance(error, OSError) and is_full(error) else ""
    return f"features cannot be stored in {folder} ({reason}); {room}name another --store"


class Recent:
    """Least-recently-used cache of what was read, bounded in bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: LRUCache[Any, Any] = LRUCache(most_bytes, lambda value: value.nbytes)
        self._checked: dict[int, int] = {}  # files of each part that were read whole, as bits
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Recent], tuple[int]]:
        """For another process, in which the cache begins empty."""
        return Recent, (int(self._kept.maxsize),)

    def get(self, key: Any, read: Callable[[], T]) -> T:
        """The value of a key, read now if it is not cached; values have ``nbytes``."""
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = read()
            with self._lock, suppress(ValueError):  # larger than the whole cache
                self._kept[key] = found
        return found

    @property
    def nbytes(self) -> int:
        return int(self._kept.currsize)

    def rows(self, part: Part, number: int, inside: Rows) -> Floats:
        """As :meth:`Part.rows`. A file is read whole at first, which checks it; if it is no longer in memory
        then, and few of its rows are wanted, only they are read."""
        key, file, bit = (part.path, number), hash(part.path), 1 << number
        if (
            len(inside) <= FEW * part.chunk_rows
            and self._checked.get(file, 0) & bit
            and key not in self._kept
        ):
            return part.rows_alone(number, inside)
        found = self.get(key, lambda: part.chunk(number))
        if not np.isnan(found[:, 0]).all():
            with self._lock:
                self._checked[file] = self._checked.get(file, 0) | bit
        return found[inside]


def _format(group: Path) -> int:
    """Format of a group on disk; that of this version if it states none."""
    try:
        made = json.loads((group / "zarr.json").read_text(encoding="utf-8"))["attributes"]["format"]
    except DAMAGE:
        return FORMAT
    return made if isinstance(made, int) else FORMAT
