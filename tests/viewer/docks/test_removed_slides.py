"""A slide that is removed leaves the memory, whatever was done with it in whichever dock."""

from __future__ import annotations

import gc
import time
from typing import Any
from weakref import ref

import napari
from napari.layers import Image
from qtpy.QtWidgets import QApplication

from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.session import session_of


def process_events(seconds: float) -> None:
    """As a script does: outside of an event loop Qt takes no widget apart, and napari's hold layers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def use(viewer: napari.Viewer, docks: dict[str, Any], layer: Image) -> None:
    """Draw and mark, in three docks."""
    attention, annotate, detect = (docks[name] for name in ("Attention", "Annotate", "Detect cells"))
    while session_of(viewer).active.tissue is None:
        process_events(0.1)
    attention.add.click()
    detect.where.draw.click()
    annotate._place(True)
    annotate.current.view.place((100, 100))
    annotate._toggle_drawing(True)
    annotate._hide()
    viewer.layers.remove(annotate.current.regions.layer)
    layer.mode = "transform"


def test_a_removed_slide_is_given_up(make_napari_viewer, discs, add_slide, dock_names) -> None:
    viewer = make_napari_viewer()
    docks = {name: show_dock(viewer, name) for name in dock_names}
    for used in (True, False):
        layer = add_slide(viewer, discs[0])
        held = ref(slide_of(layer))
        if used:
            use(viewer, docks, layer)
        viewer.layers.remove(layer)
        del layer
        for _ in range(60):  # what is being worked out for it ends first
            process_events(0.5)
            gc.collect()
            if held() is None:
                break
        assert held() is None, "used" if used else "not used"
        assert len(viewer.layers) == 0
