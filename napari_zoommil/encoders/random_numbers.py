"""Torch's global random numbers: seeded for the devices in use, and restored afterwards.

``torch.manual_seed`` and ``torch.random.fork_rng`` alone do more: the former leaves a seed for CUDA, which is
used when CUDA is initialised; the latter initialises CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_torch(seed: int) -> None:
    """Seed the generators of the CPU and of the GPUs in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def own_random_numbers(seed: int | None = None) -> Iterator[None]:
    """Within the context, seed torch's global random numbers (if a seed is given); restore them afterwards.

    Those of CUDA are restored only if CUDA was initialised before. Random numbers of Python and numpy are not
    used here.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            seed_torch(seed)
        yield
