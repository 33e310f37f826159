"""The Cohort dock in a window: a cohort of two slides, predicted, filtered, opened and exported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_zoommil.jobs.cohort import Answer
from napari_zoommil.models.task import Classification
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.tabs import dock_of
from napari_zoommil.viewer.layers.overlays import MAP
from napari_zoommil.viewer.metadata import slide_of

MINUTE = 60_000


def drop(dock, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    action, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    dock.dropEvent(QDropEvent(QPointF(50, 50), action, data, left, Qt.KeyboardModifier.NoModifier))


def settle(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: not (dock._opening.running or dock._looking.running), timeout=MINUTE)
    qtbot.wait(120)


@pytest.fixture
def folder(tmp_path, small_slide, other_slide) -> Path:
    """Two slides, one with a tumour, a damaged one, and a table of them."""
    for source in (small_slide, other_slide):
        (tmp_path / source.name).symlink_to(source)
    (tmp_path / "broken.svs").write_bytes(b"no slide")
    lines = ("slide,label,split", "small.tif,normal,test", "other.tif,tumour,val", "broken.svs,normal,test")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    return tmp_path


def test_from_a_dropped_table_to_the_next_error(make_napari_viewer, qtbot, folder, monkeypatch) -> None:
    viewer = make_napari_viewer(show=True)
    dock = show_dock(viewer, "Cohort")
    assert not dock.act.button.isEnabled() and dock.act.button.toolTip() == "Open a cohort first"
    drop(dock, folder / "cohort.csv")
    settle(qtbot, dock)
    assert dock.source.told.text() == "cohort.csv: 3 slides, 2 labels"
    assert "No labelled slide of val and test has a prediction yet" in dock.agreement.scores.text()
    dock.how.device.setCurrentText("cpu")

    qtbot.mouseClick(dock.act.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
    settle(qtbot, dock)
    assert dock.act.note.text() == "2 slides predicted; 1 failed: point at their rows to see why"
    assert [row.predicted for row in dock.controller.rows] == ["normal", "normal", ""]
    assert "broken.svs" in dock.controller.rows[2].error
    assert dock.filters.wrong.text() == "Errors (1)"
    assert dock.agreement.scores.text().startswith(
        "Accuracy 0.5, weighted F1 0.333 on 2 slides of val and test."
    )
    assert dock.agreement.matrix.item(0, 0).text() == "1" and dock.agreement.matrix.item(1, 0).text() == "1"

    dock.agreement.matrix.chosen.emit(("normal", "normal"))
    assert dock.table.order == [0]
    dock.agreement.matrix.chosen.emit(("normal", "normal"))
    dock.filters.wrong.setChecked(True)
    assert dock.table.order == [1] and dock.shown.text() == "1 of 3 slides"
    dock.export_to(folder / "out.csv")
    (line,) = csv.DictReader((folder / "out.csv").read_text().splitlines())
    assert line["slide"].endswith("other.tif") and line["predicted"] == "normal"

    viewer.window.activate()
    qtbot.waitUntil(viewer.window._qt_window.isActiveWindow)
    dock.table.setFocus()
    qtbot.keyClick(dock.table, Qt.Key.Key_E)
    entry = dock._session.active
    assert entry.slide.name == "other.tif"
    qtbot.waitUntil(lambda: entry.prediction is not None, timeout=MINUTE)
    maps = [layer for layer in viewer.layers if layer.metadata.get(MAP) is not None]
    assert maps and slide_of(maps[0]) is entry.slide, "its stored maps are there, unasked"
    qtbot.waitUntil(lambda: not dock_of(dock).visibleRegion().isEmpty())
    qtbot.waitUntil(dock.table.hasFocus)  # one goes on by key

    page = show_dock(viewer, "Cohort")
    assert page is dock
    again = type(dock)(viewer)  # as after closing and opening it
    qtbot.addWidget(again)
    settle(qtbot, again)
    assert [row.predicted for row in again.controller.rows] == ["normal", "normal", ""], "not done again"
    assert again.controller.waiting == [folder / "broken.svs"]
    again._stop()


def test_a_bad_table_is_told_in_the_dock_and_a_folder_has_no_labels(
    window, qtbot, folder, monkeypatch
) -> None:
    dock = show_dock(window, "Cohort")
    bad = folder / "<b>bad.csv"
    bad.write_text("slide,label\nsmall.tif,\nnone.svs,a\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(bad), ""))
    qtbot.mouseClick(dock.source.table, Qt.MouseButton.LeftButton)
    settle(qtbot, dock)
    told = dock.source.faults.text().splitlines()
    assert told[0] == "<b>bad.csv cannot be used."
    assert told[1:] == [
        "• line 2: label is empty",
        f"• line 3: there is no slide at {folder / 'none.svs'}",
    ]
    assert dock.source.faults.textFormat() == Qt.TextFormat.PlainText
    drop(dock, folder)
    settle(qtbot, dock)
    assert dock.source.told.text().endswith(": 3 slides, no labels") and dock.source.faults.isHidden()
    assert dock.agreement.isHidden() and dock.filters.wrong.isHidden()
    clinical = folder / "clinical.csv"
    clinical.write_text("patient,state\n1,normal\n2,tumour\n")
    (folder / "slides.csv").write_text("slide,patient\nsmall.tif,1\nother.tif,2\n")
    drop(dock, clinical)
    settle(qtbot, dock)
    assert "needs a header with the column slide" in dock.source.faults.text()
    form = dock.source.form
    for name, value in (("label_column", "state"), ("group_column", "patient")):
        form[name].value = value
    form["slide_table"].value = folder / "slides.csv"
    settle(qtbot, dock)
    assert dock.source.told.text() == "clinical.csv: 2 slides, 2 labels, 2 groups"
    asked = dock.train.settings.request(dock.controller.cohort.source)
    assert asked.how["columns"].slide_table == folder / "slides.csv" and asked.cohort == clinical
    dock.controller.answer(folder / "small.tif", Answer(Classification(("a", "b")), np.ones(2, np.float32)))
    dock.how.advanced["batch_size"].value = 8
    assert dock.controller.rows[0].answer is not None, "the same patches"
    dock.how.advanced["overlap"].value = 64
    settle(qtbot, dock)
    assert dock.controller.rows[0].answer is None and dock._what_is_read() == "all tissue, overlap 64"
    drop(dock, folder / "small.tif")
    settle(qtbot, dock)
    assert dock.source.told.text() == "small.tif: 1 slide, no labels" and len(dock.controller.rows) == 1
