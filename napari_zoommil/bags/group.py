"""Features of one slide, encoder, magnification and patch size; rows are found by the origins of patches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.parts import CHUNK_ROWS, Appender, Floats, Part, forget, parts_of
from napari_zoommil.geometry import Rows

PLACES_PER_PX = 64
"""Origins that are equal after rounding to this fraction of a level-0 px belong to the same patch."""

PATIENCE = 20.0
"""Rows wait to be written for as many times the duration of the last write: so writing takes a small part of
the time, on slow disks too, and what is slow to encode is written at once."""

PART_BYTES = 32 << 10
"""Approximate memory of an open part, without its origins."""

NOWHERE = np.empty((0, 2))

Reader = Callable[[Part, int, Rows], Floats]


@dataclass(frozen=True, eq=False)
class Places:
    """The position on disk of the features of each patch of a magnification.

    Attributes
    ----------
    parts : tuple of Part
    part, row : (N,) int32
        Index of the part, and row in it; −1 if there are no features.
    """

    parts: tuple[Part, ...]
    part: NDArray[np.int32]
    row: NDArray[np.int32]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether there are features."""
        return self.part >= 0

    @property
    def nbytes(self) -> int:
        return self.part.nbytes + self.row.nbytes + PART_BYTES * len(self.parts)

    @property
    def dim(self) -> int:
        """D, 0 if there are no features."""
        return max((int(part.features.shape[1]) for part in self.parts), default=0)

    def in_order(self, rows: Rows) -> Rows:
        """The rows, sorted in the order on disk."""
        return rows[np.lexsort((self.row[rows], self.part[rows]))]

    def read(self, rows: Rows, reader: Reader = Part.rows) -> Floats:
        """(n, D) features, NaN if they are missing or cannot be read.

        Parameters
        ----------
        rows : (n,) int64
        reader : callable, optional
            ``reader(part, number, inside)`` returns rows of one file; may be cached.
        """
        dtype = np.result_type(*(part.features.dtype for part in self.parts)) if self.parts else np.float32
        out = np.full((len(rows), self.dim), np.nan, dtype)
        for part, number, taken in self._files(rows):
            inside = self.row[rows[taken]].astype(np.int64) - number * part.chunk_rows
            values = reader(part, number, inside)
            out[taken] = values
            lost = np.isnan(values[:, 0])
            if lost.any():
                forget(part, self.row[rows[taken[lost]]])
        return out

    def _files(self, rows: Rows) -> Iterator[tuple[Part, int, Rows]]:
        """For each file that holds some of the rows: its part, its number, and the indices into ``rows``."""
        known = np.flatnonzero(self.known[rows])
        sizes = np.array([part.chunk_rows for part in self.parts] or [1])
        part = self.part[rows[known]]
        number = self.row[rows[known]] // sizes[part]
        order = np.lexsort((number, part))
        borders = np.flatnonzero(np.diff(part[order]) | np.diff(number[order])) + 1
        for taken in np.split(order, borders) if len(order) else ():
            first = taken[0]
            yield self.parts[part[first]], int(number[first]), known[taken]


class FeatureGroup:
    """The features of one slide, encoder, magnification, patch size and variant.

    Parameters
    ----------
    folder : Path
        Folder of its parts; it need not exist.
    dtype : str
        Type of features that are added.
    older : tuple of Part
        Features from stores of an earlier format.
    about : dict, optional
        Attributes of the zarr group, which identify the features.
    closed : str
        Why the folder cannot be read or appended to; empty if it can.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        older: tuple[Part, ...] = (),
        about: dict[str, Any] | None = None,
        closed: str = "",
    ) -> None:
        self.folder, self.dtype, self._older, self._closed = folder, dtype, older, closed
        self._appender = Appender(folder, dtype, about or {})

    def find(self, origins: NDArray[np.float64]) -> Places:
        """The position of the features of patches with (N, 2) level-0 origins."""
        parts = (*(() if self._closed else parts_of(self.folder)), *self._older)
        part, row = np.full((2, len(origins)), -1, np.int32)
        keys = _key(origins)
        for number, one in enumerate(parts):
            marked = np.flatnonzero(~np.isnan(one.origins).any(1))
            if not len(marked):
                continue
            theirs = _key(one.origins[marked])
            order = np.argsort(theirs, kind="stable")
            at = np.searchsorted(theirs[order], keys).clip(max=len(marked) - 1)
            same = theirs[order][at] == keys
            part[same], row[same] = number, marked[order][at[same]]
        return Places(tuple(replace(one, origins=NOWHERE) for one in parts), part, row)

    def rounded(self, features: Floats) -> Floats:
        """Features rounded and clipped to the type in which they are stored."""
        limits = np.finfo(self.dtype)
        return features.clip(limits.min, limits.max).astype(self.dtype)

    def append(self, origins: NDArray[np.float64], features: Floats) -> None:
        """Write (n, D) features of patches; rows with NaN are skipped.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        if self._closed:
            raise OSError(self._closed)
        whole = ~np.isnan(features).any(1)
        if whole.any():
            self._appender.append(origins[whole], self.rounded(features[whole]))


def _key(origins: NDArray[np.float64]) -> NDArray[np.int64]:
    """One integer per rounded origin."""
    places = np.rint(origins * PLACES_PER_PX).astype(np.int64)
    return (places[:, 0] << 32) + places[:, 1]


class Writer:
    """Collects rows and appends them to a group: a file at a time, or earlier (see :data:`PATIENCE`).

    A process that is killed loses the rows that wait, fewer than those of a file.
    """

    def __init__(self, group: FeatureGroup) -> None:
        self._group = group
        self._waiting: list[tuple[NDArray[np.float64], Floats]] = []
        self._due = 0.0

    def add(self, origins: NDArray[np.float64], features: Floats) -> int:
        """Add rows; returns the bytes written now.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self._waiting.append((origins, features))
        waiting = sum(len(each) for each, _ in self._waiting)
        if waiting >= CHUNK_ROWS or time.monotonic() >= self._due:
            return self.flush()
        return 0

    def flush(self) -> int:
        """Write all buffered rows; returns the bytes written.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return 0
        origins, features = (np.concatenate(each) for each in zip(*waiting, strict=True))
        begun = time.monotonic()
        self._group.append(origins, features)
        ended = time.monotonic()
        self._due = ended + PATIENCE * (ended - begun)
        return features.nbytes
