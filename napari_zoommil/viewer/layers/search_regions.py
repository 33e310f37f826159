"""Where cells are looked for: what the window shows, or regions that a user draws for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import napari
import numpy as np
import shapely
from napari.layers import Layer, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.layers.overlays import find_layer, overlay_name
from napari_zoommil.viewer.layers.tissue_regions import AREAS
from napari_zoommil.viewer.metadata import UNIT, overlay_metadata, per_pixel

SEARCHED = "search regions"
COLOUR = "#e69f00"
EDGE_UM = 4.0
DRAW = "add_polygon_lasso"

Polygons = tuple[NDArray[np.float64], ...]
"""(n, 2) level-0 y and x each."""


def find(viewer: napari.Viewer, slide: Slide) -> Shapes | None:
    """The layer of these regions, if there is one."""
    layer = find_layer(viewer, slide, SEARCHED)
    return layer if isinstance(layer, Shapes) else None


def search_layer(viewer: napari.Viewer, slide: Slide) -> Shapes:
    """The same, made on the first call."""
    layer = find(viewer, slide)
    if layer is None:
        layer = Shapes(
            ndim=2,
            name=overlay_name(slide, SEARCHED),
            scale=per_pixel(slide),
            units=(UNIT if slide.mpp else "pixel",) * 2,
            face_color="transparent",
            edge_color=COLOUR,
            edge_width=EDGE_UM / per_pixel(slide)[1],
            metadata=overlay_metadata(slide, SEARCHED),
        )
        viewer.add_layer(layer)
    return layer


def start_drawing(viewer: napari.Viewer, slide: Slide) -> None:
    """Let the user draw one region; then the layer that was active is so again."""
    before = viewer.layers.selection.active
    layer = search_layer(viewer, slide)
    layer.visible = True
    layer.selected_data = set()
    viewer.layers.selection.active = layer
    layer.mode = DRAW

    def stop(event: Any) -> None:
        if event.action == "added":
            layer.events.data.disconnect(stop)
            QTimer.singleShot(0, lambda: _stop(viewer, layer, before))  # napari is still busy with the shape

    layer.events.data.connect(stop)


def _stop(viewer: napari.Viewer, layer: Shapes, before: Layer | None) -> None:
    layer.mode = "pan_zoom"
    layer.selected_data = set()
    if before in viewer.layers and viewer.layers.selection.active is layer:
        viewer.layers.selection.active = before


def drawn(viewer: napari.Viewer, slide: Slide) -> Polygons:
    """The regions drawn so far, as far as they lie on the slide."""
    layer = find(viewer, slide)
    if layer is None:
        return ()
    shapes = zip(layer.data, layer.shape_type, strict=True)
    # napari has the centre of a pixel where we have its corner
    return on_slide([np.asarray(one)[:, -2:] + 0.5 for one, kind in shapes if kind in AREAS], slide.shape)


def in_window(viewer: napari.Viewer, slide: Slide) -> Polygons:
    """The part of the slide that the window shows."""
    seen = camera.field_of_view(viewer, slide)
    low = np.array((seen.y, seen.x)) * slide.shape
    high = low + np.array((seen.height, seen.width)) * slide.shape
    corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    return on_slide([corners], slide.shape)


def on_slide(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Polygons:
    """The parts of polygons that lie on a slide of a shape, level-0 px."""
    whole = shapely.box(0, 0, *shape)
    cut = [shapely.intersection(_valid(one), whole) for one in polygons if len(one) >= 3]
    parts = shapely.get_parts(shapely.get_parts(cut))
    return tuple(
        shapely.get_coordinates(part.exterior)[:-1]
        for part in parts
        if isinstance(part, shapely.Polygon) and part.area > 0
    )


def area_mm2(polygons: Polygons, mpp: Pair) -> float:
    """Their extent; where they overlap, an area counts once."""
    union = shapely.union_all([_valid(one) for one in polygons])
    return float(union.area * mpp[0] * mpp[1] / 1e6)


def _valid(polygon: NDArray[np.float64]) -> shapely.Geometry:
    return shapely.make_valid(shapely.Polygon(polygon))
