"""Search regions for cells: the visible part of the slide, or regions drawn by the user."""

from __future__ import annotations

from collections.abc import Sequence

import napari
import numpy as np
import shapely
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_zoommil.annotations.regions import area_of, union_of
from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.layers.drawing import add_region_layer, outlines, tool_of
from napari_zoommil.viewer.layers.overlays import find_layer

SEARCHED = "search regions"
COLOUR = "#e69f00"

Polygons = tuple[NDArray[np.float64], ...]
"""Polygons, each (n, 2) level-0 (y, x)."""


def find(viewer: napari.Viewer, slide: Slide) -> Shapes | None:
    """The layer of search regions, if there is one."""
    layer = find_layer(viewer, slide, SEARCHED)
    return layer if isinstance(layer, Shapes) else None


def search_layer(viewer: napari.Viewer, slide: Slide) -> Shapes:
    """The layer of search regions, created on the first call."""
    layer = find(viewer, slide)
    if layer is None:
        return add_region_layer(viewer, slide, SEARCHED, COLOUR)
    return layer


def start_drawing(viewer: napari.Viewer, slide: Slide) -> None:
    """Let the user draw one region."""
    tool_of(viewer, search_layer(viewer, slide)).start()


def drawn(viewer: napari.Viewer, slide: Slide) -> Polygons:
    """The drawn regions, clipped to the slide."""
    layer = find(viewer, slide)
    if layer is None:
        return ()
    return on_slide(outlines(layer), slide.shape)


def in_window(viewer: napari.Viewer, slide: Slide) -> Polygons:
    """The visible part of the slide."""
    seen = camera.field_of_view(viewer, slide)
    low = np.array((seen.y, seen.x)) * slide.shape
    high = low + np.array((seen.height, seen.width)) * slide.shape
    corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    return on_slide([corners], slide.shape)


def on_slide(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Polygons:
    """Polygons clipped to a slide of ``shape``, level-0 px."""
    whole = shapely.box(0, 0, *shape)
    cut = [shapely.intersection(area_of(one), whole) for one in polygons]
    parts = shapely.get_parts(shapely.get_parts(cut))
    return tuple(
        shapely.get_coordinates(part.exterior)[:-1]
        for part in parts
        if isinstance(part, shapely.Polygon) and part.area > 0
    )


def area_mm2(polygons: Polygons, mpp: Pair) -> float:
    """Their area, mm²; overlaps count once."""
    return float(union_of(polygons).area * mpp[0] * mpp[1] / 1e6)
