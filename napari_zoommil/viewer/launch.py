"""Open a window on a slide."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import napari

from napari_zoommil.viewer.docks.attention import AttentionDock
from napari_zoommil.viewer.menus import show_dock
from napari_zoommil.viewer.slide_layer import open_slide_layer


def open_viewer(path: Path, mpp: float | None = None) -> tuple[napari.Viewer, AttentionDock]:
    """A viewer with a slide and both docks, the slide whole in view."""
    viewer = napari.Viewer(title="ZoomMIL")
    viewer.canvas.overlays.scale_bar.visible = True
    show_dock(viewer, "Slide")
    dock = cast(AttentionDock, show_dock(viewer, "Attention"))
    data, arguments, _ = open_slide_layer(path, mpp)
    viewer.add_image(data, **arguments)
    viewer.reset_view()
    return viewer, dock


def show_slide(path: Path, mpp: float | None = None) -> None:
    """Show a slide until the window is closed."""
    open_viewer(path, mpp)
    napari.run()


def show_demo(path: Path) -> None:
    """Show the sample and run the shipped model on it."""
    _, dock = open_viewer(path)
    dock.run_when_ready()
    napari.run()
