"""Which device computes, why, and in which precision."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from napari_zoommil.errors import JobError, first_line


@dataclass(frozen=True)
class Device:
    """A torch device and the sentence that tells a user why it was taken."""

    torch: torch.device
    reason: str

    @property
    def is_gpu(self) -> bool:
        return self.torch.type != "cpu"

    def release(self) -> None:
        """Give cached device memory back to other programs."""
        if self.torch.type == "cuda":
            torch.cuda.empty_cache()
        elif self.torch.type == "mps":
            torch.mps.empty_cache()


def choose_device(name: str = "auto") -> Device:
    """The device to compute on.

    Parameters
    ----------
    name : str
        ``auto`` or a torch device such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    JobError
        If the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return Device(torch.device("cuda"), torch.cuda.get_device_name())
        if torch.backends.mps.is_available():
            return Device(torch.device("mps"), "Apple GPU")
        return Device(torch.device("cpu"), f"no GPU that torch can use; {os.cpu_count()} CPU cores")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise JobError(
            f"the device {name!r} cannot be used ({first_line(error)}); choose 'auto' or 'cpu'"
        ) from error
    return Device(device, "chosen")


@cache
def _usual_threads() -> int:
    return torch.get_num_threads()


def use_threads(count: int | None = None) -> None:
    """Compute with so many CPU threads from now on; with as many as torch began with, unless told."""
    usual = _usual_threads()  # asked first: jobs may overlap
    torch.set_num_threads(count or usual)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Half precision where the hardware computes in it; elsewhere it is slower and is left off."""
    if device.type == "cuda":
        half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.autocast("cuda", dtype=half)
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def _cpu_has_bfloat16() -> bool:
    query: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return bool(query().get("amx_bf16", False))
