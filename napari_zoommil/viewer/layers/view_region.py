"""The visible part of a slide as a region: for a job in the window and, limited, to compare models."""

from __future__ import annotations

import napari
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Box
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.metadata import per_pixel

LARGEST_UM = 1000.0
"""Largest edge of the region, around the centre of the view: two models at 40x take seconds for it, and hours
for a whole slide."""


def window_region(viewer: napari.Viewer, slide: Slide) -> Box | None:
    """The visible part of the slide, level-0 px; None if nothing of it is visible."""
    seen = camera.field_of_view(viewer, slide)
    low = np.array((seen.y, seen.x)) * slide.shape
    high = np.minimum(low + np.array((seen.height, seen.width)) * slide.shape, slide.shape)
    low = np.maximum(low, 0)
    if not (high > low).all():
        return None
    return Box(*low.tolist(), *(high - low).tolist())


def view_region(viewer: napari.Viewer, slide: Slide) -> NDArray[np.float64] | None:
    """Polygon (4, 2), level-0 (y, x); None if no part of the slide is visible."""
    seen = window_region(viewer, slide)
    if seen is None:
        return None
    low = np.array((seen.y, seen.x))
    high = low + np.array((seen.height, seen.width))
    centre, half = (low + high) / 2, LARGEST_UM / np.array(per_pixel(slide)) / 2
    low, high = np.maximum(low, centre - half), np.minimum(high, centre + half)
    return np.array([low, (low[0], high[1]), high, (high[0], low[1])])
