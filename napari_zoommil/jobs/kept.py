"""Networks that stay in memory, on the CPU, for the next job that needs them: the last used one of each kind.

Thus an encoder or a model is loaded (and an encoder hashed) only once for many slides, or for an estimate and
a prediction. A concurrent job loads its own copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from napari_zoommil.files import Stamp, real, stamp_of
from napari_zoommil.model_folder import Kind

if TYPE_CHECKING:
    import torch

    from napari_zoommil.encoders.device import Device


class Movable(Protocol):
    """A network that can move its weights to a device in place."""

    def to(self, device: torch.device, /) -> Any: ...


N = TypeVar("N", bound=Movable)
A = TypeVar("A")


class Identity(NamedTuple):
    """The origin of a network: its name, and the stamp of each of its files."""

    name: str
    files: tuple[tuple[Path, Stamp | None], ...]


NOTHING: tuple[Identity | None, Any] = None, None

_kept: dict[Kind, tuple[Identity, Any]] = {}
"""Networks for the next job, each with its specification; none of them is used by a job."""

_lock = Lock()


def identity_of(name: str, files: Iterable[Path]) -> Identity:
    """Identity of a network with the present state of its files."""
    return Identity(name, tuple((real(file), stamp_of(file)) for file in files))


def release() -> None:
    """Release the networks that are in memory for the next job."""
    with _lock:
        _kept.clear()


def is_ready(kind: Kind, identity: Identity) -> bool:
    """Whether the next job gets this network without loading it."""
    with _lock:
        return _kept.get(kind, NOTHING)[0] == identity


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
    """A network on a device for the time of the context; afterwards the device's memory is released.

    Parameters
    ----------
    kind : {"mil", "cells", "encoder"}
    identity : Identity
        Identity of the requested network, determined before it is read.
    read : callable
        Returns the network, on the CPU, and its specification (or None).
    device : Device
    fits : callable
        Whether a network in memory that has this identity is the requested one.
    changes : bool
        Whether the job changes the weights; then no other job gets this network.
    """
    import torch

    with _lock:  # removed, so that no other job uses it
        known, own = _kept.pop(kind, NOTHING)
    if known != identity or not fits(own[0]):
        own = None  # released before the next one is read
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
