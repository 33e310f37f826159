"""Regions a user adds to the tissue or leaves out: polygons on a layer above the slide."""

from __future__ import annotations

from typing import Literal

import napari
import numpy as np
from napari.layers import Shapes
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.overlays import find_layer, overlay_name
from napari_zoommil.viewer.metadata import UNIT, overlay_metadata, per_pixel

REGIONS = "tissue regions"
Use = Literal["add", "leave out"]
COLOURS: dict[Use, str] = {"add": "#009e73", "leave out": "#d55e00"}
AREAS = ("polygon", "rectangle")
EDGE_UM = 20.0


def regions_layer(viewer: napari.Viewer, slide: Slide) -> Shapes:
    """The slide's regions layer, made on the first call."""
    layer = find_layer(viewer, slide, REGIONS)
    if isinstance(layer, Shapes):
        return layer
    layer = Shapes(
        ndim=2,
        name=overlay_name(slide, REGIONS),
        scale=per_pixel(slide),
        units=(UNIT if slide.mpp else "pixel",) * 2,
        face_color="transparent",
        edge_width=EDGE_UM / per_pixel(slide)[0],
        metadata=overlay_metadata(slide, REGIONS),
    )
    viewer.add_layer(layer)
    return layer


def start_drawing(viewer: napari.Viewer, slide: Slide, use: Use) -> Shapes:
    """Let the user draw a polygon of one use."""
    layer = regions_layer(viewer, slide)
    layer.selected_data = set()
    layer.current_edge_color = COLOURS[use]
    layer.mode = "add_polygon_lasso"
    viewer.layers.selection.active = layer
    return layer


def polygons(viewer: napari.Viewer, slide: Slide) -> tuple[tuple[NDArray, ...], tuple[NDArray, ...]]:
    """Polygons to add and to leave out, (n, 2) level-0 y and x each."""
    layer = find_layer(viewer, slide, REGIONS)
    if not isinstance(layer, Shapes):
        return (), ()
    areas: dict[Use, list[NDArray]] = {"add": [], "leave out": []}
    for shape, kind, colour in zip(layer.data, layer.shape_type, layer.edge_color, strict=True):
        if kind in AREAS:
            areas[_use_of(colour)].append(np.asarray(shape)[:, -2:])
    return tuple(areas["add"]), tuple(areas["leave out"])


def _use_of(colour: NDArray) -> Use:
    """A shape's use is its edge colour: napari keeps that with the shape whatever is edited."""
    distance = {use: np.abs(transform_color(name)[0] - colour).sum() for use, name in COLOURS.items()}
    return min(distance, key=distance.__getitem__)
