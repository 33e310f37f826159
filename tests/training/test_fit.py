from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from napari_zoommil.training.fit import FitStep, fit_steps

QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}


class Slope(L.LightningModule):
    """Learns y = 2x; counts its steps and can be made to fail or to dawdle."""

    def __init__(self, fail_at: int = -1, seconds: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fail_at, self.seconds = fail_at, seconds
        self.trained = self.validated = 0

    def training_step(self, batch: Tensor, _index: int) -> Tensor:
        if self.trained == self.fail_at:
            raise RuntimeError("CUDA out of memory")
        self.trained += 1
        time.sleep(self.seconds)
        loss = ((self.weight * batch - 2 * batch) ** 2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Tensor, _index: int) -> None:
        self.validated += 1
        time.sleep(self.seconds)
        self.log("val_loss", ((self.weight - 2) * batch).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def data(count: int) -> DataLoader[Any]:
    return DataLoader(torch.ones(count, 1), batch_size=1)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "fit"]


def test_a_fit_reports_each_step_and_returns_its_trainer() -> None:
    module = Slope()
    steps, seen = fit_steps(module, data(4), data(2), max_epochs=3, **QUIET), []
    try:
        while True:
            seen.append(next(steps))
    except StopIteration as stop:
        trainer = stop.value
    assert isinstance(trainer, L.Trainer) and trainer.global_step == module.trained == 12
    assert [step.step for step in seen] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12]
    assert {step.total for step in seen} == {12} and [step.epoch for step in seen] == sorted([0, 1, 2] * 5)
    assert seen[-1].metrics["val_loss"] == pytest.approx(float((module.weight.detach() - 2).square()))
    assert float(module.weight) == pytest.approx(2 * (1 - 0.8**12))


def test_a_runtime_error_inside_is_raised_here() -> None:
    steps = fit_steps(Slope(fail_at=2), data(5), max_epochs=1, **QUIET)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        list(steps)


def test_a_wrong_argument_is_raised_here() -> None:
    with pytest.raises(TypeError):
        next(fit_steps(Slope(), data(1), max_epoch=1, **QUIET))


def test_closing_stops_the_fit_a_step_later() -> None:
    module = Slope(seconds=0.01)
    steps = fit_steps(module, data(500), max_epochs=50, **QUIET)
    assert isinstance(next(steps), FitStep)
    steps.close()
    at_close = module.trained
    assert at_close < 20
    time.sleep(0.1)
    assert module.trained == at_close


def test_a_slow_consumer_holds_the_fit_back() -> None:
    module = Slope()
    steps = fit_steps(module, data(500), max_epochs=1, **QUIET)
    next(steps)
    time.sleep(0.5)
    assert module.trained <= 7, "the queue is bounded"
    steps.close()


def test_closing_stops_a_validation_too() -> None:
    module = Slope(seconds=0.02)
    steps = fit_steps(module, data(1), data(500), max_epochs=1, **QUIET)
    next(steps)
    steps.close()
    assert module.validated < 50
