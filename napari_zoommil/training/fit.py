"""A Lightning fit without side effects on the process; also as a generator with progress, like a job.

Lightning runs its own loop. For the generator the loop runs on a thread, which passes one :class:`FitStep`
at a time through a bounded queue; closing the generator stops it after one more batch.
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
from napari_zoommil.errors import ModelError

POLL_SECONDS = 0.05

GREETINGS = "lightning.pytorch.utilities.rank_zero"
"""Logger of Lightning's messages about devices and products."""


@dataclass(frozen=True)
class FitStep:
    """Progress of a fit, and the values logged last.

    Attributes
    ----------
    epoch, step, total : int
        ``step`` of ``total`` optimisation steps.
    metrics : dict of str to float
    validated, to_validate : int
        Batches of the current validation; 0 after a training step.
    """

    epoch: int
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


@dataclass(frozen=True)
class TrainerFlags:
    """Arguments of :class:`lightning.Trainer` for hardware and precision.

    Attributes
    ----------
    accelerator : str
        cpu, gpu or mps.
    devices : int or tuple of int
        Number of devices, or their indices.
    strategy : str
    num_nodes : int
    precision : str
    accumulate : int
        Batches per update (gradient accumulation).
    """

    accelerator: str = "cpu"
    devices: int | tuple[int, ...] = 1
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str = "32-true"
    accumulate: int = 1

    @classmethod
    def on(cls, device: Device, accumulate: int = 1) -> TrainerFlags:
        """Flags for a single device."""
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
    """Fit a module on the calling thread, which must be the main thread for several devices.

    Afterwards the state of random numbers, warnings and log filters is restored.

    Parameters
    ----------
    module : LightningModule
    train, val : data loaders
        ``val`` is evaluated at the end of each epoch.
    epochs : int
    least_epochs : int
        Epochs before which no callback can stop the fit.
    flags : TrainerFlags, optional
        One CPU by default.
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
    flags = flags or TrainerFlags()
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
                f"{resume} is not a checkpoint of a training: it contains code, which is not run; "
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
    """:func:`fit` as a generator, which runs the fit on a thread; parameters and result are the same.

    Yields
    ------
    FitStep
        After each batch of training and of validation. Exceptions of the fit are raised here.
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
        item = FitStep(trainer.current_epoch, trainer.global_step, total, metrics, validated, to_validate)
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


@contextmanager
def own_random_numbers(seed: int | None = None) -> Iterator[None]:
    """Within the context, seed torch's global random numbers (if a seed is given); restore them afterwards.

    Those of Python and numpy are not used here.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield


class _Warnings(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's messages and warnings about its use.

    Only the filters added here are removed, so that overlapping fits and other changes of warnings do not
    restore outdated lists.
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
        with suppress(ValueError):  # other code has restored an earlier list
            warnings.filters.remove(added)  # type: ignore[attr-defined]
        for teller in tellers:
            teller.removeFilter(own)
