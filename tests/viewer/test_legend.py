"""The legend on the canvas follows what is in sight."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.viewer.compat import canvas_widget
from napari_zoommil.viewer.layers.detections import show_cells
from napari_zoommil.viewer.layers.overlays import show_overlay
from napari_zoommil.viewer.legend import AWAY_PX, legends_of
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.session import session_of


def overlay(kind: str = "attention", target: str | None = None) -> Overlay:
    values = np.array([[1, 2, 3.0]], np.float32)
    return Overlay.of([HeatMap(values, (0, 0), (512, 512), None, 5, kind, target)], "raw")


def test_it_names_maps_and_the_classes_of_cells_that_are_visible(model, small_slide, add_slide) -> None:
    slide = slide_of(add_slide(model, small_slide))
    layer = show_overlay(model, slide, overlay("evidence", "tumour"), "before")
    classes = (CellClass("a", (255, 0, 0)), CellClass("b", (0, 0, 255)))
    detection = Detection("s", "f", "m", classes, Finds.together([]), 0.5, 1.0)
    cells = show_cells(model, slide, detection, "cells (yollo)")
    told = list(legends_of(model.layers))
    assert [one.title for one in told] == ["Cells (yollo)", "Evidence for tumour before"]
    assert [(key.text, key.colour, key.round) for key in told[0].keys] == [
        ("a", "#ff0000", True),
        ("b", "#0000ff", True),
    ]
    cells.visible = layer.visible = False
    assert list(legends_of(model.layers)) == []


def test_it_stands_in_a_corner_while_there_is_something_to_explain(
    make_napari_viewer, small_slide, add_slide, qtbot
) -> None:
    viewer = make_napari_viewer(show=True)
    session_of(viewer)
    canvas = canvas_widget(viewer)
    legend = canvas.findChild(QLabel, "zoommil-legend")
    slide = slide_of(add_slide(viewer, small_slide))
    assert legend.isHidden()
    layer = show_overlay(viewer, slide, overlay())
    qtbot.waitUntil(lambda: not legend.isHidden(), timeout=5000)
    first = legend.shown
    second = show_overlay(viewer, slide, overlay("zoom"))
    qtbot.waitUntil(lambda: len(legend.shown) == 2, timeout=5000)
    viewer.theme = "light"
    viewer.window.resize(900, 700)
    qtbot.waitUntil(lambda: legend.y() + legend.height() == canvas.height() - AWAY_PX, timeout=5000)
    assert legend.shown[1:] == first and not legend.isHidden()
    whole = legend.height()
    qtbot.mouseClick(legend, Qt.MouseButton.LeftButton)
    assert legend.folded and legend.height() < whole / 2 and legend.isVisible()
    assert legend.y() + legend.height() == canvas.height() - AWAY_PX
    qtbot.mouseClick(legend, Qt.MouseButton.LeftButton)
    assert legend.height() == whole
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: [one.title for one in legend.shown] == ["Zoom attention"], timeout=5000)
    second.visible = False
    qtbot.waitUntil(legend.isHidden, timeout=5000)


def test_layers_that_are_gone_are_let_go(window, small_slide, add_slide, qtbot) -> None:
    session_of(window)
    slide = slide_of(add_slide(window, small_slide))
    legend = canvas_widget(window).findChild(QLabel, "zoommil-legend")
    watched = len(legend._watched)
    layer = show_overlay(window, slide, overlay())
    assert len(legend._watched) == watched + 1
    window.layers.remove(layer)
    assert len(legend._watched) == watched and not legend._follower._undo[2:]


@pytest.mark.parametrize("active", ["slide", "overlay", "none"])
def test_one_key_hides_and_shows_overlays(window, small_slide, add_slide, qtbot, active: str) -> None:
    from qtpy.QtCore import Qt

    viewer = window
    session_of(viewer)
    base = add_slide(viewer, small_slide)
    layer = show_overlay(viewer, slide_of(base), overlay())
    by_hand = show_overlay(viewer, slide_of(base), overlay("zoom"))
    by_hand.visible = False
    viewer.layers.selection.active = {"slide": base, "overlay": layer, "none": None}[active]
    canvas = canvas_widget(viewer)
    for visible in (False, True, False):
        qtbot.keyClick(canvas, Qt.Key.Key_O)
        assert layer.visible is visible and base.visible and not by_hand.visible
