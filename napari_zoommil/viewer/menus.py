"""Menu entries that show a dock."""

from __future__ import annotations

import napari

PLUGIN = "napari-zoommil"


BESIDE = ("Slide", "Attention")
"""Docks shown side by side; others are added as tabs."""


def show_dock(viewer: napari.Viewer, name: str) -> object:
    """Show a dock of this plugin, which is created if necessary; returns its widget."""
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=name not in BESIDE)
    dock.show()
    dock.raise_()
    return widget


def show_slide_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Slide")


def show_attention_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Attention")


def show_annotate_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Annotate")


def show_detect_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Detect cells")


def show_finetune_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Fine-tune")
