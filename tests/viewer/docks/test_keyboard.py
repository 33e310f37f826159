"""Whose a key is: real keys, through the window, with the mouse over the slide or over a dock."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import napari
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QCursor, QEnterEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QLineEdit, QPlainTextEdit, QWidget

from napari_zoommil.viewer import settings
from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.showing import show_dock

KEYS = {"7": Qt.Key.Key_7, "J": Qt.Key.Key_J, "Space": Qt.Key.Key_Space, "Up": Qt.Key.Key_Up}
CTRL = Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier


@dataclass
class Desk:
    """A window that is in front, a mouse and a keyboard."""

    viewer: napari.Viewer
    wait: Callable[[int], object]

    @property
    def slide(self) -> QWidget:
        return self.viewer.window._qt_viewer.canvas.native

    def point(self, widget: QWidget, by: int = 0) -> None:
        """Move the mouse to the middle of a widget, and a few px on."""
        QCursor.setPos(widget.mapToGlobal(widget.rect().center() + QPoint(by, by)))
        self.wait(30)
        if self.slide.underMouse() != (widget is self.slide):  # not every system tells of such a move
            at = QPointF(self.slide.rect().center())
            enter = QEnterEvent(at, at, QPointF(self.slide.mapToGlobal(at)))
            QApplication.sendEvent(self.slide, enter if widget is self.slide else QEvent(QEvent.Type.Leave))

    def type(self, *keys: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press keys: the system gives them to the window, and Qt to the control that has the focus."""
        for key in keys:
            QTest.keyClick(QApplication.focusWindow(), key, modifier)
        self.wait(5)

    def focus(self, control: QWidget) -> None:
        """Go to a control with the mouse, and click into it."""
        self.point(control)
        control.setFocus(Qt.FocusReason.MouseFocusReason)
        if hasattr(control, "selectAll"):
            control.selectAll()

    @property
    def has_slide(self) -> bool:
        return QApplication.focusWidget() is self.slide


@pytest.fixture
def desk(make_napari_viewer, qtbot, monkeypatch) -> Desk:
    monkeypatch.setattr(settings, "annotator", lambda: "reader")
    monkeypatch.setattr(settings, "set_annotator", lambda name: None)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    viewer.window.activate()
    qtbot.waitUntil(viewer.window._qt_window.isActiveWindow)
    return Desk(viewer, qtbot.wait)


@pytest.fixture
def marking(desk, small_slide, add_slide, tmp_path) -> tuple:
    """Desk, the Annotate dock on a slide with two classes, the first chosen, and its field for their size."""
    add_slide(desk.viewer, shutil.copy(small_slide, tmp_path / "small.tif"))
    dock = show_dock(desk.viewer, "Annotate")
    dock.current.points.add_class("second")
    desk.wait(50)
    return desk, dock, dock.classes.diameter


def sizes(dock) -> list[float]:
    return [one.diameter_um for one in dock.current.points.classes]


def names(dock) -> list[str]:
    return [one.name for one in dock.current.points.classes]


def value_of(control: QWidget) -> object:
    """What a control is set to: Qt knows of each class which property the user edits."""
    edited = control.metaObject().userProperty()
    return edited.read(control) if edited.isValid() else None


def test_a_key_over_the_slide_is_the_slides_whatever_control_of_any_dock_has_the_focus(
    desk, dock_names
) -> None:
    """Every key on a control of each kind that a dock has, and one in turn on the others of that kind."""
    viewer, heard, tried = desk.viewer, [], dict.fromkeys(dock_names, 0)
    kinds, turns = set[tuple[str, type]](), cycle(KEYS)
    for name in KEYS:
        viewer.bind_key(name, lambda _, name=name: heard.append(name), overwrite=True)
    for name in dock_names:
        page = show_dock(viewer, name)
        desk.point(page)
        page.setFocus()
        desk.point(desk.slide)
        for control in page.findChildren(QWidget):
            if control.focusPolicy() == Qt.FocusPolicy.NoFocus or control.window() is not page.window():
                continue
            for shown in (control, *_ancestors(control, page)):
                shown.setEnabled(True)
                shown.show()
            before, kind = value_of(control), (name, type(control))
            keys = KEYS if kind not in kinds else {key: KEYS[key] for key in (next(turns),)}
            kinds.add(kind)
            for key, code in keys.items():
                control.setFocus(Qt.FocusReason.ActiveWindowFocusReason)
                assert control.isAncestorOf(QApplication.focusWidget()) or control.hasFocus()
                desk.type(code)
                told = f"{name}: {control} {control.toolTip()}"
                assert heard == [key] and desk.has_slide and value_of(control) == before, told
                heard.clear()
            tried[name] += 1
    assert min(tried.values()) > 8, tried


