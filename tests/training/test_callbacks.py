from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from napari_zoommil.errors import FileError
from napari_zoommil.files import make_folder
from napari_zoommil.training.callbacks import (
    CurveWriter,
    SeededSteps,
    StopsEarly,
    WholeCheckpoints,
    best_checkpoint,
    last_checkpoint,
    seed_of,
)
from napari_zoommil.training.fit import fit, fit_steps
from napari_zoommil.training.run import BEST, CHECKPOINT, CURVES, RunFolder, read_curves

COLUMNS = ("train_loss", "val_loss", "never")


class Wandering(L.LightningModule):
    """Goes where random numbers lead, and gets worse after the third epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Tensor, _index: int) -> Tensor:
        loss = (self.weight - torch.rand(())).square().sum()
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=1)
        return loss

    def validation_step(self, batch: Tensor, _index: int) -> None:
        self.log("val_loss", abs(self.current_epoch - 2.0), batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.1)


def data(count: int) -> DataLoader[Any]:
    return DataLoader(torch.ones(count, 1), batch_size=1)  # type: ignore[arg-type]


def settings(run: RunFolder) -> dict[str, Any]:
    own = [CurveWriter(run, COLUMNS), SeededSteps(3), best_checkpoint(run, "val_loss"), last_checkpoint(run)]
    return {"epochs": 5, "callbacks": own}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, {})


def test_an_epoch_is_a_line_and_two_checkpoints(run: RunFolder) -> None:
    module = Wandering()
    fit(module, data(3), data(1), **settings(run))
    lines = read_curves(run.folder)
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["val_loss"] for line in lines] == [2, 1, 0, 1, 2] and "never" not in lines[0]
    best, last = (torch.load(run.folder / name, weights_only=True) for name in (BEST, CHECKPOINT))
    assert best["epoch"] == 2 and last["epoch"] == 4
    assert torch.equal(last["state_dict"]["weight"], module.weight.detach())
    assert not torch.equal(best["state_dict"]["weight"], last["state_dict"]["weight"])
    assert len(list(run.folder.iterdir())) == 3


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_fit_that_was_cut_off_ends_as_an_unbroken_one(
    run: RunFolder, tmp_path_factory: pytest.TempPathFactory, epoch: int
) -> None:
    whole = RunFolder(tmp_path_factory.mktemp("whole"), {})
    unbroken = Wandering()
    fit(unbroken, data(3), data(1), **settings(whole))
    steps = fit_steps(Wandering(), data(3), data(1), **settings(run))
    next(step for step in steps if step.epoch == epoch)
    steps.close()
    run.add_line(9, COLUMNS, {"val_loss": 9})  # as after a kill between a line and its checkpoint
    torch.rand(5)
    resumed = Wandering()
    fit(resumed, data(3), data(1), resume=run.folder / CHECKPOINT, **settings(run))
    assert torch.equal(resumed.weight, unbroken.weight)
    assert (run.folder / CURVES).read_text() == (whole.folder / CURVES).read_text()
    best = [torch.load(one.folder / BEST, weights_only=True)["state_dict"]["weight"] for one in (run, whole)]
    assert torch.equal(*best)


def test_seeds_are_told_apart() -> None:
    assert len({seed_of(a, b) for a in range(20) for b in range(20)}) == 400


def test_a_fit_that_was_to_stop_has_no_further_epoch_when_resumed(run: RunFolder) -> None:
    """It may be killed after its last epoch, before the model is written."""

    def fitted(resume: Path | None = None) -> list[float]:
        how = settings(run)
        how["callbacks"] = [StopsEarly("val_loss", patience=1), *how["callbacks"]]
        fit(Wandering(), data(3), data(1), **how, resume=resume)
        return [line["epoch"] for line in read_curves(run.folder)]

    assert fitted() == [0, 1, 2, 3]
    assert fitted(run.folder / CHECKPOINT) == [0, 1, 2, 3]


def test_a_checkpoint_is_whole_though_its_writer_was_killed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary folder of the system may be on another disk: nothing is written there."""
    monkeypatch.setattr("tempfile.tempdir", str(run.folder / "absent"))
    fit(Wandering(), data(3), data(1), **settings(run))
    before = (run.folder / CHECKPOINT).read_bytes()

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_zoommil.files.os.fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        fit(Wandering(), data(3), data(1), **settings(run))
    assert (run.folder / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_that_does_not_fit_is_told_in_a_sentence(run: RunFolder) -> None:
    """torch would only tell at which byte it stopped."""
    resource = pytest.importorskip("resource")
    make_folder(run.folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(FileError, match=r"^last\.ckpt cannot be written \(.*save to another folder$"):
            WholeCheckpoints().save_checkpoint({"a": torch.zeros(10_000)}, run.folder / CHECKPOINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(run.folder.iterdir())


def test_a_line_that_cannot_be_written_is_told_in_a_sentence(run: RunFolder) -> None:
    (run.folder / CURVES).mkdir(parents=True, exist_ok=True)  # nothing can be appended to it
    with pytest.raises(FileError, match=r"^curves\.csv cannot be written \(.*save to another folder$"):
        run.add_line(0, COLUMNS, {})
