"""Tiles at the resolution and size of nuclei that the shipped cell models are trained and measured at."""

from __future__ import annotations

import numpy as np
from skimage.transform import resize

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.experiments.data.nuclei import Tile, typical_diameter
from napari_zoommil.slides.readers.base import RGB

NUCLEUS = CellClass("nucleus", CLASS_CYCLE[0], 8.0)

HELD_OUT_UM = 7.0
"""Median diameter of nuclei in held-out tiles."""

LEAST_EDGE = 128
"""Least edge of a rescaled tile: that of the training crops, px."""


def resampled(tile: Tile, factor: float) -> Tile:
    """The tile enlarged by a factor."""
    shape = tuple(round(edge * factor) for edge in tile.instances.shape)
    image = resize(tile.image, shape, order=1, anti_aliasing=factor < 1, preserve_range=True)
    instances = resize(tile.instances, shape, order=0, anti_aliasing=False, preserve_range=True)
    return Tile(tile.name, np.rint(image).astype(np.uint8), instances.astype(np.int32))


def rescaled(tile: Tile, diameter_px: float) -> Tile:
    """The tile rescaled to a median diameter of its nuclei, limited by :data:`LEAST_EDGE`."""
    factor = diameter_px / typical_diameter([tile])
    return resampled(tile, max(factor, LEAST_EDGE / min(tile.instances.shape)))


def rescaled_image(image: RGB, factor: float) -> RGB:
    """The image enlarged by a factor."""
    return resampled(Tile("", image, np.zeros(image.shape[:2], np.int32)), factor).image
