"""Choice of device, CPU threads and precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import psutil
import torch

from napari_zoommil.errors import JobError, ModelError, first_line


@dataclass(frozen=True)
class Device:
    """A torch device and the reason for its choice, as a message for the user."""

    torch: torch.device
    reason: str

    @property
    def is_gpu(self) -> bool:
        return self.torch.type != "cpu"

    def release(self) -> None:
        """Release cached device memory for other programs."""
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
        If the named device is not available.
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


class _Host(NamedTuple):
    """Number of running jobs, and the thread count of torch before the first of them."""

    jobs: int
    threads: int


_host = _Host(0, 0)
_lock = Lock()


@contextmanager
def cpu_threads(count: int | None = None) -> Iterator[None]:
    """Set the number of torch's CPU threads, unchanged by default; jobs may overlap.

    When the last job has ended, the number from before the first is restored.
    """
    global _host
    with _lock:
        threads = _host.threads if _host.jobs else torch.get_num_threads()
        _host = _Host(_host.jobs + 1, threads)
        torch.set_num_threads(count or threads)
    try:
        yield
    finally:
        with _lock:
            _host = _Host(_host.jobs - 1, _host.threads)
            if not _host.jobs:
                torch.set_num_threads(_host.threads)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Half precision if the hardware supports it; without support it is slower and stays off."""
    if device.type == "cuda":
        half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.autocast("cuda", dtype=half)
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def _cpu_has_bfloat16() -> bool:
    query: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return bool(query().get("amx_bf16", False))


def require_room(taken: int, device: torch.device, what: str, instead: str, share: float = 1.0) -> None:
    """Refuse what does not fit into the memory, before it is begun.

    Parameters
    ----------
    taken : int
        About how many bytes it takes.
    device : torch.device
    what, instead : str
        What takes them, and what the user can do.
    share : float
        Of the free memory that it may take.

    Raises
    ------
    ModelError
    """
    there = free_bytes(device)
    if taken > share * there:
        raise ModelError(
            f"{what} takes about {taken / 1e9:,.1f} GB of memory, and {there / 1e9:,.1f} GB are free; "
            f"{instead}"
        )


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; where that is not known, in the computer."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
