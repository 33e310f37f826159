"""The region for comparing two models: the visible part of the slide, limited in size."""

from __future__ import annotations

import napari
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers import search_regions
from napari_zoommil.viewer.metadata import per_pixel

LARGEST_UM = 1000.0
"""Largest edge of the region, around the centre of the view: two models at 40x take seconds for it, and hours
for a whole slide."""


def view_region(viewer: napari.Viewer, slide: Slide) -> NDArray[np.float64] | None:
    """Polygon (4, 2), level-0 (y, x); None if no part of the slide is visible."""
    seen = search_regions.in_window(viewer, slide)
    if not seen:
        return None
    low, high = seen[0].min(0), seen[0].max(0)
    centre, half = (low + high) / 2, LARGEST_UM / np.array(per_pixel(slide)) / 2
    low, high = np.maximum(low, centre - half), np.minimum(high, centre + half)
    return np.array([low, (low[0], high[1]), high, (high[0], low[1])])
