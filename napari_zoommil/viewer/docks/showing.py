"""Docks by their names in the manifest: shown, and created if necessary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
from npe2 import PluginManager

from napari_zoommil.viewer.docks.tabs import dock_of, join_others

PLUGIN, DISPLAY_NAME = "napari-zoommil", "ZoomMIL"


def show_dock(viewer: napari.Viewer, name: str) -> object:
    """Show a dock of this plugin, which is created if necessary; returns its widget."""
    # The name that napari's Plugins menu uses, so that both open the same dock.
    full_name = f"{name} ({DISPLAY_NAME})"
    page = viewer.window.dock_widgets.get(full_name)
    if page is None:
        page = _page_maker(name)(napari_viewer=viewer)
        viewer.window.add_dock_widget(page, name=full_name)
        join_others(page)
    dock = dock_of(page)
    assert dock is not None
    dock.show()
    dock.raise_()
    return page


def _page_maker(name: str) -> Callable[..., Any]:
    manifest = PluginManager.instance().get_manifest(PLUGIN)
    widgets = manifest.contributions.widgets or ()
    return next(one for one in widgets if one.display_name == name).get_callable()
