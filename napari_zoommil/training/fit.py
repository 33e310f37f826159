"""A Lightning fit that leaves its host as it was; also as a generator, with progress and cancel like a job.

Lightning drives its own loop. For a window it does so on a thread, which hands over one :class:`FitStep` at a
time through a bounded queue; closing the generator stops it one batch later.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from queue import Empty, Full, Queue
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT

from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.errors import ModelError

POLL_SECONDS = 0.05

GREETINGS = "lightning.pytorch.utilities.rank_zero"
"""Logger of what Lightning tells about devices and its own products."""


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


@dataclass(frozen=True)
class TrainerFlags:
    """Where and how a fit computes, as :class:`lightning.Trainer` takes it.

    Attributes
    ----------
    accelerator : str
        cpu, gpu or mps.
    devices : int or tuple of int
        How many, or which.
    strategy : str
    num_nodes : int
    precision : str
    accumulate : int
        Batches whose gradients make one update.
    """

    accelerator: str = "cpu"
    devices: int | tuple[int, ...] = 1
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str = "32-true"
    accumulate: int = 1

    @classmethod
    def on(cls, device: Device, accumulate: int = 1) -> TrainerFlags:
        """For a single device."""
        kind = {"cuda": "gpu", "mps": "mps"}.get(device.torch.type, "cpu")
        return cls(kind, (device.torch.index or 0,) if device.is_gpu else 1, accumulate=accumulate)


def fit(
    module: L.LightningModule,
    train: Any,
    val: Any = None,
    *,
    epochs: int,
    least_epochs: int = 1,
    flags: TrainerFlags | None = None,
    callbacks: Sequence[L.Callback] = (),
    resume: Path | None = None,
    seed: int | None = None,
) -> L.Trainer:
    """Fit a module on the calling thread; several devices need that to be the main thread.

    Random numbers, warnings and log records are as before when it returns.

    Parameters
    ----------
    module : LightningModule
    train, val : data loaders
        ``val`` is gone through at the end of each epoch.
    epochs : int
    least_epochs : int
        Before these are over, no callback stops the fit early.
    flags : TrainerFlags, optional
        One CPU by default.
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
    flags = flags or TrainerFlags()
    if flags.accelerator == "gpu":
        torch.cuda.init()  # the fit does so anyway; now, the host's random numbers can be given back to it
    with quiet(), own_random_numbers(seed):
        trainer = L.Trainer(
            accelerator=flags.accelerator,
            devices=flags.devices if isinstance(flags.devices, int) else list(flags.devices),
            strategy=flags.strategy,
            num_nodes=flags.num_nodes,
            precision=flags.precision,  # type: ignore[arg-type]
            accumulate_grad_batches=flags.accumulate,
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
    return trainer


def fit_steps(
    module: L.LightningModule,
    train: Any,
    val: Any = None,
    *,
    callbacks: Sequence[L.Callback] = (),
    **settings: Any,
) -> Generator[FitStep, None, L.Trainer]:
    """:func:`fit` step by step, on a thread of its own; parameters and result are the same.

    Yields
    ------
    FitStep
        After each batch, of training and of validation. What the fit raised is raised here.
    """
    queue: Queue[FitStep] = Queue(maxsize=4)
    stop = threading.Event()
    trained: list[L.Trainer] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            reporter = _Reporter(queue, stop)
            trained.append(fit(module, train, val, callbacks=[*callbacks, reporter], **settings))
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
    def __init__(self, queue: Queue[FitStep], stop: threading.Event) -> None:
        self.queue, self.stop = queue, stop

    def _report(self, trainer: L.Trainer, validated: int = 0) -> None:
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


class _Warnings(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's greetings and remarks on how it is used: they are no user's concern.

    Adds filters and takes them out again, so that fits that overlap, and whoever else changes warnings
    meanwhile, do not restore what is no longer so.
    """
    tellers = [logging.getLogger(GREETINGS), *logging.getLogger("lightning.pytorch").handlers]
    own = _Warnings()
    for teller in tellers:
        teller.addFilter(own)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    added = warnings.filters[0]
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has restored an earlier list
            warnings.filters.remove(added)  # type: ignore[attr-defined]
        for teller in tellers:
            teller.removeFilter(own)
