"""The Slide dock: overview, magnification, facts, resolution."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLabel

from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.viewer.docks.place import PlaceLabel, place_text
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.session import session_of


@pytest.fixture
def dock(window, small_slide, add_slide):
    viewer = window
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


def test_missing_resolution_is_asked_for(window, data, add_slide, qtbot) -> None:
    viewer = window
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


def test_both_sides_of_pixels_that_are_not_square_are_shown_and_set(window, data, add_slide, qtbot) -> None:
    viewer = window
    add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    widget, session = show_dock(viewer, "Slide"), session_of(viewer)
    assert widget.mpp_y.isHidden() and not widget.mpp.prefix()
    session.set_mpp(session.active, (0.5, 0.25))
    assert not widget.mpp_y.isHidden()
    assert (widget.mpp_y.value(), widget.mpp.value()) == (0.5, 0.25)
    qtbot.mouseClick(widget.apply, Qt.MouseButton.LeftButton)
    assert session.active.slide.mpp == (0.5, 0.25), "it stays"
    widget.mpp.setValue(0.2)
    qtbot.mouseClick(widget.apply, Qt.MouseButton.LeftButton)
    assert session.active.slide.mpp == (0.5, 0.2)
    widget.mpp.setValue(0.5)
    qtbot.mouseClick(widget.apply, Qt.MouseButton.LeftButton)
    assert session.active.slide.mpp == (0.5, 0.5) and widget.mpp_y.isHidden()


def test_label_and_macro_have_a_window_on_request(window, cmu, add_slide, qtbot, small_slide) -> None:
    viewer = window
    add_slide(viewer, cmu)
    widget = show_dock(viewer, "Slide")
    assert widget.associated.text() == "Show label, macro, thumbnail" and widget._images is None
    qtbot.mouseClick(widget.associated, Qt.MouseButton.LeftButton)
    images = widget._images
    assert images.isVisible() and len(viewer.layers) == 1 and widget.associated.isChecked()
    pictures = [label for label in images.findChildren(QLabel) if not label.pixmap().isNull()]
    assert len(pictures) == 3 and all(0 < one.pixmap().width() <= 360 for one in pictures)
    qtbot.mouseClick(widget.associated, Qt.MouseButton.LeftButton)
    assert widget._images is None and not widget.associated.isChecked()
    qtbot.mouseClick(widget.associated, Qt.MouseButton.LeftButton)
    widget._images.close()
    assert not widget.associated.isChecked(), "closed by its own button"
    qtbot.mouseClick(widget.associated, Qt.MouseButton.LeftButton)
    add_slide(viewer, small_slide)
    assert widget._images is None, "what may name a patient does not stay beside another slide"


def test_the_place_of_the_mouse_is_told(dock) -> None:
    viewer, _ = dock
    slide = session_of(viewer).active.slide
    assert place_text(slide, 256 - 0.125, 512 - 0.125) == "x 512.0, y 256.0 µm  ·  2,048, 1,024 px"
    assert place_text(slide, -5, 5) == place_text(slide, 5, 1025) == ""
    label = viewer.window._qt_window.findChild(PlaceLabel)
    viewer.cursor.position = (256.0, 512.0)
    assert "µm" in label.text()
    show_dock(viewer, "Attention")
    assert len(viewer.window._qt_window.findChildren(PlaceLabel)) == 1


def test_another_slide_is_framed(dock, data, add_slide) -> None:
    viewer, _ = dock
    first = viewer.layers[0]
    viewer.scene.camera.zoom, viewer.scene.camera.center = 3.0, (0.0, 300.0, 400.0)
    second = add_slide(viewer, data / "slides" / "kidney-48-5_ihc_flat.tif")
    middle = np.mean(second.extent.world, axis=0)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], middle, rtol=0.01)
    height, width = np.ptp(second.extent.world, axis=0) * viewer.scene.camera.zoom
    assert max(height / viewer.canvas.size[0], width / viewer.canvas.size[1]) == pytest.approx(0.95, abs=0.03)
    viewer.layers.selection.active = first
    assert viewer.scene.camera.zoom == 3.0 and viewer.scene.camera.center[-2:] == (300.0, 400.0)


def test_no_slide_says_how_to_open_one(window, small_slide, add_slide) -> None:
    viewer = window
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


def test_colours_follow_the_profile_on_request(window, data, add_slide) -> None:
    viewer = window
    layer = add_slide(viewer, data / "slides" / "CMU-1-Small-Region_dicom")
    widget, entry = show_dock(viewer, "Slide"), session_of(viewer).active
    assert not widget.colours.isHidden() and not widget.colours.isChecked()
    stored, overview = np.asarray(layer.data[0]), entry.overview
    entry.tissue = object()
    widget.colours.setChecked(True)
    assert entry.slide.colour_managed and entry.tissue is None
    entry.slide._shown._converted = lambda pixels: 255 - pixels  # its own profile is sRGB already
    assert np.array_equal(np.asarray(layer.data[0]), 255 - stored)
    widget.colours.setChecked(False)
    assert np.array_equal(np.asarray(layer.data[0]), stored) and entry.overview is not overview


def test_a_slide_without_a_profile_offers_none(dock) -> None:
    assert dock[1].colours.isHidden()


def test_damage_is_told_once_it_was_seen(window, cmu, add_slide, tmp_path) -> None:
    path = tmp_path / "damaged.svs"
    path.write_bytes(cmu.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[34], tiff.pages[0].databytecounts[34]
    viewer = window
    layer = add_slide(viewer, path)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
    widget = show_dock(viewer, "Slide")
    assert "damaged" not in widget.facts.text()
    TILES.clear()
    np.asarray(layer.data[0])
    viewer.scene.camera.zoom = 3
    assert "1 damaged tile, read as background" in widget.facts.text()
