"""The cells of a document as growing arrays, in the order of their features."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations.feature import Feature

SMALLEST = 64


class Columns:
    """Coordinates and labels of cells, one row each.

    Rows are sorted by the serial number of their feature: the rows of a feature are found by bisection,
    and a feature that is removed and restored has the same position again. Adding at the end takes
    amortised constant time.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.ids: list[str] = []
        self._serial = np.empty(SMALLEST, np.int64)
        self._place = np.empty((SMALLEST, 2))
        self._label = np.empty(SMALLEST, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """(n, 2) level-0 y and x; a copy."""
        return self._place[: len(self)].copy()

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,); a copy."""
        return self._label[: len(self)].copy()

    def fill(self, features: Iterable[tuple[Feature, int]]) -> None:
        """Replace all rows by those of (feature, label) pairs in the order of serial numbers."""
        rows = [(feature.serial, label, *mark) for feature, label in features for mark in feature.marks]
        self.clear()
        self._room(len(rows))
        if rows:
            serials, labels, ids, ys, xs = zip(*rows, strict=True)
            count = len(rows)
            self._serial[:count], self._label[:count] = serials, labels
            self._place[:count, 0], self._place[:count, 1] = ys, xs
            self.ids = list(ids)

    def set(self, before: Feature | None, after: Feature | None, label: int = 0) -> None:
        """Replace, remove (``after`` None) or add (``before`` None) the rows of a feature."""
        feature = after or before
        assert feature is not None
        old, marks = len(before.marks) if before else 0, after.marks if after else ()
        start = int(np.searchsorted(self._serial[: len(self)], feature.serial))
        self._shift(start + old, len(marks) - old)
        for row, mark in enumerate(marks, start):
            self._serial[row], self._label[row], self._place[row] = feature.serial, label, mark[1:]
        self.ids[start : start + old] = [mark.id for mark in marks]

    def _shift(self, start: int, by: int) -> None:
        """Move the rows from ``start`` to the end by ``by`` rows."""
        count = len(self)
        self._room(count + by)
        if by and start < count:
            for array in (self._serial, self._label, self._place):
                array[start + by : count + by] = array[start:count].copy()

    def _room(self, count: int) -> None:
        have = len(self._serial)
        if count > have:
            grown = max(count, 2 * have)
            self._serial = np.resize(self._serial, grown)
            self._label = np.resize(self._label, grown)
            self._place = np.resize(self._place, (grown, 2))
