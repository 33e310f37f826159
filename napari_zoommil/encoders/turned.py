"""Patches turned and mirrored before they are encoded: the eight views of a square."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.encoders.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor

VARIANTS = 8


def turned(patches: NDArray[np.uint8], variant: int) -> NDArray[np.uint8]:
    """One of the eight views of square patches.

    Parameters
    ----------
    patches : (B, p, p, 3)
    variant : int
        0 as they lie, 1 to 3 quarter turns anticlockwise, 4 to 7 the same and then mirrored left to right.
    """
    if not 0 <= variant < VARIANTS:
        raise ValueError(f"variant {variant} is none of 0 to {VARIANTS - 1}")
    patches = np.rot90(patches, variant % 4, axes=(1, 2))
    return np.ascontiguousarray(patches[:, :, ::-1] if variant >= 4 else patches)


class Turned(Encoder):
    """An encoder that turns patches first. It shares the network; its features have a hash of their own."""

    def __init__(self, encoder: Encoder, variant: int) -> None:
        self.__dict__.update(encoder.__dict__)
        self.variant = variant
        self.hash = f"{encoder.hash}-{variant}"

    def __call__(self, patches: NDArray[np.uint8] | Tensor) -> Tensor:
        return super().__call__(turned(np.asarray(patches), self.variant))
