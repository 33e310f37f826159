"""Lightning callbacks: curves and checkpoints in the run folder, and reproducible random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from napari_zoommil.encoders.random_numbers import seed_torch
from napari_zoommil.files import write_file
from napari_zoommil.training.run import BEST, CHECKPOINT, RunFolder


def seed_of(*numbers: int) -> int:
    """A seed derived from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class CurveWriter(L.Callback):
    """Writes a line of a run's curves at the end of each epoch.

    Parameters
    ----------
    run : RunFolder
    columns : sequence of str
        Metrics of the fit; those that are not logged stay empty.
    """

    def __init__(self, run: RunFolder, columns: Sequence[str]) -> None:
        self.run, self.columns = run, columns

    def on_train_start(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.run.keep_lines(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        values = {name: logged.get(f"{name}_epoch", logged.get(name)) for name in self.columns}
        told = {name: float(value) for name, value in values.items() if value is not None}
        self.run.add_line(trainer.current_epoch, self.columns, told)


def last_checkpoint(run: RunFolder) -> ModelCheckpoint:
    """Checkpoint from which a fit resumes, written at the end of each epoch; must be the last callback."""
    return ModelCheckpoint(
        run.folder,
        filename=CHECKPOINT.removesuffix(".ckpt"),
        save_last=False,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


def best_checkpoint(run: RunFolder, monitor: str, mode: str = "min") -> ModelCheckpoint:
    """Checkpoint of the epoch with the lowest (``min``) or highest (``max``) value of a metric."""
    return ModelCheckpoint(
        run.folder,
        filename=BEST.removesuffix(".ckpt"),
        monitor=monitor,
        mode=mode,
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them.

    Lightning writes them into the system's temporary folder. From there to another disk they are copied, and
    a process that is killed meanwhile leaves a part of one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        content = BytesIO()  # of a full disk torch only tells at which byte it stopped
        torch.save(checkpoint, content)
        write_file(Path(path), content.getvalue())


class StopsEarly(EarlyStopping):
    """Early stopping that a resumed fit remembers: if it was to stop, it has no further epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or bool(self.stopped_epoch)


class SeededSteps(L.Callback):
    """Seeds torch before each batch with a seed, the epoch and the batch's number of all processes, so that a
    resumed fit equals an uninterrupted one, and several processes one that accumulates as many batches."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, _module: L.LightningModule, _batch: Any, index: int
    ) -> None:
        number = index * trainer.world_size + trainer.global_rank
        seed_torch(seed_of(self.seed, trainer.current_epoch, number))
