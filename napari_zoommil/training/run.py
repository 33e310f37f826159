"""Run folders: the settings, provenance, curves and checkpoint of a training, and finally its model.

Imports neither torch nor Lightning, because the viewer reads the state of runs.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from filelock import FileLock, Timeout

from napari_zoommil.errors import FileError, ModelError
from napari_zoommil.familiarity.file import NAME as STATISTICS
from napari_zoommil.files import make_folder, real, unfinished_in, unwritable, write_file, write_json
from napari_zoommil.model_folder import CARD, CONFIG, WEIGHTS
from napari_zoommil.unfinished_files import sweep

RUN, CURVES, LOCK = "run.json", "curves.csv", ".lock"

CHECKPOINT = "last.ckpt"
"""State at the end of the last epoch, from which a run resumes; deleted at the end of the run."""

BEST = "best.ckpt"
"""Weights of the best epoch so far, for trainings that keep those."""

FOLDS = "folds"
"""Folder with a run for each fold of a cross-validation."""

PLAN = "plan.json"
"""What the training chose and why; it may be there before the run, to be followed."""

FINISHED = "this training is finished"
"""What a job says that is to go on with a finished training, and returns its result."""

LOCK_SECONDS = 1.0
"""Longest wait for the lock of a folder."""

REPORT, PREDICTIONS = "held_out.json", "predictions.csv"
"""What a trained model says of held-out slides."""

OF_MODEL = (CONFIG, WEIGHTS, CARD, STATISTICS, REPORT, PREDICTIONS)
"""Files of a finished model."""

EPOCH = "epoch"
"""First column of the curves."""

CurveLines = tuple[dict[str, float], ...]
"""Lines of the curves, one per epoch, without values that were not measured."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a training.

    Parameters
    ----------
    folder : Path
        To be used within :func:`working_in`.
    provenance : dict
        Data and settings of the training, as JSON; a run is resumed only with the same.
    """

    folder: Path
    provenance: dict[str, Any]

    def begin(self, resume: bool) -> Path | None:
        """Start a run; an earlier run in the folder, with its model, is removed unless it is resumed.

        Returns
        -------
        Path or None
            The checkpoint from which to resume; None to start at the first epoch.

        Raises
        ------
        ModelError
            If ``resume`` is set and the folder holds another run, or a finished one.
        """
        sweep(unfinished_in(self.folder))
        if resume:
            self._require_open()
        checkpoint = self.folder / CHECKPOINT
        if resume and checkpoint.exists():
            return checkpoint
        remove_run(self.folder)
        self._write(self.provenance)
        return None

    def begin_folds(self, resume: bool) -> None:
        """Start a cross-validation; an earlier run in the folder is removed unless it is resumed.

        Raises
        ------
        ModelError
            If ``resume`` is set and the folder holds another run, or a finished one.
        """
        if resume:
            self._require_open()
        if not (resume and (self.folder / FOLDS).is_dir()):
            self.begin(False)

    def _require_open(self) -> None:
        """Refuse to go on with a run that is finished or another one, before anything of it is deleted."""
        if is_trained(self.folder):
            raise _finished(self.folder)
        if provenance_of(self.folder):
            self.require_same()

    def require_same(self) -> None:
        """Refuse to go on with a run of other data, settings or model.

        Raises
        ------
        ModelError
        """
        if _lasting(provenance_of(self.folder)) != _lasting(json.loads(json.dumps(self.provenance))):
            raise ModelError(
                f"{self.folder} holds a training of other data, settings or model; "
                "train without resuming, or into another folder"
            )

    def finished(self) -> dict[str, float]:
        """The metrics of a training that is finished; nothing of it is done again.

        Raises
        ------
        ModelError
            If it is of other data, settings or model.
        """
        self.require_same()
        metrics: dict[str, float] = provenance_of(self.folder)["metrics"]
        return metrics

    def keep_lines(self, epochs: int) -> None:
        """Remove the lines of later epochs: a killed run may have written one after its last checkpoint."""
        path = self.folder / CURVES
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            write_file(path, b"".join(lines[: epochs + 1]))

    def add_line(self, epoch: int, columns: Sequence[str], values: Mapping[str, float]) -> None:
        """Write a line of the curves; a column without a value stays empty."""
        path = self.folder / CURVES
        new = not path.exists()
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, (EPOCH, *columns))
                if new:
                    writer.writeheader()
                writer.writerow({EPOCH: epoch} | {name: f"{value:.6g}" for name, value in values.items()})
        except OSError as error:
            raise unwritable(path, error) from error

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the metrics of the trained model, which is already in the folder; delete the checkpoints."""
        self._write(self.provenance | {"metrics": dict(metrics)})
        for name in (CHECKPOINT, BEST):
            (self.folder / name).unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.folder / RUN, content)


