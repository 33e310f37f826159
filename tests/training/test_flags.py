"""What a machine can train on, said before anything is done."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_zoommil.encoders.device import Device
from napari_zoommil.errors import JobError
from napari_zoommil.training.flags import SPAWNED, TrainerFlags

CPU, CUDA, SECOND = (Device(torch.device(name), "") for name in ("cpu", "cuda", "cuda:1"))


@pytest.mark.parametrize(
    ("flags", "device", "there", "said"),
    [
        (TrainerFlags(devices=2), CUDA, 1, "this machine has 1 cuda device, not 2"),
        (TrainerFlags(devices=4), CUDA, 2, "this machine has 2 cuda devices, not 4"),
        (TrainerFlags(devices=2), Device(torch.device("mps"), ""), 9, "this machine has 1 mps device, not 2"),
        (TrainerFlags(devices=2), SECOND, 2, "cuda:1 is one device, not 2; name it cuda"),
        (TrainerFlags(devices=0), CPU, 0, "devices should be greater than or equal to 1, not 0"),
        (TrainerFlags(precision="half"), CPU, 0, "precision should be '32-true', '16-mixed' or 'bf16-mixed'"),
        (TrainerFlags(strategy="ddp"), CPU, 0, "'ddp' is no strategy of a training; choose auto"),
        (TrainerFlags(num_nodes=2), CPU, 0, "a training runs on one machine"),
        (TrainerFlags(precision="16-mixed"), CPU, 0, "a CPU does not train in 16-mixed"),
    ],
)
def test_what_cannot_be_is_refused(
    flags: TrainerFlags, device: Device, there: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(JobError, match=said):
        flags.check(device)


@pytest.mark.parametrize(
    ("flags", "device"),
    [
        (TrainerFlags(), SECOND),
        (TrainerFlags(devices=2, precision="16-mixed"), CUDA),
        (TrainerFlags(devices=2, precision="bf16-mixed", strategy="ddp_spawn"), CPU),
    ],
)
def test_what_can_be_is_not(flags: TrainerFlags, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    flags.check(device)


def test_a_trainer_gets_the_device_or_as_many_of_its_kind() -> None:
    one = TrainerFlags(accumulate=4)
    assert one.on(CPU) == {
        "accelerator": "cpu", "devices": 1, "strategy": "auto", "num_nodes": 1, "precision": "32-true",
        "accumulate_grad_batches": 4,
    }  # fmt: skip
    assert one.on(SECOND) | {"accelerator": "gpu", "devices": [1]} == one.on(SECOND)
    assert TrainerFlags().on(CUDA)["devices"] == [0] and TrainerFlags().on(CUDA)["strategy"] == "auto"
    several = TrainerFlags(devices=2).on(CUDA)
    assert (several["devices"], several["strategy"], several["accumulate_grad_batches"]) == (2, SPAWNED, 1)


@pytest.mark.parametrize("strategy", ["auto", SPAWNED])
def test_one_device_needs_no_other_process(strategy: str) -> None:
    assert TrainerFlags(strategy=strategy).on(CPU)["strategy"] == "auto"


def test_flags_are_said_without_torch() -> None:
    code = "import sys, napari_zoommil.training.flags; print({'torch', 'lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
