"""Regions a user adds to the tissue or leaves out: polygons on a layer above the slide."""

from __future__ import annotations

from typing import Literal

import napari
import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.overlays import find_layer, overlay_name
from napari_zoommil.viewer.slide_layer import SLIDE, UNIT, per_pixel

TITLE = "tissue regions"
Use = Literal["add", "leave out"]
COLOURS = {"add": "#009e73", "leave out": "#d55e00"}
EDGE_UM = 20.0


def regions_layer(viewer: napari.Viewer, slide: Slide) -> Shapes:
    """The slide's regions layer, made on the first call."""
    layer = find_layer(viewer, slide, TITLE)
    if isinstance(layer, Shapes):
        return layer
    layer = Shapes(
        ndim=2,
        name=overlay_name(slide, TITLE),
        features={"use": np.empty(0, dtype=object)},
        scale=per_pixel(slide),
        units=(UNIT if slide.mpp else "pixel",) * 2,
        face_color="transparent",
        edge_width=EDGE_UM / per_pixel(slide)[0],
        metadata={SLIDE: slide, "title": TITLE},
    )
    viewer.add_layer(layer)
    return layer


def start_drawing(viewer: napari.Viewer, slide: Slide, use: Use) -> Shapes:
    """Let the user draw a polygon of one use."""
    layer = regions_layer(viewer, slide)
    layer.selected_data = set()
    layer.feature_defaults = {"use": use}
    layer.current_edge_color = COLOURS[use]
    layer.mode = "add_polygon_lasso"
    viewer.layers.selection.active = layer
    return layer


def polygons(viewer: napari.Viewer, slide: Slide) -> tuple[tuple[NDArray, ...], tuple[NDArray, ...]]:
    """Polygons to add and to leave out, (n, 2) level-0 y and x each."""
    layer = find_layer(viewer, slide, TITLE)
    if not isinstance(layer, Shapes):
        return (), ()
    uses = list(layer.features["use"])
    shapes = [(np.asarray(shape)[:, -2:], use) for shape, use in zip(layer.data, uses, strict=True)]
    return (
        tuple(shape for shape, use in shapes if use == "add"),
        tuple(shape for shape, use in shapes if use == "leave out"),
    )
