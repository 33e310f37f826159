"""Regions that a user draws on a slide: how they are drawn, and what counts as one.

All layers of regions keep to the same rules. One tool draws on them: hold the button and go round the region,
or click on its corners and end with a double click or Enter; Escape stops. While the tool is on, the canvas
says how to draw. When a region is done, the layer that was active before becomes active again. A shape that
encloses no area, such as one of fewer than three distinct corners, is removed, and the user is told why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
import shapely
from napari.layers import Layer, Shapes
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import is_being_drawn
from napari_zoommil.viewer.layers.overlays import overlay_name
from napari_zoommil.viewer.layers.points import insert_on_top
from napari_zoommil.viewer.metadata import on_level_0, overlay_metadata

NO_REGION = "That encloses no area: draw once more"
HOW = "Hold the button and go round the region, or click on its corners and end with a double click"
MARGIN = "\u00a0\u00a0"
ON_CANVAS = "\n".join(f"{MARGIN}{line}{MARGIN}" for line in HOW.replace(", ", ",\n").split("\n"))
"""The same in two lines, for a canvas may be narrow; napari (0.9.2) draws the box about a text too narrow."""

DRAW = "add_polygon"
TOOL = "napari_zoommil.tool"
"""Key of a layer's tool in its metadata."""

EDGE_PX = 2.0
"""Width of an outline on screen while it is drawn."""

STEP_PX = 10.0
"""A held mouse that has moved so far on screen has drawn another corner."""

TREMBLE_PX = 15.0
"""A held mouse that has moved no further on screen has clicked."""

SMALLEST = 1.0
"""Area of a region, level-0 px; less are clicks in one place or on one line."""

CIRCLE = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]


def add_region_layer(viewer: napari.Viewer, slide: Slide, title: str, colour: str) -> Shapes:
    """Add an empty layer for regions of a slide, in level-0 px, on top."""
    layer = Shapes(
        ndim=2,
        name=overlay_name(slide, title),
        face_color="transparent",
        edge_color=colour,
        metadata=overlay_metadata(slide, title),
        **on_level_0(slide),
    )
    tool_of(viewer, layer)
    insert_on_top(viewer, layer)
    return layer


def tool_of(viewer: napari.Viewer, layer: Shapes) -> RegionTool:
    """The tool of a layer of regions, made on the first call."""
    tool = layer.metadata.get(TOOL)
    if tool is None or tool.layer is not layer:  # a duplicate has that of the first
        tool = layer.metadata[TOOL] = RegionTool(viewer, layer)
    return tool


def outlines(layer: Shapes) -> list[NDArray[np.float64]]:
    """Regions on a layer, (n, 2) y and x each, without the one that is being drawn.

    Can be called at any time, in the middle of an edit by napari too.
    """
    shapes = [_corners(*one) for one in zip(layer.data, layer.shape_type, strict=False)]
    done = shapes[:-1] if is_being_drawn(layer) else shapes
    return [one for one in done if encloses_area(one)]


def encloses_area(corners: NDArray[np.float64]) -> bool:
    """Whether a polygon, (n, 2) level-0 px, is a region; fewer than three distinct corners never are."""
    return len(corners) >= 3 and shapely.make_valid(shapely.Polygon(corners)).area >= SMALLEST


