"""Crops of a compressed slide: where they lie, and their rotations and flips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from napari_zoommil.geometry import Rows
from napari_zoommil.models.blocks.lattice import Place

Lattice = NDArray[np.int64]
"""(N, 2) row and column of each patch."""


def crop_weights(lattice: Lattice) -> NDArray[np.float64]:
    """(N,) squares of the distances of patches to the nearest place without one, of the largest distance."""
    low = lattice.min(0) - 1
    tissue = np.zeros(lattice.max(0) - low + 2, bool)
    own = tuple((lattice - low).T)
    tissue[own] = True
    distance = distance_transform_edt(tissue)[own]
    return np.asarray((distance / distance.max()) ** 2, np.float64)


def inside(lattice: Lattice, place: NDArray[np.int64], edge: int) -> Rows:
    """Rows of the patches in a square crop with this upper left corner."""
    offset = lattice - place
    return np.flatnonzero(((offset >= 0) & (offset < edge)).all(1))


def spread(lattice: Lattice, edge: int, count: int) -> NDArray[np.int64]:
    """(T, 2) corners of up to ``count`` square crops, spread over the patches.

    The first one has the patch farthest from the background in its middle, each other the patch farthest from
    those before. Crops are moved to where the patches are, and those that then are the same are one: where
    all patches fit into one crop, it is in their middle and alone.
    """
    low, high = lattice.min(0), lattice.max(0) + 1
    nearest = np.full(len(lattice), np.inf)
    middle = int(crop_weights(lattice).argmax())
    corners = []
    for _ in range(min(count, len(lattice))):
        corners.append(lattice[middle] - edge // 2)
        nearest = np.minimum(nearest, np.linalg.norm(lattice - lattice[middle], axis=1))
        middle = int(nearest.argmax())
    clipped = np.clip(np.array(corners), low, np.maximum(high - edge, low))
    centred = low - (edge - (high - low)) // 2
    return np.unique(np.where(high - low <= edge, centred, clipped), axis=0)


def whole(lattice: Lattice, edge: int, step: int) -> tuple[NDArray[np.int64], Place]:
    """Corner and shape of an image with all patches in its middle: a crop, or larger by whole steps."""
    low, extent = lattice.min(0), np.ptp(lattice, axis=0) + 1
    shape = edge + step * -(-np.maximum(extent - edge, 0) // step)
    return low - (shape - extent) // 2, (int(shape[0]), int(shape[1]))


def turned_image(image: Tensor, variant: int) -> Tensor:
    """An image, (…, h, w), as the slide looks in one of the eight variants.

    The numbers are those of :func:`napari_zoommil.encoders.turned.turned`: with the features of patches that
    were turned before they were encoded, the image is that of the turned slide.
    """
    turned = image.rot90(variant % 4, (-2, -1))
    return turned.flip(-1) if variant >= 4 else turned
