"""Features of patches as a 2-D image, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.geometry import ROUNDING

Place = tuple[int, int]


def as_image(
    features: Tensor,
    lattice: NDArray[np.int64],
    fill: float = 0.0,
    box: tuple[Place, Place] | None = None,
) -> tuple[Tensor, Place]:
    """Features of patches as an image with a pixel per lattice position.

    Parameters
    ----------
    features : (N, C)
    lattice : (N, 2) int64
        Row and column of each patch, unique.
    fill : float
        Value of pixels without a patch.
    box : ((int, int), (int, int)), optional
        Row and column of the first pixel, and height and width; it holds all patches. Their bounding box by
        default.

    Returns
    -------
    image : (C, h, w)
    origin : (int, int)
        Row and column on the lattice of the image's first pixel.
    """
    low = lattice.min(0) if box is None else np.asarray(box[0])
    height, width = (int(edge) for edge in (lattice.max(0) - low + 1 if box is None else box[1]))
    place = _places(lattice - low, width, features.device)
    flat = features.new_full((height * width, features.shape[1]), fill).index_copy(0, place, features)
    return flat.T.view(-1, height, width), (int(low[0]), int(low[1]))


def as_rows(image: Tensor, lattice: NDArray[np.int64], origin: Place) -> Tensor:
    """(C, h, w) → (N, C): the values at the patches' positions; the inverse of :func:`as_image`."""
    place = _places(lattice - np.asarray(origin), image.shape[2], image.device)
    return image.flatten(1).T[place]


def covered(lattice: NDArray[np.int64], begin: float, cell: float, shape: Sequence[int]) -> NDArray[np.bool_]:
    """(h, w), which cells of a grid hold a part of a patch.

    Parameters
    ----------
    lattice : (N, 2) int64
        Row and column of each patch.
    begin, cell : float
        Where the first cell begins, and the size of the cells, one lattice position or more.
    shape : (int, int)
        Number of cells down and across.
    """
    found = np.zeros(tuple(shape), bool)
    first = np.floor((lattice - begin) / cell + ROUNDING).astype(np.int64)
    last = np.ceil((lattice + 1 - begin) / cell - ROUNDING).astype(np.int64) - 1
    for y, x in product((first, last), repeat=2):
        at = np.column_stack((y[:, 0], x[:, 1]))
        at = at[((at >= 0) & (at < found.shape)).all(1)]
        found[at[:, 0], at[:, 1]] = True
    return found


def _places(lattice: NDArray[np.int64], width: int, device: torch.device) -> Tensor:
    return torch.from_numpy(lattice[:, 0] * width + lattice[:, 1]).to(device)