def _ancestors(widget: QWidget, page: Page) -> list[QWidget]:
    parent = widget.parentWidget()
    return [] if parent is None or parent is page else [parent, *_ancestors(parent, page)]


def test_the_key_of_a_class_after_its_size_was_typed(marking) -> None:
    desk, dock, size = marking
    desk.focus(size)
    desk.type(Qt.Key.Key_9)
    assert size.text().startswith("9") and sizes(dock) == [12.0, 12.0], "it is not done yet"
    desk.point(desk.slide)
    desk.type(Qt.Key.Key_2)
    assert sizes(dock) == [9.0, 12.0] and dock.current.view.label == 2 and size.value() == 12.0
    assert desk.has_slide
    desk.type(Qt.Key.Key_Z, modifier=CTRL)
    assert sizes(dock) == [12.0, 12.0]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_size_that_was_saved_at_once_is_undone_over_the_slide(marking, steps: int) -> None:
    desk, dock, size = marking
    for _ in range(steps):
        desk.focus(size)
        desk.type(Qt.Key.Key_Up)
    assert sizes(dock) == [12.0 + steps, 12.0]
    desk.point(desk.slide)
    for _ in range(steps):
        desk.type(Qt.Key.Key_Z, modifier=CTRL)
    assert sizes(dock) == [12.0, 12.0] and size.value() == 12.0


def test_the_mouse_may_cross_the_slide_while_one_types(marking) -> None:
    desk, dock, size = marking
    desk.focus(size)
    desk.type(Qt.Key.Key_1)
    desk.point(desk.slide)
    desk.point(size)
    desk.type(Qt.Key.Key_5)
    assert size.text().startswith("15") and size.hasFocus()
    desk.type(Qt.Key.Key_Return)
    assert sizes(dock) == [15.0, 12.0] and desk.has_slide


def test_a_click_on_the_slide_ends_typing(marking, qtbot) -> None:
    desk, dock, size = marking
    dock._place(False)
    desk.focus(size)
    desk.type(Qt.Key.Key_8)
    qtbot.mouseClick(desk.slide, Qt.MouseButton.LeftButton)
    assert desk.has_slide and sizes(dock) == [8.0, 12.0]


def test_f2_over_the_slide_names_a_class_until_the_mouse_moves(marking) -> None:
    desk, dock, _ = marking
    desk.slide.setFocus()
    desk.point(desk.slide)
    desk.type(Qt.Key.Key_F2, Qt.Key.Key_2)
    desk.point(desk.slide, 2)  # a hand trembles
    desk.type(Qt.Key.Key_A, Qt.Key.Key_Return)
    assert names(dock) == ["2a", "second"] and desk.has_slide
    desk.type(Qt.Key.Key_F2, Qt.Key.Key_B)
    desk.point(desk.slide, 60)
    desk.type(Qt.Key.Key_2)
    assert names(dock) == ["b", "second"] and dock.current.view.label == 2 and desk.has_slide


def test_escape_takes_back_what_was_typed(marking) -> None:
    desk, dock, size = marking
    for control, text in ((size, "12.0 µm"), (dock.file.name, "reader")):
        desk.focus(control)
        desk.type(Qt.Key.Key_4)
        assert control.text() != text
        desk.type(Qt.Key.Key_Escape)
        assert control.text() == text and desk.has_slide
    assert sizes(dock) == [12.0, 12.0] and dock.current.points.annotator == "reader"


def test_a_dock_that_floats_keeps_the_rule(marking, qtbot) -> None:
    desk, dock, size = marking
    frame = next(one for one in _parents(dock) if isinstance(one, QDockWidget))
    frame.setFloating(True)
    frame.activateWindow()
    qtbot.waitUntil(frame.isActiveWindow)
    desk.focus(size)
    desk.type(Qt.Key.Key_9)
    assert size.hasFocus()
    desk.point(desk.slide)
    desk.type(Qt.Key.Key_2)
    qtbot.waitUntil(lambda: sizes(dock) == [9.0, 12.0] and dock.current.view.label == 2)


def _parents(widget: QWidget) -> list[QWidget]:
    parent = widget.parentWidget()
    return [] if parent is None else [parent, *_parents(parent)]


def test_several_lines_are_ended_by_escape_alone(desk) -> None:
    page, text, line = Page(), QPlainTextEdit(), QLineEdit()
    page.column.addWidget(text)
    page.column.addWidget(line)
    desk.viewer.window.add_dock_widget(page)
    desk.wait(50)
    desk.focus(text)
    desk.type(Qt.Key.Key_A, Qt.Key.Key_Return, Qt.Key.Key_B)
    assert text.toPlainText() == "a\nb" and text.hasFocus()
    desk.type(Qt.Key.Key_Escape)
    assert desk.has_slide
    desk.focus(line)
    desk.type(Qt.Key.Key_A, Qt.Key.Key_Enter)
    assert line.text() == "a" and desk.has_slide
