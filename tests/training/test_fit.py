from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from napari_zoommil.errors import JobError
from napari_zoommil.training.fit import FitStep, fit, fit_steps
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.host import last_line, quiet


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
    steps, seen = fit_steps(module, data(4), data(2), epochs=3), []
    try:
        while True:
            seen.append(next(steps))
    except StopIteration as stop:
        trainer = stop.value
    assert isinstance(trainer, L.Trainer) and trainer.global_step == module.trained == 12
    assert [step.step for step in seen if not step.validated] == list(range(1, 13))
    assert [step.step for step in seen if step.validated] == [4, 4, 4, 8, 8, 8, 12, 12, 12]
    assert [step.validated for step in seen[:7]] == [0, 0, 0, 0, 1, 2, 2] and seen[-1].to_validate == 2
    assert {step.total for step in seen} == {12} and [step.epoch for step in seen] == sorted([0, 1, 2] * 7)
    assert seen[-1].metrics["val_loss"] == pytest.approx(float((module.weight.detach() - 2).square()))
    assert float(module.weight) == pytest.approx(2 * (1 - 0.8**12))


def test_a_runtime_error_inside_is_raised_here() -> None:
    steps = fit_steps(Slope(fail_at=2), data(5), epochs=1)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        list(steps)


def test_a_wrong_argument_is_raised_here() -> None:
    with pytest.raises(TypeError):
        next(fit_steps(Slope(), data(1), epochs=1, epoch=1))


def test_closing_stops_the_fit_a_step_later() -> None:
    module = Slope(seconds=0.01)
    steps = fit_steps(module, data(500), epochs=50)
    assert isinstance(next(steps), FitStep)
    steps.close()
    at_close = module.trained
    assert at_close < 20
    time.sleep(0.1)
    assert module.trained == at_close


def test_a_slow_consumer_holds_the_fit_back() -> None:
    module = Slope()
    steps = fit_steps(module, data(500), epochs=1)
    next(steps)
    time.sleep(0.5)
    assert module.trained <= 7, "the queue is bounded"
    steps.close()


def test_closing_stops_a_validation_too() -> None:
    module = Slope(seconds=0.02)
    steps = fit_steps(module, data(1), data(500), epochs=1)
    next(steps)
    steps.close()
    assert module.validated < 50


def test_a_fit_on_the_calling_thread_ends_as_one_on_its_own() -> None:
    here, apart = Slope(), Slope()
    trainer = fit(here, data(4), data(2), epochs=2, flags=TrainerFlags(accumulate=2))
    list(fit_steps(apart, data(4), data(2), epochs=2, flags=TrainerFlags(accumulate=2)))
    assert trainer.global_step == 4 and float(here.weight) == float(apart.weight) != 0


def test_half_precision_reaches_the_trainer() -> None:
    trainer = fit(Slope(), data(1), epochs=1, flags=TrainerFlags(precision="bf16-mixed"))
    assert trainer.precision == "bf16-mixed"


def test_what_this_machine_cannot_do_is_refused_before_a_step() -> None:
    module = Slope()
    with pytest.raises(JobError, match="no strategy of a training"):
        list(fit_steps(module, data(4), epochs=1, flags=TrainerFlags(strategy="ddp")))
    assert module.trained == 0


def test_of_an_error_in_another_process_the_last_line_counts() -> None:
    text = "\n\n-- Process 1 terminated with the following error:\nTraceback …\nValueError: no such slide\n"
    assert last_line(RuntimeError(text)) == "ValueError: no such slide"


class Noisy(Slope):
    """Draws from torch's global random numbers, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        self.drawn.append(float(torch.rand(())))
        return super().training_step(batch, index)


def test_random_numbers_follow_from_the_seed_and_the_host_keeps_its_own() -> None:
    torch.manual_seed(7)
    before, drawn = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        module = Noisy()
        list(fit_steps(module, data(3), epochs=1, seed=seed))
        drawn.append(module.drawn)
    assert drawn[0] == drawn[1] != drawn[2] and torch.equal(torch.get_rng_state(), before)


def test_filters_are_taken_out_again_in_whatever_order() -> None:
    handlers = logging.getLogger("lightning.pytorch").handlers
    before = warnings.filters.copy(), [handler.filters.copy() for handler in handlers]
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    warnings.simplefilter("error", UserWarning)  # somebody else's, meanwhile
    with pytest.raises(UserWarning):
        warnings.warn("not ours", UserWarning, stacklevel=1)
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    own = warnings.filters.pop(0)
    assert own[0] == "error" and own[2] is UserWarning
    assert (warnings.filters, [handler.filters for handler in handlers]) == before


def test_nothing_is_said_while_it_fits(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(caplog.handler)
    try:
        list(fit_steps(Slope(), data(2), data(1), epochs=1))
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records and not recwarn.list
