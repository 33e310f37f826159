"""A Lightning fit as a generator: progress and cancel like any other job.

Lightning drives its own loop; here it runs on a thread and hands over one :class:`FitStep` at a
time through a bounded queue. Closing the generator stops it one step later.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import STEP_OUTPUT

from napari_zoommil.encoders.device import Device

POLL_SECONDS = 0.05

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its greetings are no user's concern
warnings.filterwarnings("ignore", module=r"lightning\.")  # nor are its remarks on how it is used


@dataclass(frozen=True)
class FitStep:
    """How far a fit is, and what was logged last.

    Attributes
    ----------
    epoch, step, total : int
        ``step`` of ``total`` optimisation steps.
    metrics : dict of str to float
    """

    epoch: int
    step: int
    total: int
    metrics: dict[str, float]


class _Stopped(Exception):
    """The consumer closed the generator."""


class _Reporter(L.Callback):
    def __init__(self, queue: Queue[FitStep], stop: threading.Event) -> None:
        self.queue, self.stop = queue, stop

    def _report(self, trainer: L.Trainer) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        total = int(trainer.estimated_stepping_batches)
        item = FitStep(trainer.current_epoch, trainer.global_step, total, metrics)
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

    def on_validation_batch_end(self, *_arguments: Any) -> None:
        if self.stop.is_set():
            raise _Stopped

    def on_validation_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._report(trainer)


def accelerator(device: Device) -> dict[str, Any]:
    """A device in Lightning's words."""
    kind = {"cuda": "gpu", "mps": "mps"}.get(device.torch.type, "cpu")
    return {"accelerator": kind, "devices": [device.torch.index or 0] if device.is_gpu else 1}


def fit_steps(
    module: L.LightningModule,
    train: Any,
    val: Any = None,
    *,
    callbacks: list[L.Callback] | None = None,
    ckpt_path: Path | None = None,
    **trainer: Any,
) -> Generator[FitStep, None, L.Trainer]:
    """Fit a module step by step.

    Parameters
    ----------
    module : LightningModule
    train, val : data loaders
    callbacks : list of Callback, optional
    ckpt_path : Path, optional
        Checkpoint to go on from.
    **trainer
        Arguments of :class:`lightning.Trainer`.

    Returns
    -------
    Trainer
        After the last step. What the fit raised is raised here.
    """
    queue: Queue[FitStep] = Queue(maxsize=4)
    stop = threading.Event()
    engine = L.Trainer(
        callbacks=[*(callbacks or []), _Reporter(queue, stop)],
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer,
    )
    failure: list[BaseException] = []

    def work() -> None:
        try:
            engine.fit(module, train, val, ckpt_path=ckpt_path, weights_only=True)
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
    if failure and not isinstance(failure[0], _Stopped):
        raise failure[0]
    return engine