def remove_run(folder: Path) -> None:
    """Delete a run and its model, but for the plan: what is left of it would be taken for that of the next.

    The weights go first, so that a folder without all of them is no model.
    """
    for name in (WEIGHTS, RUN, CHECKPOINT, BEST, CURVES, *OF_MODEL):
        (folder / name).unlink(missing_ok=True)
    rmtree(folder / FOLDS, ignore_errors=True)


def require_elsewhere(folder: Path, start: str) -> None:
    """Refuse to train into the folder of the model that a training starts from, which would be deleted.

    Raises
    ------
    ModelError
    """
    if real(Path(start).expanduser()) == real(folder):
        raise ModelError(f"{folder} holds the model that the training starts from; train into another folder")


def _finished(folder: Path) -> ModelError:
    return ModelError(f"the training in {folder} is finished; train into another folder")


def _lasting(provenance: dict[str, Any]) -> dict[str, Any]:
    """The provenance without versions and metrics, which may change when a run is resumed."""
    return {name: value for name, value in provenance.items() if name not in ("versions", "metrics")}


def provenance_of(folder: Path) -> dict[str, Any]:
    """The provenance of the run in a folder, with ``metrics`` if it is trained; empty if there is none."""
    try:
        known = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def is_trained(folder: Path) -> bool:
    """Whether the run is finished: its metrics are written after the weights."""
    return "metrics" in provenance_of(folder) and (folder / WEIGHTS).exists()


def has_progress(folder: Path) -> bool:
    """Whether there is a model, or a finished epoch from which to resume, also of a fold."""
    runs = (folder, *(folder / FOLDS).glob("*"))
    return any((run / CHECKPOINT).exists() or (run / WEIGHTS).exists() for run in runs)


def read_curves(folder: Path) -> CurveLines:
    """The curves of a run so far; empty if they are damaged."""
    try:
        with (folder / CURVES).open(newline="", encoding="utf-8") as file:
            return tuple(
                {name: float(value) for name, value in line.items() if name and value}
                for line in csv.DictReader(file)
            )
    except (OSError, ValueError):
        return ()


@contextmanager
def working_in(folder: Path, overwrite: bool, resume: bool = False, planned: bool = False) -> Iterator[None]:
    """Create the folder of a run and lock it; to be entered before any work.

    Afterwards a run without a model and without a finished epoch is deleted.

    Parameters
    ----------
    folder : Path
    overwrite : bool
        Whether files that are in the folder may be replaced.
    resume : bool
        Whether a run that was begun in the folder may go on.
    planned : bool
        Whether the run follows the plan that is in the folder.

    Raises
    ------
    FileError
        If it is not writable.
    ModelError
        If another run has the lock, or the folder holds something that must not be replaced.
    """
    if not overwrite:
        require_free(folder, resume, planned)
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise FileError(f"{folder} cannot be written to; choose another folder")
    lock = _acquired(folder, LOCK_SECONDS)
    try:
        yield
    finally:
        if not has_progress(folder):
            for name in (RUN, CURVES, BEST, *(() if planned else (PLAN,))):
                (folder / name).unlink(missing_ok=True)
            rmtree(folder / FOLDS, ignore_errors=True)
        lock.release()
        with suppress(OSError):
            if not (folder / CHECKPOINT).exists():
                (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()  # fails if the folder is not empty


def require_free(folder: Path, resume: bool, planned: bool = False) -> None:
    """Refuse a folder that holds files, other than those of a run to resume, or a plan that is followed.

    Raises
    ------
    FileError
        If it cannot be read.
    ModelError
        If it is not free.
    """
    try:
        there = set(folder.iterdir()) - {folder / LOCK, *unfinished_in(folder)} if folder.is_dir() else set()
    except OSError as error:
        raise FileError(f"{folder} cannot be read ({error.strerror}); choose another folder") from error
    plan = folder / PLAN
    if not there or (resume and folder / RUN in there) or (planned and there == {plan}):
        return
    if there == {plan}:
        raise ModelError(
            f"{folder} holds a plan; follow it with --plan {plan}, or give --overwrite (overwrite=True) to "
            "replace it"
        )
    what = "a training that was cut off (--resume goes on with it)" if folder / RUN in there else "files"
    what = "a model" if folder / WEIGHTS in there else what
    raise ModelError(
        f"{folder} holds {what} already; choose another folder, or give --overwrite (overwrite=True) "
        "to replace it"
    )


@contextmanager
def using(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Lock a folder against other processes, and against other runs of this process.

    Raises
    ------
    ModelError
        If another run has the lock and does not release it in time.
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
            f"another training is running in {folder}; wait until it ends, or train into another folder"
        ) from error
    except (OSError, NotImplementedError):
        pass  # some network shares cannot lock
    return lock


def in_use(folder: Path) -> bool:
    """Whether a training is running in a folder, in this or another process."""
    if not (folder / LOCK).exists():
        return False
    try:
        with using(folder, 0):
            return False
    except ModelError:
        return True
