"""Torch's global random numbers, lent by the host: seeded on what is in use, and given back as they were.

``torch.manual_seed`` and ``torch.random.fork_rng`` by themselves do more: the one leaves a seed that CUDA
begins with whenever it is initialised, the other initialises it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_torch(seed: int) -> None:
    """Seed the generators of the CPU and of GPUs that are in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def own_random_numbers(seed: int | None = None) -> Iterator[None]:
    """Torch's random numbers within, from a seed if one is given; the host's afterwards, on CPU and CUDA.

    Who initialises CUDA within does so before: what CUDA begins with is not known otherwise. Python's and
    numpy's random numbers are not drawn from here.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            seed_torch(seed)
        yield
