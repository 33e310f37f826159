"""Every touch of napari API that is not public, checked against napari 0.9.2.

Each function says what to do where the private name is gone, so that a newer napari costs comfort
and not the plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
