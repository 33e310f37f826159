"""Features of patches, batch by batch: at once on a GPU, on a CPU by threads that share nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.encoders import Encoder
from napari_zoommil.geometry import Rows

Patches = NDArray[np.uint8]
Features = NDArray[np.float32]


def encode_batches(
    batches: Iterable[tuple[Rows, Patches]], encoder: Encoder
) -> Generator[tuple[Rows, Features], None, None]:
    """(rows, features) with features (B, D) for each batch of (rows, patches), in their order.

    Without a GPU each thread computes a few patches by itself. Threads that share every layer wait for
    one another at its end, and the longer the more other threads read meanwhile.
    """
    if encoder.device.type != "cpu":
        for rows, patches in batches:
            yield rows, encoder(patches).cpu().numpy()
        return
    threads, at_once = torch.get_num_threads(), encoder.at_once
    pool = ThreadPoolExecutor(threads, "patch-encoder", torch.set_num_threads, (1,))
    pending: deque[tuple[Rows, list[Future[Tensor]]]] = deque()
    try:
        for rows, patches in batches:
            parts = [patches[start : start + at_once] for start in range(0, len(patches), at_once)]
            pending.append((rows, [pool.submit(encoder, part) for part in parts]))
            if sum(len(futures) for _, futures in pending) - len(pending[0][1]) >= threads:
                yield _result(*pending.popleft())
        while pending:
            yield _result(*pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)  # threads that are yet to come take over what was set last


def _result(rows: Rows, futures: list[Future[Tensor]]) -> tuple[Rows, Features]:
    return rows, np.concatenate([future.result().numpy() for future in futures])
