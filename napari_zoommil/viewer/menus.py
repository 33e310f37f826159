"""Menu entries that bring a dock up."""

from __future__ import annotations

import napari

PLUGIN = "napari-zoommil"


def show_dock(viewer: napari.Viewer, name: str) -> object:
    """Show a dock of this plugin, made if need be; returns its widget."""
    return viewer.window.add_plugin_dock_widget(PLUGIN, name)[1]


def show_slide_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Slide")


def show_attention_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Attention")
