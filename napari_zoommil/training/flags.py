"""Devices and precision of a training; importable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from napari_zoommil.configuration import check_arguments
from napari_zoommil.errors import JobError

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device

SPAWNED = "ddp_spawn_find_unused_parameters_true"
"""Default strategy for several devices; a model need not use all of its weights for each slide."""

STEPWISE = ("auto", "ddp_spawn", SPAWNED)
"""Strategies for a training that runs as a generator. Others restart the whole command for each device, or
fork a process that has threads."""


@dataclass(frozen=True)
class TrainerFlags:
    """Arguments of :class:`lightning.Trainer` for hardware and precision.

    Attributes
    ----------
    devices : int
        Number of devices; each processes another slide, so that a step uses as many slides. On a CPU,
        number of processes.
    strategy : str
        Distribution over several devices: auto, ddp_spawn, ddp_spawn_find_unused_parameters_true.
    num_nodes : int
        Number of machines.
    precision : {"32-true", "16-mixed", "bf16-mixed"}
        Half precision needs less memory, and less time on devices that support it.
    accumulate : int, optional
        Slides per step and device (gradient accumulation); that of the recipe by default.
    """

    devices: Annotated[int, Interval(ge=1, le=64)] = 1
    strategy: str = "auto"
    num_nodes: Annotated[int, Interval(ge=1, le=1024)] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accumulate: Annotated[int | None, Interval(ge=1, le=4096)] = None

    def check(self, device: Device) -> None:
        """Check that a training as a generator is possible with these flags on this machine.

        Raises
        ------
        JobError
        """
        try:
            check_arguments(TrainerFlags, asdict(self))
        except ValueError as error:
            raise JobError(f"a training cannot compute like that: {error}") from error
        if self.strategy not in STEPWISE:
            raise JobError(f"{self.strategy!r} is no strategy of a training; choose {' or '.join(STEPWISE)}")
        if self.num_nodes > 1:
            raise JobError("a training runs on one machine; leave num_nodes at 1")
        kind, index = device.torch.type, device.torch.index
        if self.precision == "16-mixed" and kind == "cpu":
            raise JobError("a CPU does not train in 16-mixed; choose bf16-mixed or 32-true")
        if self.devices == 1 or kind == "cpu":
            return
        if index is not None:
            raise JobError(f"{device.torch} is one device, not {self.devices}; name it {kind}")
        there = _count(kind)
        if self.devices > there:
            raise JobError(
                f"this machine has {there} {kind} device{'s' * (there != 1)}, not {self.devices}; "
                "train on fewer, or on the CPU"
            )

    def on(self, device: Device) -> dict[str, Any]:
        """Arguments of a trainer for a device, or for several devices of its kind."""
        kind = {"cuda": "gpu", "mps": "mps"}.get(device.torch.type, "cpu")
        one = self.devices == 1
        return {
            "accelerator": kind,
            "devices": [device.torch.index or 0] if one and device.is_gpu else self.devices,
            "strategy": "auto" if one else SPAWNED if self.strategy == "auto" else self.strategy,
            "num_nodes": self.num_nodes,
            "precision": self.precision,
            "accumulate_grad_batches": self.accumulate or 1,
        }


ONE_DEVICE = TrainerFlags()


def _count(kind: str) -> int:
    import torch

    return torch.cuda.device_count() if kind == "cuda" else 1
