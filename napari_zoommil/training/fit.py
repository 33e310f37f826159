"""A Lightning fit without side effects on the process; also as a generator with progress, like a job.

Lightning runs its own loop. For the generator the loop runs on a thread, which passes one :class:`FitStep`
at a time through a bounded queue; closing the generator stops it after one more batch.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from queue import Empty, Full, Queue
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch.multiprocessing import ProcessRaisedException

from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.errors import JobError, ModelError
from napari_zoommil.training.callbacks import WholeCheckpoints
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.host import last_line, processes_of_a_fit, quiet, silence

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class FitStep:
    """Progress of a fit, and the values logged last.

    Attributes
    ----------
    epoch, epochs : int
        Index of the epoch, from 0, and number of epochs.
    step, total : int
        ``step`` of ``total`` optimisation steps.
    metrics : dict of str to float
    validated, to_validate : int
        Batches of the current validation; 0 after a training step.
    """

    epoch: int
    epochs: int
    step: int
    total: int
    metrics: dict[str, float]
    validated: int = 0
    to_validate: int = 0


@dataclass(frozen=True)
class Stage:
    """Progress of a part of a training other than its fit, such as measuring the model.

    Attributes
    ----------
    title : str
        Description for the user.
    done, total : int
        Items done, and all items.
    """

    title: str
    done: int
    total: int


def fit(
    module: L.LightningModule,
    train: Any,
    val: Any = None,
    *,
    epochs: int,
    least_epochs: int = 1,
    device: Device | None = None,
    flags: TrainerFlags = ONE_DEVICE,
    callbacks: Sequence[L.Callback] = (),
    resume: Path | None = None,
    seed: int | None = None,
) -> L.Trainer:
    """Fit a module on the calling thread, which must be the main thread for strategies that restart the
    program.

    Afterwards the state of random numbers, warnings and log filters is restored.

    Parameters
    ----------
    module : LightningModule
    train, val : data loaders
        ``val`` is evaluated at the end of each epoch.
    epochs : int
    least_epochs : int
        Epochs before which no callback can stop the fit.
    device : Device, optional
        The CPU by default.
    flags : TrainerFlags
    callbacks : sequence of Callback
        Checkpoints are written only by callbacks.
    resume : Path, optional
        Checkpoint from which to resume.
    seed : int, optional
        Seed of torch's global random numbers during the fit.

    Returns
    -------
    Trainer
        After the last step.

    Raises
    ------
    ModelError
        If the checkpoint contains code.
    """
    device = device or Device(torch.device("cpu"), "")
    if device.torch.type == "cuda":
        torch.cuda.init()  # the fit needs it; if it is initialised now, its random numbers are restored
    with quiet(), own_random_numbers(seed), processes_of_a_fit():
        trainer = L.Trainer(
            **flags.on(device),
            use_distributed_sampler=False,  # the loaders' samplers depend on the epoch
            max_epochs=epochs,
            min_epochs=least_epochs,
            callbacks=list(callbacks),
            plugins=WholeCheckpoints(),
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
        except UnpicklingError as error:
            raise ModelError(
                f"{resume} is not a checkpoint of a training: it contains code, which is not run; "
                "train without resuming"
            ) from error
        except ProcessRaisedException as error:
            raise JobError(f"one of the training's processes failed: {last_line(error)}") from error
    return trainer


def fit_steps(
    module: L.LightningModule,
    train: Any,
    val: Any = None,
    *,
    device: Device | None = None,
    flags: TrainerFlags = ONE_DEVICE,
    callbacks: Sequence[L.Callback] = (),
    **settings: Any,
) -> Generator[FitStep, None, L.Trainer]:
    """:func:`fit` as a generator, which runs the fit on a thread; parameters and result are the same.

    For several devices, module, loaders and callbacks are pickled for one process per device.

    Yields
    ------
    FitStep
        After each batch of training and of validation. Exceptions of the fit are raised here.

    Raises
    ------
    JobError
        If the flags are not valid for such a training, or this machine does not have the devices.
    """
    device = device or Device(torch.device("cpu"), "")
    flags.check(device)
    spawned = multiprocessing.get_context("spawn")
    queue: Any = Queue(maxsize=4) if flags.devices == 1 else spawned.Queue(maxsize=4)
    stop: Any = threading.Event() if flags.devices == 1 else spawned.Event()
    trained: list[L.Trainer] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            reporters = [*callbacks, _Reporter(queue, stop)]
            trained.append(
                fit(module, train, val, device=device, flags=flags, callbacks=reporters, **settings)
            )
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="fit", daemon=True)
    thread.start()
    try:
        while thread.is_alive() or not queue.empty():
            try:
                yield queue.get(timeout=POLL_SECONDS)
            except Empty:
                continue
    finally:
        stop.set()
        thread.join()
    if failure:
        raise failure[0]
    return trained[0]


class _Stopped(Exception):
    """The consumer closed the generator."""


class _Reporter(L.Callback):
    """Reports progress, from the first process only."""

    def __init__(self, queue: Any, stop: Any) -> None:
        self.queue, self.stop = queue, stop

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled in a process that only runs the fit."""
        vars(self).update(state)
        silence()

    def _report(self, trainer: L.Trainer, validated: int = 0) -> None:
        if not trainer.is_global_zero:
            return None
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        total = int(trainer.estimated_stepping_batches)
        to_validate = int(sum(trainer.num_val_batches)) if validated else 0
        epoch, epochs, step = trainer.current_epoch, trainer.max_epochs or 0, trainer.global_step
        item = FitStep(epoch, epochs, step, total, metrics, validated, to_validate)
        while not self.stop.is_set():
            try:
                return self.queue.put(item, timeout=POLL_SECONDS)
            except Full:
                continue
        raise _Stopped

    def on_train_batch_end(
        self, trainer: L.Trainer, _module: L.LightningModule, _outputs: STEP_OUTPUT, _batch: Any, _index: int
    ) -> None:
        self._report(trainer)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        _module: L.LightningModule,
        _outputs: STEP_OUTPUT,
        _batch: Any,
        index: int,
        _loader: int = 0,
    ) -> None:
        self._report(trainer, index + 1)

    def on_validation_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        """Report again, with the validation metrics."""
        self._report(trainer, int(sum(trainer.num_val_batches)))
