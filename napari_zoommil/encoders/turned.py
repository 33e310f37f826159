"""Rotated and mirrored patches: the eight variants of a square."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VARIANTS = 8


def turned(patches: NDArray[np.uint8], variant: int) -> NDArray[np.uint8]:
    """One of the eight variants of square patches.

    Parameters
    ----------
    patches : (B, p, p, 3)
    variant : int
        0 unchanged, 1 to 3 quarter turns anticlockwise, 4 to 7 the same and then mirrored left to right.
    """
    if not 0 <= variant < VARIANTS:
        raise ValueError(f"variant {variant} is not one of 0 to {VARIANTS - 1}")
    patches = np.rot90(patches, variant % 4, axes=(1, 2))
    return np.ascontiguousarray(patches[:, :, ::-1] if variant >= 4 else patches)


def turned_back(values: NDArray[np.float32], variant: int) -> NDArray[np.float32]:
    """(h, w) values over a patch in one of the variants, in the place of the unchanged patch."""
    unmirrored = values[:, ::-1] if variant >= 4 else values
    return np.rot90(unmirrored, -(variant % 4))
