"""Networks that stay in memory, on the CPU, for the next job that needs them: the last one of each kind.

Of many slides, or after an estimate, an encoder or a model is read once, and an encoder hashed once. A job
that runs beside another one reads a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from napari_zoommil.files import Stamp, stamp_of
from napari_zoommil.model_folder import Kind

if TYPE_CHECKING:
    import torch

    from napari_zoommil.encoders.device import Device


class Movable(Protocol):
    """What moves its weights to a device in place."""

    def to(self, device: torch.device, /) -> Any: ...


N = TypeVar("N", bound=Movable)
A = TypeVar("A")


class Identity(NamedTuple):
    """What a network was read from: its name, and the state of each of its files."""

    name: str
    files: tuple[tuple[Path, Stamp | None], ...]


NOTHING: tuple[Identity | None, Any] = None, None

_kept: dict[Kind, tuple[Identity, Any]] = {}
"""Networks that no job uses at the moment, each with what is known about it."""

_lock = Lock()


def identity_of(name: str, files: Iterable[Path]) -> Identity:
    """Identity of a network as it is on disk now."""
    return Identity(name, tuple((file.resolve(), stamp_of(file)) for file in files))


def release() -> None:
    """Forget the networks that are kept for the next job, and free their memory."""
    with _lock:
        _kept.clear()


@contextmanager
def lend(
    kind: Kind,
    identity: Identity,
    read: Callable[[], tuple[N, A]],
    device: Device,
    *,
    fits: Callable[[N], bool] = lambda _: True,
    changes: bool = False,
) -> Iterator[tuple[N, A]]:
    """Lend a network, on a device; leaving the context frees the device's memory.

    Parameters
    ----------
    kind : {"mil", "cells", "encoder"}
    identity : Identity
        Of what is asked for, taken before it is read.
    read : callable
        Returns the network, on the CPU, and what is known about it.
    device : Device
    fits : callable
        Whether a network of this identity that was kept is the one asked for.
    changes : bool
        Whether the borrower changes the weights: nobody else gets the network afterwards.
    """
    import torch

    with _lock:  # taken out, so that no two jobs share it
        known, own = _kept.pop(kind, NOTHING)
    if known != identity or not fits(own[0]):
        own = None  # two of a kind need not be in memory at once
        with torch.random.fork_rng(devices=()):  # a new network draws its weights before it gets its own
            own = read()
    network, about = own
    try:
        network.to(device.torch)
        yield network, about
    finally:
        network.to(torch.device("cpu"))
        device.release()
        if not changes:
            with _lock:
                _kept[kind] = identity, own
