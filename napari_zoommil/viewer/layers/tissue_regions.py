"""Regions that the user adds to the tissue or leaves out: one layer of polygons for each use."""

from __future__ import annotations

from typing import Literal

import napari
import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import add_region_layer, outlines, tool_of
from napari_zoommil.viewer.layers.overlays import find_layer

Use = Literal["add", "leave out"]
TITLES: dict[Use, str] = {"add": "tissue added", "leave out": "tissue left out"}
"""Title of the layer of each use. One layer for both would have to distinguish them by colour, but napari
mixes up the colours of shapes when it removes an invalid one."""

COLOURS: dict[Use, str] = {"add": "#009e73", "leave out": "#d55e00"}

Polygons = tuple[NDArray[np.float64], ...]
"""Polygons, each (n, 2) level-0 (y, x)."""


def regions_layer(viewer: napari.Viewer, slide: Slide, use: Use) -> Shapes:
    """The slide's layer of regions of one use, created on the first call."""
    layer = find_layer(viewer, slide, TITLES[use])
    if not isinstance(layer, Shapes):
        return add_region_layer(viewer, slide, TITLES[use], COLOURS[use])
    return layer


def start_drawing(viewer: napari.Viewer, slide: Slide, use: Use) -> None:
    """Let the user draw a region of one use."""
    tool_of(viewer, regions_layer(viewer, slide, use)).start()


def polygons(viewer: napari.Viewer, slide: Slide) -> tuple[Polygons, Polygons]:
    """Polygons to add, and polygons to leave out."""
    added, left_out = (find_layer(viewer, slide, title) for title in TITLES.values())
    return _outlines(added), _outlines(left_out)


def _outlines(layer: object) -> Polygons:
    return tuple(outlines(layer)) if isinstance(layer, Shapes) else ()
