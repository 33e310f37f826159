"""Open a window with a slide."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_zoommil.viewer import camera
from napari_zoommil.viewer.docks.attention.dock import AttentionDock
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.settings import prefer_own_reader

SCREEN_SHARE = 0.9


def open_viewer(
    path: Path, mpp: float | None = None, icc: bool = False
) -> tuple[napari.Viewer, AttentionDock]:
    """A viewer with a slide and both docks, with the whole slide in view."""
    viewer = napari.Viewer(title="ZoomMIL")
    prefer_own_reader()
    _fill_screen(viewer)
    show_dock(viewer, "Slide")
    dock = cast(AttentionDock, show_dock(viewer, "Attention"))
    data, arguments, _ = open_slide_layer(path, mpp, icc)
    layer = viewer.add_image(data, **arguments)
    QTimer.singleShot(0, lambda: camera.fit(viewer, layer))  # after the layout of the docks
    return viewer, dock


def _fill_screen(viewer: napari.Viewer) -> None:
    """Resize the window to nine tenths of the screen, so that both docks are completely visible."""
    screen = QApplication.primaryScreen()
    if screen is not None:
        size = screen.availableSize() * SCREEN_SHARE
        viewer.window.resize(size.width(), size.height())


def show_slide(path: Path, mpp: float | None = None, icc: bool = False) -> None:
    """Show a slide until the window is closed."""
    open_viewer(path, mpp, icc)
    _run()


def show_demo(path: Path) -> None:
    """Show the sample slide and run the shipped model on it."""
    _, dock = open_viewer(path)
    dock.run_when_ready()
    _run()


def _run() -> None:
    """Until the window is closed; a signal to end ends the process, for Qt passes on no exceptions, and all
    is saved at any time."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    napari.run()
