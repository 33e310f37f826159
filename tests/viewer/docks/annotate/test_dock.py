"""The Annotate dock, by keys and clicks in a real window, down to the file."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Points, Shapes
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_zoommil.annotations import Points as Document
from napari_zoommil.annotations import autosave
from napari_zoommil.cells.model import Finds
from napari_zoommil.errors import AnnotationError
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides.patching import detect_tissue
from napari_zoommil.viewer import settings
from napari_zoommil.viewer.docks.annotate.slide_annotations import SlideAnnotations
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.drawing import NO_REGION
from napari_zoommil.viewer.layers.overlays import show_tissue
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.open_slide import DETECTION, ResultKey
from napari_zoommil.viewer.session import session_of

CENTRE = (2048.0, 2048.0)  # level-0 px


@pytest.fixture(autouse=True)
def reader(monkeypatch) -> None:
    monkeypatch.setattr(settings, "annotator", lambda: "reader")
    monkeypatch.setattr(settings, "set_annotator", lambda name: None)


@pytest.fixture
def path(small_slide: Path, tmp_path: Path) -> Path:
    """A slide of its own: annotations are written beside it."""
    return Path(shutil.copy(small_slide, tmp_path / "small.tif"))


@pytest.fixture
def opened(window, path, add_slide, qtbot):
    """Viewer at 40x on the centre of the slide, and the dock."""
    return annotating(window, path, add_slide, qtbot)


@pytest.fixture
def opened_alone(make_napari_viewer, path, add_slide, qtbot):
    """The same in a window that is new."""
    return annotating(make_napari_viewer(show=True), path, add_slide, qtbot)


def annotating(viewer, path, add_slide, qtbot):
    add_slide(viewer, path)
    dock = show_dock(viewer, "Annotate")
    viewer.scene.camera.zoom = 4
    viewer.scene.camera.center = (0, 512, 512)
    qtbot.wait(50)
    return viewer, dock


def canvas(viewer):
    return viewer.window._qt_viewer.canvas.native


def on_screen(viewer, y: float, x: float) -> QPoint:
    """Where a place in level-0 px is on the canvas."""
    height, width = viewer.canvas.size
    zoom = viewer.scene.camera.zoom
    _, cy, cx = viewer.scene.camera.center
    return QPoint(
        round(width / 2 + ((x - 0.5) * 0.25 - cx) * zoom), round(height / 2 + ((y - 0.5) * 0.25 - cy) * zoom)
    )


def click(qtbot, viewer, y: float, x: float) -> None:
    place = on_screen(viewer, y, x)
    qtbot.mouseMove(canvas(viewer), place)
    qtbot.mouseClick(canvas(viewer), Qt.MouseButton.LeftButton, pos=place)


def drag(qtbot, viewer, start: tuple[float, float], end: tuple[float, float]) -> None:
    widget, button = canvas(viewer), Qt.MouseButton.LeftButton
    first, last = on_screen(viewer, *start), on_screen(viewer, *end)
    qtbot.mousePress(widget, button, pos=first)
    for share in (0.3, 0.6, 1.0):
        step = first + (last - first) * share
        place = QPointF(step)
        modifiers = Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            place,
            widget.mapToGlobal(place),
            Qt.MouseButton.NoButton,
            button,
            modifiers,
        )
        QApplication.sendEvent(widget, event)
        qtbot.wait(40)  # vispy drops moves that come too soon
    qtbot.mouseRelease(widget, button, pos=last)


def key(qtbot, viewer, name, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    qtbot.keyClick(canvas(viewer), name, modifier)


CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def on_disk(dock) -> Document:
    return Document.read(dock.current.saved.path)


def same(dock) -> None:
    """Layer, document and file agree."""
    points, layer = dock.current.points, dock.current.view.layer
    rows = {id: row for row, id in enumerate(dock.current.view._ids)}
    order = [rows[id] for id in points.ids]
    assert len(layer.data) == len(points)
    np.testing.assert_allclose(layer.data[order], points.coordinates)
    colours = np.array([one.colour for one in points.classes])[points.labels - 1]
    np.testing.assert_allclose(layer.face_color[order][:, :3] * 255, colours, atol=0.5)
    sizes = np.array([one.diameter_um for one in points.classes])[points.labels - 1] / 0.25
    np.testing.assert_allclose(layer.size[order], sizes)
    found = on_disk(dock)
    assert found.classes == points.classes
    np.testing.assert_allclose(found.coordinates, points.coordinates)
    np.testing.assert_array_equal(found.labels, points.labels)


def test_opening_writes_nothing_and_offers_one_class(opened) -> None:
    viewer, dock = opened
    assert [one.name for one in dock.current.points.classes] == ["cell"]
    assert dock.classes.list.topLevelItem(0).text(2) == "cell" and dock.classes.diameter.isEnabled()
    assert not dock.current.saved.path.exists()
    assert "The first edit makes small.points.geojson, beside the slide" in dock.file.place.text()
    names = [layer.name for layer in viewer.layers]
    assert names == ["small", "small · regions", "small · points"]
    assert viewer.layers.selection.active is dock.current.view.layer


def test_points_by_key_and_click(opened, qtbot) -> None:
    viewer, dock = opened
    dock._edit("add_class", "lymphocyte")
    click(qtbot, viewer, *CENTRE)
    key(qtbot, viewer, "2")
    click(qtbot, viewer, 2148, 2148)
    points = dock.current.points
    np.testing.assert_allclose(points.coordinates, [CENTRE, (2148, 2148)], atol=1)
    assert points.labels.tolist() == [1, 2] and points.annotators == ["reader", "reader"]
    same(dock)
    assert dock.classes.list.topLevelItem(1).text(3) == "1"
    assert dock.slide.text() == "on small.tif\n2 points"
    assert "saved at each edit" in dock.file.place.text()


def test_keys_work_while_the_slide_is_the_active_layer(opened, qtbot) -> None:
    viewer, dock = opened
    dock._edit("add_class", "lymphocyte")
    click(qtbot, viewer, *CENTRE)
    viewer.layers.selection.active = slide = dock.current.entry.layer
    key(qtbot, viewer, "x")  # napari's: the point at the cursor is out of reach
    key(qtbot, viewer, "2")  # napari's is a tool that moves the slide
    assert viewer.layers.selection.active is dock.current.view.layer and slide.mode == "pan_zoom"
    click(qtbot, viewer, 2148, 2148)
    assert dock.current.points.labels.tolist() == [1, 2]
    viewer.layers.selection.active = slide
    key(qtbot, viewer, "z", CTRL)
    assert dock.current.points.labels.tolist() == [1]
    viewer.window.remove_dock_widget(dock)
    assert [str(each) for each in slide.keymap] == ["O"], "which hides overlays without any dock"


def test_points_lie_where_the_pixels_are(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    layer = dock.current.view.layer
    slide_layer = viewer.layers[0]
    world = layer.data_to_world(dock.current.points.coordinates[0])
    # level-0 px begin at whole numbers, where napari has the centres of its pixels
    np.testing.assert_allclose(slide_layer.world_to_data(world), dock.current.points.coordinates[0] - 0.5)


def test_a_click_on_a_point_selects_it_and_delete_removes_it(opened, qtbot) -> None:
    viewer, dock = opened
    for offset in (0, 100):
        click(qtbot, viewer, 2048, 2048 + offset)
    click(qtbot, viewer, 2050, 2050)
    assert len(dock.current.points) == 2 and dock.current.view.layer.selected_data == {0}
    viewer.cursor.position = (400, 400)
    key(qtbot, viewer, Qt.Key.Key_Delete)
    np.testing.assert_allclose(dock.current.points.coordinates, [(2048, 2148)], atol=1)
    same(dock)


@pytest.mark.parametrize("name", [Qt.Key.Key_Backspace, Qt.Key.Key_X])
def test_the_point_at_the_cursor_goes_before_the_selected_one(opened, qtbot, name) -> None:
    viewer, dock = opened
    for offset in (0, 100):
        click(qtbot, viewer, 2048, 2048 + offset)  # the second is selected now
    qtbot.mouseMove(canvas(viewer), on_screen(viewer, 2048, 2048))
    key(qtbot, viewer, name)
    np.testing.assert_allclose(dock.current.points.coordinates, [(2048, 2148)], atol=1)
    same(dock)


def test_nothing_to_delete_is_said(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, Qt.Key.Key_Delete)
    assert "No point" in dock.note.text()


def test_a_drag_moves_a_point_in_one_step(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    centre = viewer.scene.camera.center
    drag(qtbot, viewer, CENTRE, (2100, 2150))
    np.testing.assert_allclose(dock.current.points.coordinates, [(2100, 2150)], atol=1.5)
    assert viewer.scene.camera.center == centre
    same(dock)
    key(qtbot, viewer, "z", CTRL)
    np.testing.assert_allclose(dock.current.points.coordinates, [CENTRE], atol=1)
    same(dock)


def test_a_drag_elsewhere_moves_the_view(opened, qtbot) -> None:
    viewer, dock = opened
    centre = viewer.scene.camera.center
    drag(qtbot, viewer, CENTRE, (2100, 2150))
    assert len(dock.current.points) == 0 and viewer.scene.camera.center != centre


def test_undo_and_redo_go_through_the_document(opened, qtbot) -> None:
    viewer, dock = opened
    assert not dock.mark.undo.isEnabled() and "Nothing to undo" in dock.mark.undo.toolTip()
    for offset in (0, 100, 200):
        click(qtbot, viewer, 2048, 2048 + offset)
    key(qtbot, viewer, "z", CTRL)
    key(qtbot, viewer, "z", CTRL)
    assert len(dock.current.points) == 1
    same(dock)
    key(qtbot, viewer, "z", CTRL | SHIFT)
    assert len(dock.current.points) == 2
    qtbot.mouseClick(dock.mark.redo, Qt.MouseButton.LeftButton)
    assert len(dock.current.points) == 3 and not dock.mark.redo.isEnabled()
    assert "Ctrl+Z" in dock.mark.undo.toolTip()
    same(dock)


def test_a_click_outside_of_the_slide_is_refused(opened, qtbot) -> None:
    viewer, dock = opened
    viewer.scene.camera.center = (0, 0, 0)
    click(qtbot, viewer, -20, -20)
    assert len(dock.current.points) == 0 and "outside the slide" in dock.note.text()


def test_napari_tools_go_through_the_document(opened) -> None:
    _, dock = opened
    layer = dock.current.view.layer
    layer.add(np.array([(100, 100), (200, 200), (300, 300)]))
    assert len(dock.current.points) == 3
    same(dock)
    layer.selected_data = {1}
    layer.remove_selected()
    assert dock.current.points.coordinates[:, 0].tolist() == [100, 300]
    same(dock)
    layer.mode = "select"
    layer._move([1], (350, 340))
    layer._drag_start = None
    same(dock)
    dock._edit("undo")
    assert dock.current.points.coordinates.tolist() == [[100, 100], [300, 300]]
    same(dock)
    for _ in range(2):
        dock._edit("undo")
    assert len(dock.current.points) == 0 and len(layer.data) == 0


def test_data_set_as_a_whole_are_taken_back(opened) -> None:
    _, dock = opened
    layer = dock.current.view.layer
    layer.add(np.array([(100, 100), (200, 200)]))
    layer.data = np.zeros((5, 2))
    same(dock)
    layer.data = np.empty((0, 2))
    same(dock)
    assert len(layer.data) == 2


def test_classes_by_hand(opened, qtbot, monkeypatch) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    dock.classes.list.renamed.emit(1, "tumour")
    dock.classes.list.recoloured.emit(1, (1, 2, 3))
    dock.classes.diameter.setValue(20)
    qtbot.mouseClick(dock.classes.add, Qt.MouseButton.LeftButton)
    points = dock.current.points
    assert [one.name for one in points.classes] == ["tumour", "class 2"]
    assert points.classes[0].colour == (1, 2, 3) and points.classes[0].diameter_um == 20
    assert dock.current.view.label == 2 and dock.mark.placing.text() == "Placing: class 2"
    same(dock)
    dock._choose(1)
    qtbot.mouseClick(dock.classes.drop, Qt.MouseButton.LeftButton)
    assert [one.name for one in points.classes] == ["class 2"] and len(points) == 0
    assert "tumour is gone with 1 point" in dock.note.text()
    qtbot.mouseClick(dock.mark.undo, Qt.MouseButton.LeftButton)
    assert len(points) == 1
    same(dock)


def test_a_name_that_is_taken_is_refused(opened) -> None:
    _, dock = opened
    dock._edit("add_class", "tumour")
    dock.classes.list.topLevelItem(1).setText(2, "cell")
    assert "there is a class cell already" in dock.note.text()
    assert dock.classes.list.topLevelItem(1).text(2) == "tumour"


def test_a_class_that_is_not_there_is_said(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, "7")
    assert "no class 7" in dock.note.text() and dock.current.view.label == 1


def test_without_classes_a_click_makes_one(opened, qtbot) -> None:
    viewer, dock = opened
    dock.classes.drop.click()
    assert dock.classes.list.topLevelItemCount() == 0 and not dock.classes.drop.isEnabled()
    click(qtbot, viewer, *CENTRE)
    assert [one.name for one in dock.current.points.classes] == ["cell"] and len(dock.current.points) == 1
    same(dock)


def test_r_gives_another_class(opened, qtbot) -> None:
    viewer, dock = opened
    dock._edit("add_class", "lymphocyte")
    click(qtbot, viewer, *CENTRE)
    key(qtbot, viewer, "2")
    key(qtbot, viewer, "r")
    assert dock.current.points.labels.tolist() == [2]
    same(dock)


def test_h_hides_overlays_and_brings_them_back(opened, qtbot) -> None:
    viewer, dock = opened
    slide = dock.current.entry.slide
    tissue = show_tissue(viewer, slide, detect_tissue(slide))
    off = viewer.add_image(np.zeros((4, 4)), name="off", metadata=dict(tissue.metadata), visible=False)
    viewer.layers.selection.active = dock.current.view.layer
    key(qtbot, viewer, "h")
    assert not tissue.visible and viewer.layers[0].visible and dock.current.view.layer.visible
    assert "H brings them back" in dock.note.text()
    key(qtbot, viewer, "h")
    assert tissue.visible and not off.visible


def test_n_flies_to_the_most_uncertain_detection(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, "n")
    assert "No detections" in dock.note.text()
    centres = np.array([(400, 800), (1000, 2000), (3000, 1000)], float)
    finds = Finds(np.hstack([centres - 9, centres + 9]), np.array([0.99, 0.52, 0.3]), np.ones(3, np.int64))
    classes = dock.current.points.classes
    found = Detection("small.tif", "", "test", classes, finds, 0.5, 1.0)
    dock._session.keep(dock.current.entry, ResultKey(DETECTION, "test"), found)
    viewer.scene.camera.zoom = 0.5
    places = []
    for name, modifier in (("n", None), ("n", None), ("n", SHIFT)):
        key(qtbot, viewer, name, *([modifier] if modifier else []))
        places.append(np.array(viewer.scene.camera.center[-2:]) / 0.25)
    np.testing.assert_allclose(places, [(1000, 2000), (3000, 1000), (1000, 2000)])
    assert viewer.scene.camera.zoom == 2  # 20x
    assert dock.note.text() == "Detection 1 of 3, score 0.52"
    dock.current.entry.threshold = 0.95
    key(qtbot, viewer, "n")
    assert dock.note.text() == "Detection 1 of 3, score 0.99"
    dock._session.forget(dock.current.entry, ResultKey(DETECTION, "test"))
    key(qtbot, viewer, "n")
    assert "No detections" in dock.note.text()


def test_c_draws_a_complete_region(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, "c")
    regions = dock.current.regions
    assert regions.drawing and dock.mark.complete.isChecked() and not dock.mark.placing.isChecked()
    for y, x in ((1900, 1900), (1900, 2200), (2200, 2200), (2200, 1900)):
        click(qtbot, viewer, y, x)
    qtbot.mouseDClick(canvas(viewer), Qt.MouseButton.LeftButton, pos=on_screen(viewer, 2200, 1900))
    qtbot.waitUntil(lambda: len(dock.current.points.complete) == 1, timeout=3000)
    (outline,) = dock.current.points.complete.values()
    assert len(outline) == 4 and len(regions.layer.data) == 1
    np.testing.assert_allclose(outline.max(axis=0), (2200, 2200), atol=8)
    assert not regions.drawing and dock.mark.placing.isChecked()
    assert "1 region (1 complete)" in dock.slide.text()
    same(dock)
    key(qtbot, viewer, "z", CTRL)
    assert len(regions.layer.data) == 0 and not dock.current.points.complete


def test_regions_changed_with_naparis_tools(opened, qtbot) -> None:
    _, dock = opened
    points, layer = dock.current.points, dock.current.regions.layer
    square = np.array([(0.0, 0), (0, 90), (90, 90), (90, 0)])
    points.add_complete(square)
    points.add_complete(square + 200)
    assert len(layer.data) == 2
    layer.selected_data = {0}
    layer.remove_selected()
    qtbot.waitUntil(lambda: len(points.complete) == 1)
    (outline,) = points.complete.values()
    assert outline.min() == 200 and len(layer.data) == 1
    layer.add_polygons(square + 300)
    qtbot.waitUntil(lambda: len(points.regions) == 2)
    told = len(notification_manager.records)
    layer.add_lines(np.array([(0, 0), (10, 10)]))
    qtbot.waitUntil(lambda: len(layer.data) == 2)
    assert NO_REGION in notification_manager.records[told].message
    assert len(points.regions) == 2 and len(points.complete) == 1


SQUARE = np.array([(1900.0, 1900), (1900, 2200), (2200, 2200), (2200, 1900)])
BESIDE = np.add(SQUARE, (0, 400))


@pytest.fixture
def regions(opened):
    """A complete region in sight, and a second one; the layer is the active one."""
    viewer, dock = opened
    ids = [dock.current.points.add_complete(square) for square in (SQUARE, BESIDE)]
    viewer.layers.selection.active = dock.current.regions.layer
    return viewer, dock, ids


def test_dragging_a_vertex_is_one_step(regions, qtbot) -> None:
    viewer, dock, (id, other) = regions
    points, layer = dock.current.points, dock.current.regions.layer
    layer.mode = "direct"
    layer.selected_data = {0}
    drag(qtbot, viewer, (2200, 2200), (2100, 2300))
    moved = [*SQUARE[:2], (2100, 2300), SQUARE[3]]
    qtbot.waitUntil(lambda: np.allclose(points.complete[id], moved, atol=1.5))
    assert list(points.complete) == [id, other] and layer.mode == "direct"
    same(dock)
    key(qtbot, viewer, "z", CTRL)
    for shown in (points.complete[id], layer.data[-1][:-1], on_disk(dock).complete[id]):
        np.testing.assert_array_equal(shown, SQUARE)
    key(qtbot, viewer, "z", CTRL | SHIFT)
    np.testing.assert_allclose(layer.data[-1][:-1], moved, atol=1.5)


def test_dragging_and_deleting_several_regions_are_one_step_each(regions, qtbot) -> None:
    viewer, dock, ids = regions
    points, layer = dock.current.points, dock.current.regions.layer
    layer.mode = "select"
    layer.selected_data = {0, 1}
    drag(qtbot, viewer, (1900, 2050), (1950, 2050))
    qtbot.waitUntil(lambda: not np.array_equal(points.complete[ids[0]], SQUARE))
    for id, square in zip(ids, (SQUARE, BESIDE), strict=True):
        np.testing.assert_allclose(points.complete[id], np.add(square, (50, 0)), atol=1.5)
    dock._edit("undo")
    np.testing.assert_array_equal(list(points.complete.values()), [SQUARE, BESIDE])
    layer.selected_data = {0, 1}
    layer.remove_selected()
    qtbot.waitUntil(lambda: not points.complete)
    dock._edit("undo")
    assert list(points.complete) == ids and len(layer.data) == 2


def test_a_triangle_that_loses_a_vertex_is_gone(opened, qtbot) -> None:
    viewer, dock = opened
    points, layer = dock.current.points, dock.current.regions.layer
    points.add_complete(SQUARE[:3])
    viewer.layers.selection.active = layer
    layer.mode = "vertex_remove"
    layer.selected_data = {0}
    click(qtbot, viewer, 2200, 2200)
    qtbot.waitUntil(lambda: not points.complete)
    dock._edit("undo")
    assert len(points.complete) == len(layer.data) == 1


def test_c_again_stops_drawing(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, "c")
    key(qtbot, viewer, "c")
    assert not dock.current.regions.drawing and viewer.layers.selection.active is dock.current.view.layer


def test_the_help_sheet_opens_and_closes(opened, qtbot) -> None:
    viewer, dock = opened
    key(qtbot, viewer, Qt.Key.Key_F1)
    assert dock.help.isVisible()
    key(qtbot, viewer, Qt.Key.Key_F1)
    assert not dock.help.isVisible()
    dock._sign.activated.emit()
    assert dock.help.isVisible()
    qtbot.keyClick(dock.help, Qt.Key.Key_Escape)
    assert not dock.help.isVisible()
    assert dock._sign.isEnabled()
    viewer.layers.selection.active = viewer.layers[0]
    assert dock._sign.isEnabled(), "the slide's keys are those of annotation"
    viewer.layers.selection.active = viewer.add_points(np.zeros((1, 2)))
    assert not dock._sign.isEnabled()


def test_other_layers_keep_their_keys(opened, qtbot) -> None:
    viewer, dock = opened
    dock._edit("add_class", "lymphocyte")
    other = viewer.add_points(np.zeros((1, 2)))
    key(qtbot, viewer, "2")  # napari's key for adding
    assert other.mode == "add" and dock.current.view.label == 1


def test_p_brings_placing_back_and_placing_stops(opened, qtbot) -> None:
    viewer, dock = opened
    qtbot.mouseClick(dock.mark.placing, Qt.MouseButton.LeftButton)
    assert dock.mark.placing.text() == "Place points"
    click(qtbot, viewer, *CENTRE)
    assert len(dock.current.points) == 0
    key(qtbot, viewer, "p")
    assert dock.mark.placing.isChecked()
    click(qtbot, viewer, *CENTRE)
    assert len(dock.current.points) == 1
    same(dock)


def test_another_reader_is_merged(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    other = Document.read(dock.current.saved.path, "other")
    other.add((500, 500), 1)
    other.write(dock.current.saved.path)
    click(qtbot, viewer, 2148, 2148)
    assert sorted(set(dock.current.points.annotators)) == ["other", "reader"]
    assert len(dock.current.points) == 3
    assert "Merged" in dock.note.text()
    same(dock)


def test_another_readers_points_come_when_the_window_is_looked_at(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    other = Document.read(dock.current.saved.path, "other")
    other.add((500, 500), 1)
    other.write(dock.current.saved.path)
    dock._catch_up()
    assert len(dock.current.points) == 2
    same(dock)


def test_a_disk_that_fails_is_told_and_nothing_is_lost(opened, qtbot, monkeypatch) -> None:
    viewer, dock = opened

    def full(*_):
        raise AnnotationError("small.points.geojson cannot be written (No space left on device)")

    before = len(notification_manager.records)
    with monkeypatch.context() as patched:
        patched.setattr(autosave, "write_file", full)
        click(qtbot, viewer, *CENTRE)
        click(qtbot, viewer, 2148, 2148)
    assert "Not saved" in dock.note.text() and "No space left" in dock.note.text()
    assert len(notification_manager.records) == before + 1
    click(qtbot, viewer, 2248, 2248)
    assert dock.note.text() == "" and len(on_disk(dock)) == 3


def test_a_malformed_file_is_told_and_left_alone(window, path, add_slide) -> None:
    file = path.with_name("small.points.geojson")
    file.write_text("{ not json")
    viewer = window
    add_slide(viewer, path)
    dock = show_dock(viewer, "Annotate")
    assert "small.points.geojson" in dock.note.text()
    assert dock.current is None and not dock.mark.placing.isEnabled()
    assert file.read_text() == "{ not json" and len(viewer.layers) == 1


def test_only_the_active_slides_points_are_in_sight(opened, other_slide, add_slide, tmp_path, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    first = dock.current
    add_slide(viewer, Path(shutil.copy(other_slide, tmp_path / "other.tif")))
    second = dock.current
    assert second is not first and len(second.points) == 0
    assert not first.view.layer.visible and second.view.layer.visible
    viewer.layers.selection.active = first.entry.layer
    assert dock.current is first and first.view.layer.visible and not second.view.layer.visible
    assert dock.slide.text() == "on small.tif\n1 point"
    key(qtbot, viewer, "z", CTRL)
    assert len(first.points) == 0


def test_what_was_marked_is_there_again(opened, path, add_slide, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    viewer.layers.remove(viewer.layers[0])
    assert dock.current is None and len(viewer.layers) == 0
    assert dock.slide.text() == "Open a slide first"
    add_slide(viewer, path)
    assert len(dock.current.points) == 1 and len(dock.current.view.layer.data) == 1
    same(dock)


def test_a_resolution_that_is_given_later(window, data, add_slide, tmp_path, qtbot) -> None:
    path = Path(shutil.copy(data / "slides" / "yb10kx5k.zstd.tiff", tmp_path / "bare.tiff"))
    viewer = window
    add_slide(viewer, path)
    dock = show_dock(viewer, "Annotate")
    dock.current.view.place((1000, 1000))
    session = session_of(viewer)
    session.set_mpp(session.active, 0.5)
    layer = dock.current.view.layer
    assert layer in viewer.layers and dock.current.regions.layer in viewer.layers
    np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    assert len(layer.data) == 1 and layer.size[0] == pytest.approx(24)
    dock._edit("undo")
    assert len(layer.data) == 0
    assert len([one for one in viewer.layers if isinstance(one, (Points, Shapes))]) == 2


def test_a_layer_taken_away_comes_back(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    viewer.layers.remove(dock.current.view.layer)
    dock._choose(1)
    assert len(dock.current.view.layer.data) == 1
    click(qtbot, viewer, 2148, 2148)
    same(dock)


def test_closing_the_dock_leaves_what_is_marked_in_sight(opened, qtbot) -> None:
    viewer, dock = opened
    click(qtbot, viewer, *CENTRE)
    entry, session, view = dock.current.entry, session_of(viewer), dock.current.view
    before, heard = len(session.activated), len(session.document_changed)
    viewer.window.remove_dock_widget(dock)
    assert len(session.activated) == before - 1 and len(session.document_changed) == heard - 1
    assert view.layer in viewer.layers and view.layer.mode == "pan_zoom" and "X" not in view.layer.keymap
    view.layer.add(np.array([(100, 100)]))
    assert len(Document.read(entry.document.path)) == 2, "an edit is saved without any dock"
    viewer.layers.selection.active = view.layer
    again = show_dock(viewer, "Annotate")
    assert again.current.view is view
    key(qtbot, viewer, "z", CTRL)
    assert len(again.current.points) == 1


def test_closing_the_dock_takes_empty_layers_away(opened) -> None:
    viewer, dock = opened
    file = dock.current.saved.path
    viewer.window.remove_dock_widget(dock)
    assert [type(layer) for layer in viewer.layers] == [Image] and not file.exists()


def test_a_closed_dock_is_forgotten(opened_alone, qtbot) -> None:
    viewer, dock = opened_alone
    click(qtbot, viewer, *CENTRE)
    assert isinstance(dock.current, SlideAnnotations)
    held: list[weakref.ref] = [weakref.ref(dock.current), weakref.ref(dock.current.points)]
    viewer.window.remove_dock_widget(dock)
    del dock
    qtbot.wait(20)
    gc.collect()
    assert held[0]() is None and held[1]() is not None
    viewer.layers.remove(viewer.layers[0])
    qtbot.wait(20)
    gc.collect()
    assert held[1]() is None, "the document goes with its slide"


def test_the_annotator_is_written(opened, qtbot) -> None:
    viewer, dock = opened
    dock.file.name.setText("Dr Who")
    dock.file.name.editingFinished.emit()
    click(qtbot, viewer, *CENTRE)
    assert dock.current.points.annotators == ["Dr Who"]
    text = json.loads(dock.current.saved.path.read_text())
    assert "Dr Who" in json.dumps(text)


def test_the_slide_is_that_of_the_layers(opened) -> None:
    viewer, _ = opened
    assert len({id(slide_of(layer)) for layer in viewer.layers}) == 1


def test_points_of_another_file_are_taken_in_as_one_step(opened, qtbot, tmp_path, monkeypatch) -> None:
    _, dock = opened
    points = dock.current.points
    had = points.counts
    source, other = tmp_path / "theirs.geojson", Document("them")
    other.add([(300, 300), (400, 500)], other.add_class("mitosis"))
    other.add_complete([(200, 200), (200, 600), (600, 600)])
    other.write(source)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(source), ""))
    qtbot.mouseClick(dock.file.take_in, Qt.MouseButton.LeftButton)
    assert points.counts == had | {"mitosis": 2} and len(points.complete) == 1
    assert points.annotators == ["them", "them"] and dock.note.text() == (
        "1 region, 2 points of theirs.geojson added"
    )
    qtbot.mouseClick(dock.file.take_in, Qt.MouseButton.LeftButton)
    assert dock.note.text() == ("0 regions, 0 points of theirs.geojson added"), "they are known by their ids"
    points.undo()
    assert points.counts == had


def test_a_malformed_file_changes_nothing(opened, tmp_path) -> None:
    _, dock = opened
    before = dock.current.points.to_bytes()
    (tmp_path / "a.geojson").write_text("{")
    dock._take_in(tmp_path / "a.geojson")
    assert "a.geojson" in dock.note.text() and dock.current.points.to_bytes() == before


def outline(qtbot, viewer, corners) -> None:
    """Click on corners; the last one ends the region."""
    for y, x in corners:
        click(qtbot, viewer, y, x)
    last = on_screen(viewer, *corners[-1])
    qtbot.mouseDClick(canvas(viewer), Qt.MouseButton.LeftButton, pos=last)


def test_a_region_of_a_class_is_drawn_selected_given_another_class_and_deleted(opened, qtbot) -> None:
    viewer, dock = opened
    points = dock.current.points
    points.add_class("tumour", (200, 0, 0))
    dock._choose(2)
    key(qtbot, viewer, "g")
    assert dock.mark.region.isChecked() and not dock.mark.complete.isChecked()
    outline(qtbot, viewer, SQUARE)
    qtbot.waitUntil(lambda: len(points.regions) == 1, timeout=3000)
    (id,) = points.regions
    assert points.regions[id].class_name == "tumour" and not points.complete
    assert "1 region" in dock.slide.text() and dock.classes.list.topLevelItem(1).text(4) == "1"
    mm2 = float(dock.classes.list.topLevelItem(1).text(5))
    assert mm2 == pytest.approx(300 * 300 * 0.25**2 / 1e6, rel=0.1)

    qtbot.mouseClick(dock.mark.select, Qt.MouseButton.LeftButton)
    click(qtbot, viewer, 2050, 2050)  # inside, not on the outline
    qtbot.waitUntil(lambda: dock.current.regions.selected == [id])
    assert dock.note.text().startswith("1 region selected: tumour, 0.00")
    dock._choose(1)
    assert dock.current.regions.selected == [id], "choosing a class is not the end of it"
    qtbot.mouseClick(dock.mark.relabel, Qt.MouseButton.LeftButton)
    assert points.regions[id].class_name == "cell"
    assert on_disk(dock).regions[id].class_name == "cell"
    assert dock.current.regions.selected == [id]
    qtbot.mouseClick(dock.mark.remove, Qt.MouseButton.LeftButton)
    assert not points.regions
    key(qtbot, viewer, "z", CTRL)
    key(qtbot, viewer, "z", CTRL)
    assert points.regions[id].class_name == "tumour"


def test_another_class_while_drawing_is_that_of_the_region(opened, qtbot) -> None:
    viewer, dock = opened
    points = dock.current.points
    points.add_class("tumour", (200, 0, 0))
    key(qtbot, viewer, "g")
    key(qtbot, viewer, "2")
    assert dock.mark.region.isChecked()
    outline(qtbot, viewer, SQUARE)
    qtbot.waitUntil(lambda: len(points.regions) == 1, timeout=3000)
    assert next(iter(points.regions.values())).class_name == "tumour"


def test_xml_is_imported_and_what_came_in_is_said(opened, qtbot, tmp_path, data, monkeypatch) -> None:
    viewer, dock = opened
    points = dock.current.points
    dock._take_in(data / "interop" / "tumor_009.xml")
    assert dock.note.text() == (
        "6 regions of 1 class, 0 points of tumor_009.xml added; 6 of the regions lie off this slide: "
        "were they drawn on another one?"
    )
    assert len(points.regions) == 6 and len(on_disk(dock).regions) == 6
    key(qtbot, viewer, "z", CTRL)
    assert not points.regions
    target = tmp_path / "out"
    points.add_region(SQUARE, 1)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    qtbot.mouseClick(dock.file.give, Qt.MouseButton.LeftButton)
    assert list(Document.read(tmp_path / "out.geojson").regions) == list(points.regions)
    assert dock.note.text() == "0 points, 1 region written to out.geojson"


def test_a_large_file_is_read_beside_the_window(opened, qtbot, tmp_path, monkeypatch) -> None:
    _, dock = opened
    other = Document()
    other.add_class("tumour")
    for n in range(3):
        other.add_region(np.add(SQUARE, n), 1)
    other.write(tmp_path / "many.geojson")
    monkeypatch.setattr("napari_zoommil.viewer.docks.annotate.importing.LARGE_BYTES", 1)
    dock._take_in(tmp_path / "many.geojson")
    assert not dock.current.points.regions
    dock._take_in(tmp_path / "many.geojson")
    assert "is being read; wait" in dock.note.text()
    qtbot.waitUntil(lambda: len(dock.current.points.regions) == 3, timeout=10_000)
    assert dock.note.text() == "3 regions of 1 class, 0 points of many.geojson added"
    (tmp_path / "bad.geojson").write_text("{")
    dock._take_in(tmp_path / "bad.geojson")
    qtbot.waitUntil(lambda: "bad.geojson cannot be read" in dock.note.text(), timeout=10_000)
