"""Complete regions as a napari Shapes layer, a view of the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import add_region_layer, encloses_area, outlines, tool_of
from napari_zoommil.viewer.layers.writing import Writing
from napari_zoommil.viewer.metadata import per_pixel

COMPLETE = "complete regions"
COLOUR = "#202020"
WIDTH_UM = 3.0


class CompleteView:
    """The layer of complete regions of one slide; see :class:`PointsView`.

    Attributes
    ----------
    layer : napari.layers.Shapes
    """

    refused = Signal(ZoomMILError)
    drawn = Signal()
    """A region was drawn and added to the document."""

    def __init__(self, viewer: napari.Viewer, slide: Slide, points: Points) -> None:
        self._viewer, self._points = viewer, points
        self._ids: list[str] = []
        self._writing, self._closed = Writing(), False
        self._width = WIDTH_UM / per_pixel(slide)[1]
        self.layer = add_region_layer(viewer, slide, COMPLETE, COLOUR)
        self._tool = tool_of(viewer, self.layer)
        self.fill()
        self.layer.events.data.connect(self._edited)
        points.changed.connect(self._follow)

    def close(self) -> None:
        """Disconnect from the document, and remove the layer."""
        self._closed = True
        self._points.changed.disconnect(self._follow)
        self.layer.events.data.disconnect(self._edited)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    @property
    def drawing(self) -> bool:
        return self._tool.drawing

    def start(self) -> None:
        """Let the user draw a region."""
        self._tool.start()

    def stop(self) -> None:
        """Stop drawing; an unfinished region is dropped."""
        self._tool.stop()

    def fill(self) -> None:
        """Show the document's regions."""
        layer, mode = self.layer, self.layer.mode
        complete = {id: one for id, one in self._points.complete.items() if encloses_area(one)}
        self._ids = list(complete)
        with self._writing():
            layer.mode = "pan_zoom"  # finishes a shape that is being drawn
            layer.selected_data = set(range(len(layer.data)))
            layer.remove_selected()
            if complete:
                layer.add_polygons(list(complete.values()), edge_width=self._width)
            layer.selected_data = set()
            layer.mode = mode

    def _follow(self, changed: Changed) -> None:
        if changed.regions:
            self.fill()

    def _edited(self, event: Any) -> None:
        if self._writing or event.action not in ("added", "removed", "changed"):
            return
        rows = list(event.data_indices)
        # napari has not finished processing the shape.
        QTimer.singleShot(0, lambda: self._take_over(str(event.action), rows))

    def _take_over(self, action: str, rows: list[int]) -> None:
        """Apply an edit of the layer to the document."""
        if self._closed:
            return
        found, count = outlines(self.layer), len(self._ids)
        if action == "added" and len(found) > count:
            if self._edit(lambda: self._add(found[count:])):
                self.drawn.emit()
        elif action != "added" and len(found) == count - len(rows):  # a triangle without a corner is removed
            self._edit(lambda: self._points.remove_complete(*(self._ids[row] for row in rows)))
        elif action == "changed" and len(found) == count:
            self._edit(lambda: self._points.redraw_complete({self._ids[row]: found[row] for row in rows}))

    def _add(self, outlines: list[np.ndarray]) -> None:
        for outline in outlines:
            self._points.add_complete(outline)

    def _edit(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except ZoomMILError as error:
            self.fill()
            self.refused.emit(error)
            return False
        return True
