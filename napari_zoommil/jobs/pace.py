"""How fast this machine was: a small record in the user's cache, by which later runs are estimated."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from napari_zoommil.configuration import parsed
from napari_zoommil.errors import FileError
from napari_zoommil.files import make_folder, write_json
from napari_zoommil.resources import cache_folder

LEAST_SECONDS = 1.0
"""A pace is measured for so long at least, after the first batch; shorter runs are not representative."""

MOST_RECORDS = 200


DETECT = "detect in tiles of 768 px"
"""The job of a search: records count tiles, whose size is :data:`napari_zoommil.cells.tiling.CORE_PX`."""


@dataclass(frozen=True)
class Work:
    """What a pace belongs to.

    Attributes
    ----------
    job : str
        ``predict`` or :data:`DETECT`.
    model : str
        As it was given: shipped model, folder or hub name.
    device : str
        As it was asked for, such as auto.
    threads : int or None
        All cores if None.
    encoder : str or None
        If the user named it.
    """

    job: str
    model: str
    device: str
    threads: int | None = None
    encoder: str | None = None

    @property
    def key(self) -> str:
        """A hash: the folder of a model may be named like its slide, which can identify a patient."""
        threads = self.threads or os.cpu_count() or 1
        parts = (self.job, self.model, self.device, str(threads), self.encoder or "")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Pace:
    """How fast a work was the last time.

    Attributes
    ----------
    seconds : float
        For one unit: a patch that is encoded, or a tile that is searched.
    loading : float
        Seconds until the model was loaded from its files.
    units : int
        Number of units on which it was measured.
    device : str
        The device that it ran on.
    on : str
        The day, as in 2026-11-28.
    """

    seconds: Annotated[float, Ge(0)]
    loading: Annotated[float, Ge(0)]
    units: int
    device: str
    on: str


def last_pace(work: Work) -> Pace | None:
    """The pace of the last run that was long enough; None if there was none on this machine."""
    with suppress(ValueError):
        return parsed(Pace, _records().get(work.key))
    return None


class Stopwatch:
    """Measures the pace of a run that begins now, and records it.

    Parameters
    ----------
    work : Work
    cold : bool
        Whether the model is loaded from its files.
    """

    def __init__(self, work: Work, cold: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        self._work, self._cold, self._clock = work, cold, clock
        self._began, self._loading = clock(), 0.0
        self._first: tuple[float, int] | None = None
        self._last = (self._began, 0)

    def loaded(self) -> None:
        """The model is ready."""
        self._loading = self._clock() - self._began

    def count(self, units: int) -> None:
        """So many units are done; the first ones warm up the device and do not count."""
        self._last = (self._clock(), units)
        if self._first is None and units:
            self._first = self._last

    def record(self, device: str) -> None:
        """Write the pace, if the run was long enough."""
        if self._first is None:
            return
        seconds, units = (end - start for end, start in zip(self._last, self._first, strict=True))
        if seconds < LEAST_SECONDS or not units:
            return
        before = last_pace(self._work)
        loading = self._loading if self._cold else before.loading if before else 0.0
        pace = Pace(seconds / units, loading, int(units), device, date.today().isoformat())
        _write(self._work.key, asdict(pace))


def _file() -> Path:
    return cache_folder() / "pace.json"


def _records() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_file().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _write(key: str, pace: dict[str, Any]) -> None:
    """Add a record as the latest one; a cache that cannot be written to is no error."""
    records = _records()
    records.pop(key, None)
    records[key] = pace
    kept = dict(list(records.items())[-MOST_RECORDS:])
    with suppress(FileError):
        make_folder(_file().parent)
        write_json(_file(), kept)
