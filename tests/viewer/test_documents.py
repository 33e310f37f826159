"""Documents belong to the session: points appear without any dock, and opening writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_zoommil.annotations import Points
from napari_zoommil.viewer import documents
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.stranger_question import StrangerQuestion

SQUARE = np.array([(100.0, 100), (100, 200), (200, 200), (200, 100)])


@pytest.fixture
def path(small_slide: Path, tmp_path: Path) -> Path:
    """A slide of its own, which nobody has annotated."""
    return Path(shutil.copy(small_slide, tmp_path / "small.tif"))


@pytest.fixture
def annotated(path: Path) -> Path:
    """The same with 3 points and a complete region."""
    points = Points("them")
    points.add([(300, 300), (400, 500), (600, 700)], points.add_class("tumour"))
    points.add_complete(SQUARE)
    points.write(path.with_name("small.points.geojson"))
    return path


def opened(add_slide, path: Path) -> tuple:
    viewer = ViewerModel()
    session = session_of(viewer)
    heard: list = []
    session.document_changed.connect(lambda entry, changed: heard.append((entry, changed)))
    add_slide(viewer, path)
    return viewer, session.active, heard


def test_annotations_appear_with_their_slide(annotated, add_slide, qapp) -> None:
    viewer, entry, heard = opened(add_slide, annotated)
    assert [layer.name for layer in viewer.layers] == ["small", "small · regions", "small · points"]
    np.testing.assert_allclose(entry.annotations.view.layer.data, [(300, 300), (400, 500), (600, 700)])
    assert len(entry.annotations.regions.layer.data) == 1
    assert [(one, changed.classes) for one, changed in heard] == [(entry, True)]


def test_opening_a_slide_that_nobody_annotated_makes_no_layer_and_no_file(path, add_slide, qapp) -> None:
    viewer, entry, _ = opened(add_slide, path)
    assert len(viewer.layers) == 1 and entry.annotations is None and entry.document is not None
    assert [one.name for one in path.parent.iterdir()] == ["small.tif"]
    entry.document.points.add((300, 300), 1)
    assert len(viewer.layers) == 3 and len(entry.annotations.view.layer.data) == 1
    assert len(Points.read(entry.document.path)) == 1


def test_a_large_file_is_read_beside_the_window(annotated, add_slide, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(documents, "LARGE_BYTES", 10)
    viewer, entry, heard = opened(add_slide, annotated)
    assert entry.document is None and len(viewer.layers) == 1
    qtbot.waitUntil(lambda: entry.document is not None)
    assert len(entry.annotations.view.layer.data) == 3 and len(heard) == 1


def test_a_slide_that_goes_while_its_file_is_read_gets_no_document(
    annotated, add_slide, qtbot, monkeypatch
) -> None:
    monkeypatch.setattr(documents, "LARGE_BYTES", 10)
    viewer, entry, heard = opened(add_slide, annotated)
    viewer.layers.remove(entry.layer)
    qtbot.wait(200)
    assert entry.document is None and len(viewer.layers) == 0 and heard == []


def test_another_resolution_moves_the_layers(annotated, add_slide, qapp) -> None:
    viewer, entry, _ = opened(add_slide, annotated)
    session_of(viewer).set_mpp(entry, 0.5)
    for layer in entry.annotations.layers:
        assert layer in viewer.layers
        np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    assert len(entry.annotations.view.layer.data) == 3 and len(viewer.layers) == 3


def test_points_of_a_slide_out_of_sight_are_so_too(
    annotated, other_slide, add_slide, qtbot, monkeypatch
) -> None:
    monkeypatch.setattr(documents, "LARGE_BYTES", 10)
    viewer, entry, _ = opened(add_slide, annotated)
    add_slide(viewer, other_slide)
    qtbot.waitUntil(lambda: entry.annotations is not None)
    assert not any(layer.visible for layer in entry.annotations.layers)
    viewer.layers.selection.active = entry.layer
    assert all(layer.visible for layer in entry.annotations.layers)


def test_a_malformed_file_is_told_once_and_left_alone(path, add_slide, qapp) -> None:
    file = path.with_name("small.points.geojson")
    file.write_text("{ not json")
    before = len(notification_manager.records)
    viewer, entry, _ = opened(add_slide, path)
    session_of(viewer).documents.open(entry)
    assert entry.document is None and len(notification_manager.records) == before + 1
    assert file.name in session_of(viewer).documents.problems[entry]
    assert file.read_text() == "{ not json" and len(viewer.layers) == 1


def test_what_somebody_else_writes_is_taken_over_and_told(annotated, add_slide, qapp) -> None:
    viewer, entry, heard = opened(add_slide, annotated)
    held = session_of(viewer).documents
    said: list = []
    held.said.connect(lambda _, text: said.append(text))
    theirs = Points.read(entry.document.path, "them")
    theirs.add((900, 900), 1)
    theirs.write(entry.document.path)
    held.refresh(entry)
    assert len(entry.annotations.view.layer.data) == 4 and said == ["Merged with what somebody else wrote."]
    assert len(heard[-1][1].added) == 1


def destroy(question: StrangerQuestion) -> None:
    """Destroy a question, as the end of its window does, without closing it."""
    question.deleteLater()
    QCoreApplication.sendPostedEvents(question, QEvent.Type.DeferredDelete)


@pytest.fixture
def asked(annotated, add_slide, qtbot, monkeypatch) -> tuple:
    """An open slide whose document was replaced by a stranger's with one point, and the question."""
    pane = QWidget()
    qtbot.addWidget(pane)
    monkeypatch.setattr(documents, "canvas_widget", lambda _: pane)
    viewer, entry, _ = opened(add_slide, annotated)
    theirs = Points("them")
    theirs.add((900, 900), theirs.add_class("<img src=x>"))
    theirs.write(entry.document.path)
    held = session_of(viewer).documents
    said: list = []
    held.said.connect(lambda _, text: said.append(text))
    held.refresh(entry)
    question = pane.findChild(StrangerQuestion)
    assert question.isVisible() and not question.isModal() and "3 points" in question.text()
    assert all(
        one.textFormat() == Qt.TextFormat.PlainText for one in question.findChildren(QLabel) if one.text()
    )
    yield viewer, entry, question, said


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Escape])
def test_by_default_a_stranger_is_kept_aside(asked, qtbot, key) -> None:
    _, entry, question, _ = asked
    with qtbot.waitSignal(question.decided) as heard:
        qtbot.keyClick(question, key)
    assert heard.args == ["mine"]
    assert len(Points.read(entry.document.path)) == len(entry.annotations.view.layer.data) == 3
    assert len(list(entry.document.path.parent.glob("*.other-1.geojson"))) == 1


