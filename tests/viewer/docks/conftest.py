"""Docks in a real viewer, brought up the way the menu does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from napari_zoommil.viewer.menus import show_dock


@pytest.fixture
def attention(make_napari_viewer) -> Callable[[], tuple]:
    """A viewer with the Attention dock."""

    def make() -> tuple:
        viewer = make_napari_viewer()
        return viewer, show_dock(viewer, "Attention")

    return make


@pytest.fixture
def ready(attention, small_slide, add_slide, qtbot) -> tuple:
    """Viewer, dock and slide layer, the tissue found and the dock ready to run."""
    viewer, dock = attention()
    layer = add_slide(viewer, small_slide)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=60_000)
    return viewer, dock, layer
