"""A Lightning fit that leaves its host as it was; also as a generator, with progress and cancel like a job.

Lightning drives its own loop. For a window it does so on a thread, which hands over one :class:`FitStep` at a
time through a bounded queue; closing the generator stops it one batch later.
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
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.host import last_line, processes_of_a_fit, quiet, silence

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class FitStep:
    """How far a fit is, and what was logged last.

    Attributes
    ----------
    epoch, epochs : int
        From 0, and how many there are.
    step, total : int
        ``step`` of ``total`` optimisation steps.
    metrics : dict of str to float
    validated, to_validate : int
        Batches of the validation that is under way; 0 after a training step.
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
    """How far a part of a training is that is not its fit, such as measuring the model.

    Attributes
    ----------
    title : str
        What is being done, as a user reads it.
    done, total : int
        Of what it goes through one by one.
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
    """Fit a module on the calling thread; strategies that start the program anew need the main thread.

    Random numbers, warnings and log records are as before when it returns.

    Parameters
    ----------
    module : LightningModule
    train, val : data loaders
        ``val`` is gone through at the end of each epoch.
    epochs : int
    least_epochs : int
        Before these are over, no callback stops the fit early.
    device : Device, optional
        The CPU by default.
    flags : TrainerFlags
    callbacks : sequence of Callback
        Checkpoints are written only by those among them.
    resume : Path, optional
        Checkpoint to go on from.
    seed : int, optional
        Of torch's global random numbers within the fit.

    Returns
    -------
    Trainer
        After the last step.

    Raises
    ------
    ModelError
        If what it is to go on from holds code.
    """
    device = device or Device(torch.device("cpu"), "")
    if device.torch.type == "cuda":
        torch.cuda.init()  # the fit does so anyway; now, the host's random numbers can be given back to it
    with quiet(), own_random_numbers(seed), processes_of_a_fit():
        trainer = L.Trainer(
            **flags.on(device),
            use_distributed_sampler=False,  # loaders have their own, which knows the epoch
            max_epochs=epochs,
            min_epochs=least_epochs,
            callbacks=list(callbacks),
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
                f"{resume} is no checkpoint of a training: it holds code, which is not run; "
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
    """:func:`fit` step by step, on a thread of its own; parameters and result are the same.

    Several devices have a process each, to which module, loaders and callbacks are sent: they can be pickled.

    Yields
    ------
    FitStep
        After each batch, of training and of validation. What the fit raised is raised here.

    Raises
    ------
    JobError
        If the flags are not for such a training, or this machine lacks the devices.
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
    """The first process reports for all."""

    def __init__(self, queue: Any, stop: Any) -> None:
        self.queue, self.stop = queue, stop

    def __setstate__(self, state: dict[str, Any]) -> None:
        """It comes into a process that does nothing but fit."""
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
        """Once more, with what was measured."""
        self._report(trainer, int(sum(trainer.num_val_batches)))
