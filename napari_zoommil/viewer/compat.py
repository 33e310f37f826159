"""Every touch of napari API that is not public, checked against napari 0.9.2.

Each function says what to do where the private name is gone, so that a newer napari costs comfort
and not the plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import ref

import napari
from napari.layers import Shapes
from napari.utils.task_status import Status
from qtpy.QtWidgets import QWidget


def real_viewer(viewer: napari.Viewer) -> napari.Viewer:
    """The viewer itself: docks are handed a proxy each, and a session must know that they are one."""
    return getattr(viewer, "__wrapped__", viewer)


def announce_task(viewer: napari.Viewer, sentence: str, cancel: Callable[[], Any]) -> Callable[[], None]:
    """Tell the window that work is going on: it asks with this sentence before it closes and cancels.

    Returns
    -------
    callable
        To be called when the work has ended.
    """
    register = getattr(viewer.window, "_register_task_status", None)
    update = getattr(viewer.window, "_update_task_status", None)
    if register is None or update is None:
        return lambda: None
    # The window keeps the callback of every task for good, and through it whatever it holds.
    held = [cancel]
    task = register("ZoomMIL", Status.BUSY, sentence, cancel_callback=lambda: [call() for call in held])

    def done() -> None:
        held.clear()
        update(task, Status.COMPLETED, sentence)

    return done


def delete_in_own_context(viewer: napari.Viewer) -> None:
    """Have what removed layers were drawn with deleted in the OpenGL context that it was made in.

    napari (0.9.2) deletes the shader programs and buffers of a layer as soon as it is removed, in
    whichever context is current: between two paints that is one of Qt's own. Mesa (22.3) then takes the
    vertex shader away from the canvas too, and the next layer that is drawn ends in a segmentation
    fault. A viewer without a window is left as it is.
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
            with suppress(RuntimeError):  # its window is gone
                still.set_current()

    viewer.layers.events.removing.connect(make_current)


def is_being_drawn(layer: Shapes) -> bool:
    """Whether the last shape of a layer is one that the mouse has begun and not ended."""
    return bool(getattr(layer, "_is_creating", False))


def canvas_of(dock: QWidget) -> QWidget | None:
    """The canvas of the window that a dock belongs to, docked or floating; None where there is none."""
    widget: QWidget | None = dock
    while widget is not None and not hasattr(widget, "_qt_viewer"):
        widget = widget.parentWidget()
    canvas = getattr(getattr(widget, "_qt_viewer", None), "canvas", None)
    return getattr(canvas, "native", None)