def _corners(shape: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    corners = np.asarray(shape, np.float64)[:, -2:]
    if kind != "ellipse":
        return corners
    first, second, third, _ = corners  # of the rectangle about it
    return (first + third + np.cos(CIRCLE) * (second - first) + np.sin(CIRCLE) * (third - second)) / 2


class RegionTool:
    """Lets the user draw on a layer of regions, and removes what is no region.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Shapes

    Attributes
    ----------
    layer : napari.layers.Shapes
    """

    def __init__(self, viewer: napari.Viewer, layer: Shapes) -> None:
        self._viewer, self.layer = viewer, layer
        self._before: Layer | None = None
        self._had = 0
        layer.mouse_drag_callbacks.append(self._pressed)
        layer.bind_key("Escape", lambda _: self.stop(), overwrite=True)
        # napari holds methods weakly: these connections end with the layer, which holds its tool.
        layer.events.data.connect(self._edited)
        layer.events.mode.connect(self._show_how)
        viewer.layers.selection.events.active.connect(self._show_how)

    @property
    def drawing(self) -> bool:
        """Whether the mouse draws regions now."""
        return self.layer.mode == DRAW and self._viewer.layers.selection.active is self.layer

    def start(self) -> None:
        """Let the user draw one region."""
        active = self._viewer.layers.selection.active
        if active is not None and TOOL in active.metadata:
            active.metadata[TOOL].stop()  # it may be drawing, here or on another layer
        layer, selection = self.layer, self._viewer.layers.selection
        layer.visible = True
        layer.selected_data = set()
        layer.current_edge_width = EDGE_PX / (self._viewer.scene.camera.zoom * layer.scale[-1])
        before, selection.active = selection.active, layer
        layer.mode, self._before = DRAW, before

    def stop(self) -> None:
        """Draw no more; a region that is not done is dropped."""
        unfinished = is_being_drawn(self.layer)
        self.layer.mode = "pan_zoom"  # napari takes an unfinished shape for done
        if unfinished:
            self.layer.remove([len(self.layer.data) - 1])
        self._go_back()

    def _go_back(self) -> None:
        self.layer.mode = "pan_zoom"
        self.layer.selected_data = set()
        layers, before = self._viewer.layers, self._before
        self._before = None
        if layers.selection.active is self.layer and before in layers:
            layers.selection.active = before

    def _show_how(self, _event: object = None) -> None:
        if self._viewer.layers.selection.active is not self.layer:
            self._before = None
        text = self._viewer.canvas.overlays.text
        if self.drawing:
            text.text, text.position, text.box, text.visible = ON_CANVAS, "top_center", True, True
        elif text.text == ON_CANVAS:
            text.text, text.visible = "", False

    # The mouse

    def _pressed(self, layer: Shapes, event: Any) -> Any:
        """A held mouse draws as many clicks do, and its release ends the region as a double click does."""
        if layer.mode != DRAW or event.button != 1:
            return
        last, drawn = np.array(event.pos), 0
        yield
        while event.type == "mouse_move":
            if np.linalg.norm(event.pos - last) >= STEP_PX:
                self._call(layer.mouse_move_callbacks, event)
                self._call(layer.mouse_drag_callbacks, event)
                last, drawn = np.array(event.pos), drawn + 1
            yield
        if drawn * STEP_PX > TREMBLE_PX:
            self._call(layer.mouse_double_click_callbacks, event)

    def _call(self, callbacks: list[Callable], event: Any) -> None:
        for callback in callbacks:
            if callback != self._pressed:
                callback(self.layer, event)

    # What comes of it

    def _edited(self, event: Any) -> None:
        if event.action == "adding":
            self._had = len(self.layer.data)
        elif event.action in ("added", "changed"):
            mode, had = str(self.layer.mode) if event.action == "added" else "", self._had
            # napari is still busy with the shape that it tells of.
            QTimer.singleShot(0, lambda: self._tidy(mode, had))

    def _tidy(self, mode: str, had: int) -> None:
        """Remove what is no region; a shape was added in ``mode`` to ``had`` others, or none was."""
        layer = self.layer
        if is_being_drawn(layer):
            return  # the next one; it is looked at when that is done
        shapes = zip(layer.data, layer.shape_type, strict=True)
        empty = [row for row, one in enumerate(shapes) if not encloses_area(_corners(*one))]
        layer.remove(empty)
        if empty or (mode.startswith("add_") and len(layer.data) <= had):  # napari drops lines by itself
            show_info(f"{NO_REGION}. {HOW}")
        elif mode == DRAW:
            self._go_back()