@pytest.mark.parametrize(("choice", "count"), [("theirs", 1), ("both", 4)])
def test_a_stranger_is_taken_if_the_user_says_so(asked, qtbot, choice, count) -> None:
    _, entry, question, said = asked
    button = next(one for one, means in question._choices.items() if means == choice)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    for points in (entry.document.points, Points.read(entry.document.path)):
        assert len(points) == count
    assert len(entry.annotations.view.layer.data) == count and "Undo" in said[-1]
    entry.document.points.undo()
    assert len(entry.annotations.view.layer.data) == 3


def test_the_question_goes_with_its_slide(asked) -> None:
    viewer, entry, question, said = asked
    viewer.layers.remove(entry.layer)
    assert not question.isVisible() and len(said) == 1


def test_closing_the_question_keeps_ours(asked, qtbot) -> None:
    viewer, entry, question, _ = asked
    with qtbot.waitSignal(question.decided) as heard, qtbot.waitSignal(question.destroyed):
        question.close()
    assert heard.args == ["mine"]
    viewer.layers.remove(entry.layer)
    assert entry.document is None and len(viewer.layers) == 0


def test_a_slide_can_be_removed_after_the_window_of_its_question(asked) -> None:
    viewer, entry, question, _ = asked
    destroy(question)
    viewer.layers.remove(entry.layer)
    assert entry.document is None and len(viewer.layers) == 0


def test_a_question_that_is_gone_is_asked_again_of_the_next_stranger(asked) -> None:
    _, entry, question, said = asked
    destroy(question)
    theirs = Points("others")
    theirs.add((800, 800), theirs.add_class("other"))
    theirs.write(entry.document.path)
    entry.document.refresh()
    assert len(said) == 2 and len(entry.document.points) == 3


def test_the_document_of_a_removed_slide_is_let_go(annotated, add_slide, qapp) -> None:
    viewer, entry, _ = opened(add_slide, annotated)
    points = entry.document.points
    viewer.layers.remove(entry.layer)
    assert len(viewer.layers) == 0 and entry.document is None and len(points.changed) == 0
