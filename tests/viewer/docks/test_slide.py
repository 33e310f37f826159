"""The Slide dock: overview, magnification, facts, resolution."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_zoommil.viewer.menus import show_dock
from napari_zoommil.viewer.session import session_of


@pytest.fixture
def dock(make_napari_viewer, small_slide, add_slide):
    viewer = make_napari_viewer()
    add_slide(viewer, small_slide)
    return viewer, show_dock(viewer, "Slide")


def test_facts_of_the_active_slide(dock) -> None:
    _, widget = dock
    assert widget.name.text() == "small.tif"
    assert "4,096 × 4,096 px" in widget.facts.text()
    assert "0.25 µm/px (40x)" in widget.facts.text()
    assert widget.mpp_row.isHidden() and widget.associated.isHidden()


@pytest.mark.parametrize("value", [1.25, 5, 40])
def test_magnification_buttons_zoom(dock, qtbot, value: float) -> None:
    viewer, widget = dock
    qtbot.mouseClick(widget.buttons[value], Qt.MouseButton.LeftButton)
    assert viewer.scene.camera.zoom == pytest.approx(value / 10)
    assert widget.magnification.text() == f"{value:g}x"


def test_a_click_on_the_map_goes_there(dock, qtbot) -> None:
    viewer, widget = dock
    widget.map.resize(200, 200)
    qtbot.mouseClick(widget.map, Qt.MouseButton.LeftButton, pos=QPoint(150, 50))
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], (256, 768), atol=8)  # 1024 µm over 200 px


def test_the_field_of_view_follows_the_camera(dock) -> None:
    viewer, widget = dock
    viewer.scene.camera.center = (0, 512, 256)
    viewer.scene.camera.zoom = 2
    field = widget.map._field
    assert field.y + field.height / 2 == pytest.approx(0.5)
    assert field.x + field.width / 2 == pytest.approx(0.25)
    assert field.width == pytest.approx(viewer.canvas.size[1] / 2 / 1024)


def test_missing_resolution_is_asked_for(make_napari_viewer, data, add_slide, qtbot) -> None:
    viewer = make_napari_viewer()
    add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    widget = show_dock(viewer, "Slide")
    assert not widget.mpp_row.isHidden()
    assert not widget.buttons[10].isEnabled()
    widget.mpp.setValue(0.5)
    qtbot.mouseClick(widget.apply, Qt.MouseButton.LeftButton)
    assert session_of(viewer).active.slide.mpp == (0.5, 0.5)
    assert widget.buttons[10].isEnabled()
    assert "0.5 µm/px (20x)" in widget.facts.text()
    widget.mpp.setValue(0.25)  # a slip of the hand can be mended
    qtbot.mouseClick(widget.apply, Qt.MouseButton.LeftButton)
    assert session_of(viewer).active.slide.mpp == (0.25, 0.25)


def test_label_and_macro_are_shown_on_request_only(make_napari_viewer, cmu, add_slide, qtbot) -> None:
    viewer = make_napari_viewer()
    add_slide(viewer, cmu)
    widget = show_dock(viewer, "Slide")
    assert len(viewer.layers) == 1
    qtbot.mouseClick(widget.associated, Qt.MouseButton.LeftButton)
    names = {layer.name for layer in viewer.layers}
    assert {"CMU-1-Small-Region · label", "CMU-1-Small-Region · macro"} <= names


def test_no_slide_says_how_to_open_one(make_napari_viewer, small_slide, add_slide) -> None:
    viewer = make_napari_viewer()
    widget = show_dock(viewer, "Slide")
    assert "Open" in widget.name.text()
    layer = add_slide(viewer, small_slide)
    assert widget.name.text() == "small.tif"
    viewer.layers.remove(layer)
    assert "Open" in widget.name.text()


def test_reopening_the_dock_does_not_pile_up_listeners(dock) -> None:
    viewer, widget = dock
    session = session_of(viewer)
    before = len(session.activated)
    viewer.window.remove_dock_widget(widget)
    assert len(session.activated) == before - 1
