"""Patches out of pictures: each is cut into squares that do not overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.errors import CohortError, first_line
from napari_zoommil.familiarity.descriptors import DENSITY, STAINED
from napari_zoommil.slides.readers.base import RGB

MODES = ("RGB", "RGBA", "L", "P", "LA")
"""Of Pillow: pictures of 8 bits."""


def read_picture(path: Path) -> RGB:
    """A picture, (h, w, 3).

    Raises
    ------
    CohortError
        If it cannot be read, or does not have 8 bits.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in MODES:
                raise CohortError(f"{path.name} is a picture of mode {picture.mode}; give 8-bit RGB or grey")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise CohortError(f"{path.name} cannot be read as a picture ({first_line(error)})") from error


def cut(picture: RGB, size: int, min_tissue: float = 0.0) -> tuple[RGB, NDArray[np.int64]]:
    """Squares of a picture from its upper left corner on, with at least a share of stained pixels.

    Returns
    -------
    patches : (n, size, size, 3) uint8
    places : (n, 2) int64
        Row and column of each.
    """
    rows, columns = (edge // size for edge in picture.shape[:2])
    whole = picture[: rows * size, : columns * size].reshape(rows, size, columns, size, 3)
    patches = whole.swapaxes(1, 2).reshape(-1, size, size, 3)
    places = np.indices((rows, columns)).reshape(2, -1).T.astype(np.int64)
    kept = np.array([stained_share(one) >= min_tissue for one in patches], bool)
    return patches[kept], places[kept]


def coloured(patches: RGB, channels: Literal[1, 3]) -> NDArray[np.uint8]:
    """(n, p, p, 3) → (n, p, p, channels); grey is the mean of the colours, as for encoders of grey images."""
    if channels == 3:
        return patches
    return patches.mean(-1, keepdims=True).round().astype(np.uint8)


def stained_share(patch: RGB) -> float:
    """Share of the pixels that are stained."""
    return float((DENSITY[patch].mean(-1) > STAINED).mean())
