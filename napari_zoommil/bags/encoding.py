"""Encoding of patches batch by batch: whole batches on a GPU, independent threads on a CPU."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from napari_zoommil.encoders import Encoder
from napari_zoommil.geometry import Rows
from napari_zoommil.read_ahead import in_order

Patches = NDArray[np.uint8]
Features = NDArray[np.float32]


def encode_batches(
    batches: Iterable[tuple[Rows, Patches]], encoder: Encoder
) -> Generator[tuple[Rows, Features], None, None]:
    """(rows, features) with features (B, D) for each batch of (rows, patches), in their order.

    Without a GPU each thread encodes a few patches alone. Threads that share the work of each layer wait
    for one another after every layer, and longer if reader threads are busy.
    """
    if encoder.device.type != "cpu":
        for rows, patches in batches:
            yield rows, encoder(patches).cpu().numpy()
        return
    threads, at_once = torch.get_num_threads(), encoder.at_once

    def parts() -> Iterator[tuple[Rows, Patches, bool]]:
        for rows, patches in batches:
            for start in range(0, len(patches), at_once):
                yield rows, patches[start : start + at_once], start + at_once >= len(patches)

    def encode(part: tuple[Rows, Patches, bool]) -> tuple[Rows, Features, bool]:
        rows, patches, is_last = part
        return rows, encoder(patches).numpy(), is_last

    alone = partial(torch.set_num_threads, 1)
    found: list[Features] = []
    try:
        results = in_order(encode, parts(), threads, threads, name="patch-encoder", prepare=alone)
        with closing(results) as encoded:
            for rows, features, is_last in encoded:
                found.append(features)
                if is_last:
                    yield rows, np.concatenate(found)
                    found = []
    finally:
        torch.set_num_threads(threads)  # also sets the default for threads that start later
