"""Drawing of regions on a slide: the tool, and the rules for valid regions.

All layers of regions have the same rules. The user holds the button and draws around the region, or clicks on
its corners and ends with a double click or Enter; Escape cancels. While the tool is on, the canvas shows how
to draw. After a region is finished, the previously active layer is active again. A shape that encloses no
area, such as one with fewer than three distinct corners, is removed with a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
import shapely
from napari.layers import Layer, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import is_being_drawn
from napari_zoommil.viewer.layers.overlays import overlay_name
from napari_zoommil.viewer.layers.points import insert_on_top
from napari_zoommil.viewer.metadata import on_level_0, overlay_metadata
from napari_zoommil.viewer.notifications import show_info

NO_REGION = "That encloses no area: draw once more"
HOW = "Hold the button and draw around the region, or click on its corners and end with a double click"
MARGIN = "\u00a0\u00a0"
ON_CANVAS = "\n".join(f"{MARGIN}{line}{MARGIN}" for line in HOW.replace(", ", ",\n").split("\n"))
"""The same in two lines, for a narrow canvas; napari (0.9.2) draws the box of a text too narrow."""

DRAW = "add_polygon"
TOOL = "napari_zoommil.tool"
"""Key of a layer's tool in its metadata."""

EDGE_PX = 2.0
"""Width of an outline on screen while it is drawn."""

STEP_PX = 10.0
"""Movement on screen after which a held mouse adds a corner."""

TREMBLE_PX = 15.0
"""Largest movement on screen of a held mouse that counts as a click."""

SMALLEST = 1.0
"""Least area of a region, level-0 px squared; smaller ones are clicks at one position or on a line."""

CIRCLE = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]


def add_region_layer(viewer: napari.Viewer, slide: Slide, title: str, colour: str) -> Shapes:
    """Add an empty layer for regions of a slide, in level-0 px, as the top layer."""
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
    """The tool of a layer of regions, created on the first call."""
    tool = layer.metadata.get(TOOL)
    if tool is None or tool.layer is not layer:  # a duplicated layer has the tool of the original
        tool = layer.metadata[TOOL] = RegionTool(viewer, layer)
    return tool


def outlines(layer: Shapes) -> list[NDArray[np.float64]]:
    """Regions on a layer, each (n, 2) (y, x), without the one that is being drawn.

    Can be called at any time, also during an edit by napari.
    """
    return [one for one in rings(layer) if encloses_area(one)]


def rings(layer: Shapes) -> list[NDArray[np.float64]]:
    """The same for all rows of a layer, also those that enclose nothing."""
    shapes = [_corners(*one) for one in zip(layer.data, layer.shape_type, strict=False)]
    return shapes[:-1] if is_being_drawn(layer) else shapes


def encloses_area(corners: NDArray[np.float64]) -> bool:
    """Whether a polygon, (n, 2) level-0 px, encloses an area; it needs three distinct corners."""
    return len(corners) >= 3 and shapely.make_valid(shapely.Polygon(corners)).area >= SMALLEST


def _corners(shape: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    corners = np.asarray(shape, np.float64)[:, -2:]
    if kind == "path" and len(corners) > 1:
        return _opened(corners)
    if kind != "ellipse":
        return corners
    first, second, third, _ = corners  # of its bounding rectangle
    return (first + third + np.cos(CIRCLE) * (second - first) + np.sin(CIRCLE) * (third - second)) / 2


def _opened(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path without the repetition of its first corner; one that is drawn by hand may have none."""
    return path[:-1] if np.array_equal(path[0], path[-1]) else path


class RegionTool:
    """Tool to draw on a layer of regions; removes invalid regions.

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
        # napari references methods weakly: these connections end with the layer, which references its tool.
        layer.events.data.connect(self._edited)
        layer.events.mode.connect(self._show_how)
        viewer.layers.selection.events.active.connect(self._show_how)

    @property
    def drawing(self) -> bool:
        """Whether the tool is on."""
        return self.layer.mode == DRAW and self._viewer.layers.selection.active is self.layer

    def start(self) -> None:
        """Let the user draw one region."""
        active = self._viewer.layers.selection.active
        if active is not None and TOOL in active.metadata:
            active.metadata[TOOL].stop()  # it may be on, for this or another layer
        layer, selection = self.layer, self._viewer.layers.selection
        layer.visible = True
        layer.selected_data = set()
        layer.current_edge_width = EDGE_PX / (self._viewer.scene.camera.zoom * layer.scale[-1])
        before, selection.active = selection.active, layer
        layer.mode, self._before = DRAW, before

    def stop(self) -> None:
        """Stop drawing; an unfinished region is dropped."""
        unfinished = is_being_drawn(self.layer)
        self.layer.mode = "pan_zoom"  # napari finishes an incomplete shape
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
        """Moving a held mouse adds corners like clicks; its release ends the region like a double click."""
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

    # The result

    def _edited(self, event: Any) -> None:
        if event.action == "adding":
            self._had = len(self.layer.data)
        elif event.action in ("added", "changed"):
            mode, had = str(self.layer.mode) if event.action == "added" else "", self._had
            # napari has not finished processing the shape.
            QTimer.singleShot(0, lambda: self._tidy(mode, had))

    def _tidy(self, mode: str, had: int) -> None:
        """Remove invalid regions; a shape was added in ``mode`` to ``had`` others, or none was."""
        layer = self.layer
        if is_being_drawn(layer):
            return  # the next region is being drawn; checked at its end
        shapes = zip(layer.data, layer.shape_type, strict=True)
        empty = [row for row, one in enumerate(shapes) if not encloses_area(_corners(*one))]
        layer.remove(empty)
        if empty or (mode.startswith("add_") and len(layer.data) <= had):  # napari removes lines itself
            show_info(f"{NO_REGION}. {HOW}")
        elif mode == DRAW:
            self._go_back()
