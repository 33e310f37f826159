"""A training as a folder: settings and provenance, curves, checkpoint, and at the end the model.

Imports neither torch nor Lightning: windows ask for the state of runs.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_zoommil.errors import FileError, ModelError
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.model_folder import WEIGHTS

RUN, CURVES, LOCK = "run.json", "curves.csv", ".lock"

CHECKPOINT = "last.ckpt"
"""State at the end of the last epoch, from which a run goes on; gone when the run has ended."""

BEST = "best.ckpt"
"""Weights of the best epoch so far, where a training keeps those and not the last."""

LOCK_SECONDS = 1.0
"""How long a run waits for another one in its folder to end."""

EPOCH = "epoch"
"""First column of the curves."""

CurveLines = tuple[dict[str, float], ...]
"""Lines of the curves, one for each epoch; what was not measured is left out."""


@dataclass(frozen=True)
class RunFolder:
    """A training in a folder.

    Parameters
    ----------
    folder : Path
        Work in it within :func:`working_in`.
    provenance : dict
        What it trains on and how, as JSON has it; a run goes on only with the same.
    """

    folder: Path
    provenance: dict[str, Any]

    def begin(self, resume: bool) -> Path | None:
        """Where to go on from, if there is such a place; else the folder has no earlier run in it.

        Returns
        -------
        Path or None
            The checkpoint to go on from.

        Raises
        ------
        ModelError
            If it is to go on in a folder that holds another run, or a finished one.
        """
        checkpoint = self.folder / CHECKPOINT
        if resume and checkpoint.exists():
            if _lasting(provenance_of(self.folder)) != _lasting(json.loads(json.dumps(self.provenance))):
                raise ModelError(
                    f"{self.folder} holds a training of other data, settings or model; "
                    "train without resuming, or into another folder"
                )
            return checkpoint
        if resume and is_trained(self.folder):
            raise ModelError(f"the training in {self.folder} is done; train into another folder")
        for name in (CHECKPOINT, BEST, CURVES):
            (self.folder / name).unlink(missing_ok=True)
        self._write(self.provenance)
        return None

    def keep_lines(self, epochs: int) -> None:
        """Take back lines of later epochs: a run that was killed may have written one that its checkpoint
        does not know."""
        path = self.folder / CURVES
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            write_file(path, b"".join(lines[: epochs + 1]))

    def add_line(self, epoch: int, columns: Sequence[str], values: Mapping[str, float]) -> None:
        """Write a line of the curves; a column without a value stays empty."""
        path = self.folder / CURVES
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (EPOCH, *columns))
            if new:
                writer.writeheader()
            writer.writerow({EPOCH: epoch} | {name: f"{value:.6g}" for name, value in values.items()})

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Figures of the trained model, which is in the folder by now; the checkpoints go."""
        self._write(self.provenance | {"metrics": dict(metrics)})
        for name in (CHECKPOINT, BEST):
            (self.folder / name).unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.folder / RUN, content)


def _lasting(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a run may not change: it goes on under other versions, and where its end was cut off."""
    return {name: value for name, value in provenance.items() if name not in ("versions", "metrics")}


def provenance_of(folder: Path) -> dict[str, Any]:
    """What a folder tells of its run, with ``metrics`` once it is trained; empty if it tells nothing."""
    try:
        known = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def is_trained(folder: Path) -> bool:
    """Whether the run came to its end: its figures are written after the weights."""
    return "metrics" in provenance_of(folder) and (folder / WEIGHTS).exists()


def has_progress(folder: Path) -> bool:
    """Whether there is a model, or a finished epoch to go on from."""
    return (folder / CHECKPOINT).exists() or (folder / WEIGHTS).exists()


def read_curves(folder: Path) -> CurveLines:
    """The curves of a run so far; none where they are damaged."""
    try:
        with (folder / CURVES).open(newline="", encoding="utf-8") as file:
            return tuple(
                {name: float(value) for name, value in line.items() if name and value}
                for line in csv.DictReader(file)
            )
    except (OSError, ValueError):
        return ()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make a folder for a run, and keep others from working in it; to be entered before any work.

    Afterwards nothing is left of a run that has neither a model nor a finished epoch to go on from.

    Raises
    ------
    FileError
        If it cannot be written to.
    ModelError
        If another run is under way in it.
    """
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise FileError(f"{folder} cannot be written to; choose another folder")
    lock = _acquired(folder, LOCK_SECONDS)
    try:
        yield
    finally:
        if not has_progress(folder):
            for name in (RUN, CURVES, BEST):
                (folder / name).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            if not (folder / CHECKPOINT).exists():
                (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()  # not where anything is in it


@contextmanager
def using(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Keep other processes, and other runs of this one, from working in a folder.

    Raises
    ------
    ModelError
        If another run is under way in it, and does not end within some seconds.
    """
    lock = _acquired(folder, seconds)
    try:
        yield
    finally:
        lock.release()


def _acquired(folder: Path, seconds: float) -> FileLock:
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise ModelError(
            f"a training is under way in {folder}; wait until it ends, or train into another folder"
        ) from error
    except (OSError, NotImplementedError):
        pass  # some network shares cannot lock
    return lock


def in_use(folder: Path) -> bool:
    """Whether a run is under way in a folder, here or in another process."""
    if not (folder / LOCK).exists():
        return False
    try:
        with using(folder, 0):
            return False
    except ModelError:
        return True
