"""A slide, or a rectangle of it, as a single image for models that read no patches."""

from __future__ import annotations

import numpy as np

from napari_zoommil.geometry import NATIVE, Box, Pair, PatchGrid, PatchLevel
from napari_zoommil.slides.slide import Slide


def image_grid(slide: Slide, magnification: float, box: Box | None = None) -> PatchGrid:
    """A grid with one image in place of patches.

    Parameters
    ----------
    slide : Slide
    magnification : float
        :data:`~napari_zoommil.geometry.NATIVE` for the slide's own pixels, whatever their size.
    box : Box, optional
        Level-0 px; the whole slide by default. The image begins at its corner, or at the pixel there, and
        has the nearest number of whole pixels.

    Raises
    ------
    MissingResolutionError
        If a magnification is given and the slide's resolution is unknown.
    MagnificationError
        If the slide's resolution is too low.
    """
    box = box or Box(0, 0, *slide.shape)
    mpp, scale = _resolution(slide, magnification)
    corner = (box.y, box.x) if magnification else (float(np.floor(box.y)), float(np.floor(box.x)))
    height, width = max(1, round(box.height / scale[0])), max(1, round(box.width / scale[1]))
    size = (height * scale[0], width * scale[1])
    one = PatchLevel(
        magnification, mpp, size, size, np.array([corner], float), np.array([-1]), np.ones(1, np.float32)
    )
    return PatchGrid(slide.shape, max(height, width), (one,))


def _resolution(slide: Slide, magnification: float) -> tuple[float, Pair]:
    """µm/px of the image, and level-0 px per px."""
    if magnification == NATIVE:
        return NATIVE, (1.0, 1.0)
    own, mpp = slide.resolution(), slide.serving_mpp(magnification)
    return mpp, (mpp / own[0], mpp / own[1])


def image_shape(grid: PatchGrid) -> tuple[int, int]:
    """Height and width of the image of such a grid, px; the shorter edge is that of square pixels."""
    height, width = grid.levels[0].size
    scale = max(height, width) / grid.patch_size
    return max(1, round(height / scale)), max(1, round(width / scale))
