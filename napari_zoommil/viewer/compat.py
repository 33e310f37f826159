"""All uses of private napari API, checked with napari 0.9.2.

Each function has a fallback for missing private names, so that the plugin works with a newer napari, with
less comfort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any
from weakref import ref

import napari
import numpy as np
from napari.components import LayerList
from napari.layers import Image, Layer, Points, Shapes
from napari.layers.points._points_constants import Symbol
from napari.layers.points._points_utils import coerce_symbols
from napari.utils.task_status import Status
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget

from napari_zoommil.viewer.notifications import not_html


def real_viewer(viewer: napari.Viewer) -> napari.Viewer:
    """The viewer behind the proxies that docks get; a session needs one key for all of them."""
    return getattr(viewer, "__wrapped__", viewer)


class KindOfImage(Image):
    """Base of own classes of images, with the icon, menus and writers of napari's images.

    Its thumbnail is drawn once: napari draws it, and the list of layers, whenever another part is in view.
    """

    _type_string = "image"  # napari takes the name of the class

    def _update_thumbnail(self) -> None:
        if not self.thumbnail.any():
            super()._update_thumbnail()


class KindOfPoints(Points):
    """Points of which only some rows are drawn and can be hit; all are data of the layer.

    ``shown`` of napari's points does nothing in layers of two dimensions (0.9.2).

    Attributes
    ----------
    in_sight : callable or None
        Returns the rows to draw, ascending; None for all.
    """

    _type_string = "points"
    in_sight: Callable[[], NDArray[np.intp] | None] | None = None

    def _get_layer_slicing_state(self, data: Any, cache: bool) -> Any:
        state = super()._get_layer_slicing_state(data, cache)
        take = getattr(state, "_update_slice_response", None)
        if take is None:
            return state  # all are drawn

        def take_some(response: Any) -> None:
            rows = self.in_sight() if self.in_sight and len(response.indices) == len(self.data) else None
            if rows is not None:
                response = replace(response, indices=rows, size=response.size[rows])
            take(response)

        state._update_slice_response = take_some
        return state

    @property
    def symbol(self) -> NDArray[np.object_]:
        """Of each point. napari looks up all of them again whenever one is added, 0.7 µs each."""
        symbols: NDArray[np.object_] = self._symbol
        return symbols

    @symbol.setter
    def symbol(self, symbol: Any) -> None:
        if not isinstance(symbol, np.ndarray) or len(symbol) != len(self.data):
            Points.symbol.fset(self, symbol)
            return
        new = [row for row, one in enumerate(symbol) if type(one) is not Symbol]
        self._symbol = symbol.astype(object)
        if new:
            self._symbol[new] = coerce_symbols(symbol[new])
        self.events.symbol()
        self.events.highlight()


def announce_task(viewer: napari.Viewer, sentence: str, cancel: Callable[[], Any]) -> Callable[[], None]:
    """Register a running task with the window, which asks before it closes and cancels the task.

    Returns
    -------
    callable
        To be called at the end of the task.
    """
    register = getattr(viewer.window, "_register_task_status", None)
    update = getattr(viewer.window, "_update_task_status", None)
    if register is None or update is None:
        return lambda: None
    sentence = not_html(sentence)
    # The window never releases the callbacks of tasks, nor what they reference.
    held = [cancel]
    task = register("ZoomMIL", Status.BUSY, sentence, cancel_callback=lambda: [call() for call in held])

    def done() -> None:
        held.clear()
        update(task, Status.COMPLETED, sentence)

    return done


def delete_in_own_context(viewer: napari.Viewer) -> None:
    """Delete the OpenGL objects of removed layers in the context of the canvas.

    napari (0.9.2) deletes the shader programs and buffers of a layer when it is removed, in the current
    context: between two paint events that is a context of Qt. Mesa (22.3) then deletes the vertex shader of
    the canvas too, and drawing the next layer ends in a segmentation fault. A viewer without a window is
    not changed.
    """
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    scene = getattr(canvas, "_scene_canvas", None)
    if scene is None:
        return
    held = ref(scene)

    def make_current(_event: Any) -> None:
        still = held()
        if still is not None:
            with suppress(RuntimeError):  # its window was closed
                still.set_current()

    viewer.layers.events.removing.connect(make_current)


def removing_together(layers: LayerList) -> AbstractContextManager[None]:
    """Context in which several layers are removed.

    napari (0.9.2) collects garbage after each removed layer, with torch loaded for 0.1 to 0.3 s; here it does
    so once, at the end.
    """
    batched: Callable[[], AbstractContextManager[None]] = getattr(layers, "batched_update", nullcontext)
    return batched()


def remove_layers(layers: LayerList, gone: Sequence[Layer]) -> None:
    """Remove some layers together."""
    if gone:
        with removing_together(layers):
            for layer in gone:
                layers.remove(layer)


def node_of(viewer: napari.Viewer, layer: Layer) -> Any:
    """What draws a layer, a node of vispy's scene in the layer's pixels; None without a window."""
    canvas = getattr(getattr(getattr(viewer, "window", None), "_qt_viewer", None), "canvas", None)
    return getattr(getattr(canvas, "layer_to_visual", {}).get(layer), "node", None)


def is_being_drawn(layer: Shapes) -> bool:
    """Whether the last shape of a layer is still being drawn with the mouse."""
    return bool(getattr(layer, "_is_creating", False))


def canvas_of(dock: QWidget) -> QWidget | None:
    """The canvas of the window of a dock, docked or floating; None if there is none."""
    widget: QWidget | None = dock
    while widget is not None and not hasattr(widget, "_qt_viewer"):
        widget = widget.parentWidget()
    canvas = getattr(getattr(widget, "_qt_viewer", None), "canvas", None)
    return getattr(canvas, "native", None)


def canvas_widget(viewer: napari.Viewer) -> QWidget | None:
    """The canvas of a viewer's window; None if there is none."""
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    return getattr(canvas, "native", None)
