"""One window with all docks, in which every name that a user or a file can give looks like HTML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.utils.notifications import NotificationSeverity
from qtpy.QtCore import QEvent, QModelIndex, QPoint, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QGraphicsTextItem,
    QGraphicsView,
    QHeaderView,
    QLabel,
    QTextEdit,
    QWidget,
)

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.model import Finds, create_cell_model, save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.jobs.cohort import Answer, open_cohort
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.finetune_runs import Request, TrainingRun
from napari_zoommil.jobs.prediction import Cost, Prediction, StepResult
from napari_zoommil.maps.heatmap import score_map
from napari_zoommil.models.task import Classification
from napari_zoommil.viewer import notifications
from napari_zoommil.viewer.docks import plain_text
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.notifications import not_html
from napari_zoommil.viewer.open_slide import DETECTION, PREDICTION, ResultKey
from napari_zoommil.viewer.session import session_of

EVIL = "<img src=x>"
CLASSES = (CellClass(f"{EVIL} cell", (0, 114, 178)), CellClass("stroma", (213, 94, 0)))
TASK = Classification((f"{EVIL} class", "normal"))

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names of files")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A slide with a macro image, and points on it."""
    path = tmp_path / f"{EVIL}.ome.tif"
    pixels = np.random.default_rng(0).integers(120, 200, (512, 512, 3), np.uint8)
    size = {"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "axes": "YXS"}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(128, 128), photometric="rgb", metadata={**size, "Name": EVIL})
        file.write(pixels[:60, :90], photometric="rgb", metadata={"axes": "YXS", "Name": f"{EVIL} macro"})
    points = Points(EVIL, CLASSES)
    points.add([(100, 100), (200, 200)], 1)
    points.add_region(np.array([(0, 0), (0, 90), (90, 90)]), 1)
    points.write(tmp_path / f"{EVIL}.points.geojson")
    return path


@pytest.fixture
def cohort(slide: Path) -> Path:
    (slide.parent / "broken.svs").write_bytes(b"no slide")
    path = slide.parent / f"{EVIL}.csv"
    lines = (
        f"slide,label,split,{EVIL}",
        f"{slide.name},{EVIL} class,test,{EVIL}",
        "broken.svs,normal,test,b",
    )
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def cell_model(tmp_path: Path) -> Path:
    spec = CellSpec("yollo", {"classes": 2, "width": 4}, 0.5, CLASSES)
    save_cell_model(tmp_path / f"{EVIL} model", create_cell_model(spec), spec, f"# {EVIL}\n")
    return tmp_path / f"{EVIL} model"


@pytest.fixture
def prediction(make_grid) -> Prediction:
    grid = make_grid(4, 4, (10.0,), patch_size=128)
    scores = np.linspace(-1, 1, len(grid.levels[0]), dtype=np.float32)[:, None]
    step = StepResult(0, np.arange(len(scores)), scores, (EVIL,), np.array([0]), None)
    shown = score_map(grid, 0, step.rows, scores[:, 0], None, EVIL, TASK.names)
    values = np.array([0.9, 0.1], np.float32)
    cost = Cost((len(scores),), 1.0, "cpu")
    return Prediction(EVIL, "f", f"{EVIL} model", TASK, values, values, grid, (step,), (shown,), cost)


def detection() -> Detection:
    finds = Finds(np.array([[90.0, 90, 110, 110]]), np.array([0.9]), np.ones(1, np.int64))
    return Detection(EVIL, "", f"{EVIL} model", CLASSES, finds, 0.5, 1.0, note=f"{EVIL} note")


def fill(docks: dict[str, Any], session: Any, prediction: Prediction, cell_model: Path, cohort: Path) -> None:
    """Give each dock all the names that it can show."""
    entry = session.active
    session.keep(entry, ResultKey(PREDICTION, f"{EVIL} model", made=1.0, where=EVIL), prediction)
    session.keep(entry, ResultKey(DETECTION, f"{EVIL} model"), detection())
    for name in ("Detect cells", "Fine-tune"):
        docks[name].add_model(cell_model)
    shares = {f"{when}exclusive_recall:{EVIL} cell": 0.5 for when in ("", "before_")}
    docks["Fine-tune"].verdict.show_run(
        TrainingRun(cell_model, Request(str(cell_model)), metrics={"exclusive_recall": 0.5, **shares})
    )
    answers = docks["Cohort"].controller
    answers.show(open_cohort(cohort))
    answers.answer(entry.slide.path, Answer(TASK, np.array([0.1, 0.9], np.float32)))
    answers.answer(cohort.parent / "broken.svs", None, f"{EVIL} is damaged")
    for dock in docks.values():
        if hasattr(dock, "act"):
            dock.act.note.setText(f"{EVIL} cannot be read")
    session.documents.said.emit(entry, f"{EVIL}.points.geojson was merged")


def indices(view: QComboBox | QAbstractItemView) -> Iterator[QModelIndex]:
    model = view.model()
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            yield model.index(row, column)


def texts_that_are_html(widget: QWidget) -> Iterator[str]:
    """What a widget would show as HTML that holds the name."""
    shown: list[str] = []
    if isinstance(widget, QLabel):
        guessed = widget.textFormat() == Qt.TextFormat.AutoText and Qt.mightBeRichText(widget.text())
        if guessed or widget.textFormat() in (Qt.TextFormat.RichText, Qt.TextFormat.MarkdownText):
            shown.append(widget.text())
    elif isinstance(widget, QTextEdit):
        shown.append(widget.document().toHtml())
    elif isinstance(widget, QGraphicsView) and widget.scene() is not None:
        items = widget.scene().items()
        shown += [one.toHtml() for one in items if isinstance(one, QGraphicsTextItem)]
    elif isinstance(widget, QComboBox):  # its list is a window of its own
        tips = (one.data(Qt.ItemDataRole.ToolTipRole) for one in indices(widget))
        shown += [str(one) for one in tips if one and Qt.mightBeRichText(str(one))]
    shown += [text for text in (widget.whatsThis(),) if Qt.mightBeRichText(text)]
    yield from (text for text in shown if "<img" in text)


def unsafe_tips(widget: QWidget, shown: list[str]) -> Iterator[str]:
    """Tooltips that Qt would take for HTML, unless the page shows them as text."""
    asked = [(widget, QPoint(1, 1), widget.toolTip())]
    is_header = isinstance(widget, QHeaderView)  # whose tips are ours
    if isinstance(widget, QAbstractItemView) and not is_header and widget.model() is not None:
        for index in indices(widget):
            tip = str(index.data(Qt.ItemDataRole.ToolTipRole) or "")
            widget.scrollTo(index)
            asked.append((widget.viewport(), widget.visualRect(index).center(), tip))
    for receiver, at, tip in asked:
        if "<img" in tip and Qt.mightBeRichText(tip):
            shown.clear()
            QApplication.sendEvent(receiver, QHelpEvent(QEvent.Type.ToolTip, at, receiver.mapToGlobal(at)))
            if len(shown) != 1 or "<img" in shown[0]:
                yield tip


def told(widget: QWidget) -> str:
    """All that a widget shows."""
    known = (getattr(widget, name, "") for name in ("text", "toolTip", "title"))
    texts = [str(one() if callable(one) else one) for one in known]
    if isinstance(widget, QComboBox | QAbstractItemView) and widget.model() is not None:
        texts += [str(one.data()) for one in indices(widget)]
    return " ".join(texts)


def test_no_dock_renders_a_name(
    make_napari_viewer, add_slide, slide, prediction, cell_model, cohort, dock_names, monkeypatch, qtbot
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(plain_text.QToolTip, "showText", lambda _at, text, *_: shown.append(text))
    viewer = make_napari_viewer(show=True)
    docks = {name: show_dock(viewer, name) for name in dock_names}
    add_slide(viewer, slide)
    fill(docks, session_of(viewer), prediction, cell_model, cohort)
    qtbot.wait(300)
    for name, dock in docks.items():
        widgets = [dock, *dock.findChildren(QWidget)]
        assert EVIL in "".join(map(told, widgets)), f"{name} has been given names"
        for widget in widgets:
            assert not list(texts_that_are_html(widget)), (name, widget.objectName(), widget)
            assert not list(unsafe_tips(widget, shown)), (name, widget.objectName(), widget)


@pytest.mark.parametrize(
    "text", [EVIL, f"{EVIL}.svs was opened", "a\n< h1>b", "&lt;img src=x>", "<!doctype x>"]
)
def test_a_notification_is_text(qtbot, monkeypatch, text: str) -> None:
    heard: list[str] = []
    for name in ("show_info", "show_warning", "show_error"):
        monkeypatch.setattr(notifications.notifications, name, heard.append)
        getattr(notifications, name)(text)
    assert len(heard) == 3 and {one.replace(notifications.JOINER, "") for one in heard} == {text}
    shown = NapariQtNotification(heard[0], NotificationSeverity.WARNING)
    qtbot.addWidget(shown)
    label = shown.message
    assert label.textFormat() == Qt.TextFormat.AutoText and not Qt.mightBeRichText(label.text())
    assert Qt.mightBeRichText(EVIL), "napari would render it"


def test_an_ordinary_sentence_is_notified_as_it_is() -> None:
    assert not_html("3 < 4 & 5 > 2: small.svs") == "3 < 4 & 5 > 2: small.svs"


def test_all_notifications_go_through_one_place() -> None:
    package = Path(notifications.__file__).parents[1]
    said = re.compile(r"napari\.utils(\.| import )notifications|notification_manager")
    senders = [path.name for path in package.rglob("*.py") if said.search(path.read_text("utf-8"))]
    assert senders == ["notifications.py"]
