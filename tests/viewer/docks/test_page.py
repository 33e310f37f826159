"""What holds for every control on every page, whenever it is put there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from magicgui.widgets import FloatSlider
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDial,
    QDoubleSpinBox,
    QLabel,
    QScrollBar,
    QSlider,
    QSpinBox,
    QTabBar,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleRangeSlider, QLabeledSlider

from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.showing import show_dock

DOWN, UP = -120, 120


def turn_wheel(over: QWidget, angle: int = DOWN) -> None:
    """As Qt does for a real wheel: from the widget under the mouse outwards, until one accepts it."""
    widget: QWidget | None = over
    while widget is not None:
        at = QPointF(widget.rect().center())
        event = QWheelEvent(
            at,
            widget.mapToGlobal(at),
            QPoint(),
            QPoint(0, angle),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(widget, event)
        if event.isAccepted() or widget.isWindow():
            return
        widget = widget.parentWidget()


def combo(editable: bool = False) -> QComboBox:
    box = QComboBox()
    box.addItems(["a", "b", "c"])
    box.setEditable(editable)
    return box


def tabs() -> QTabBar:
    bar = QTabBar()
    for name in "abc":
        bar.addTab(name)
    return bar


CONTROLS: dict[str, Callable[[], QWidget]] = {
    "combo": combo,
    "editable combo": lambda: combo(True),
    "spin": QSpinBox,
    "double spin": QDoubleSpinBox,
    "slider": lambda: QSlider(Qt.Orientation.Horizontal),
    "dial": QDial,
    "tabs": tabs,
    "labelled slider": QLabeledSlider,
    "range slider": QLabeledDoubleRangeSlider,
    "magicgui": lambda: FloatSlider(value=3, max=10).native,
}


def values(page: QWidget) -> dict[QWidget, object]:
    """What every control on a page is set to: Qt knows of each class which property the user edits."""
    found = {}
    for widget in page.findChildren(QWidget):
        edited = widget.metaObject().userProperty()
        shown = edited.read(widget) if edited.isValid() else getattr(widget, "currentIndex", None)
        value = shown() if callable(shown) else shown
        if value is not None and not isinstance(widget, QScrollBar) and widget.window() is page.window():
            found[widget] = value
    return found


@pytest.fixture
def page(qtbot) -> Page:
    """A page that is longer than high, with the keyboard."""
    page = Page()
    qtbot.addWidget(page)
    page.resize(320, 200)
    for _ in range(30):
        page.column.addWidget(QLabel("line"))
    page.show()
    qtbot.waitExposed(page)
    page.activateWindow()
    qtbot.waitUntil(page.isActiveWindow)
    return page


def put(page: Page, widget: QWidget) -> None:
    page.column.insertWidget(0, widget)


def put_deep(page: Page, widget: QWidget) -> None:
    """Into a widget on a widget that is there already."""
    outer, inner = QWidget(), QWidget()
    column = QVBoxLayout(outer)
    put(page, outer)
    QApplication.processEvents()
    column.addWidget(inner)
    QApplication.processEvents()
    QVBoxLayout(inner).addWidget(widget)


def put_late(page: Page, widget: QWidget) -> None:
    """After it was shown elsewhere."""
    widget.show()
    QApplication.processEvents()
    put_deep(page, widget)


@pytest.mark.parametrize("how", [put, put_deep, put_late])
@pytest.mark.parametrize("name", CONTROLS)
def test_the_wheel_scrolls_the_page_past_every_control(page, how, name: str) -> None:
    control = CONTROLS[name]()
    how(page, control)
    QApplication.processEvents()
    bar = page.verticalScrollBar()
    for part in (control, *control.findChildren(QWidget)):
        if part.window() is not page or not part.isVisible():
            continue
        assert part.focusPolicy() != Qt.FocusPolicy.WheelFocus
        for angle in (DOWN, UP):
            before = values(page)
            bar.setValue(bar.maximum() // 2)
            turn_wheel(part, angle)
            assert values(page) == before and (bar.value() - bar.maximum() // 2) * angle < 0


@pytest.mark.parametrize("name", ["combo", "double spin", "slider", "labelled slider", "magicgui"])
def test_a_control_with_the_keyboard_takes_the_wheel(page, name: str) -> None:
    control, other = CONTROLS[name](), QSpinBox()
    put(page, control)
    put(page, other)
    QApplication.processEvents()
    part = next(one for one in (control, *control.findChildren(QWidget)) if values(page).get(one) is not None)
    part.setFocus()
    before = values(page)
    turn_wheel(part, DOWN if name == "combo" else UP)
    assert page.verticalScrollBar().value() == 0
    assert values(page)[part] != before[part]
    turn_wheel(other)
    assert page.verticalScrollBar().value() > 0 and other.value() == 0


def test_a_list_on_a_page_scrolls_first_and_then_the_page(page) -> None:
    tree = QTreeWidget()
    tree.addTopLevelItems([QTreeWidgetItem([str(number)]) for number in range(30)])
    tree.setFixedHeight(80)
    put(page, tree)
    QApplication.processEvents()
    inner, outer = tree.verticalScrollBar(), page.verticalScrollBar()
    turn_wheel(tree.viewport())
    assert inner.value() > 0 and outer.value() == 0
    inner.setValue(inner.maximum())
    turn_wheel(tree.viewport())
    assert outer.value() > 0


def test_the_open_list_of_a_combo_box_scrolls(page, qtbot) -> None:
    box = QComboBox()
    box.addItems([str(number) for number in range(100)])
    put(page, box)
    QApplication.processEvents()
    box.showPopup()
    qtbot.waitUntil(box.view().isVisible)
    inner = box.view().verticalScrollBar()
    before = inner.value()
    turn_wheel(box.view().viewport())
    assert inner.value() > before
    box.hidePopup()


def fill(page: Page) -> None:
    """Bring in sight what is hidden or folded, and give every control something to be turned to."""
    for widget in page.findChildren(QWidget):
        if widget.isWindow() or widget.window() is not page.window():
            continue
        widget.blockSignals(True)
        if isinstance(widget, QComboBox):
            widget.addItems(["one more", "another one"])
            widget.setCurrentIndex(1)
        elif hasattr(widget, "setRange") and hasattr(widget, "value"):
            widget.setRange(0, 100)
            widget.setValue(50)
        widget.blockSignals(False)
        widget.show()


def test_the_wheel_changes_nothing_on_any_dock(make_napari_viewer, qtbot, dock_names) -> None:
    viewer = make_napari_viewer(show=True)
    pages = {name: show_dock(viewer, name) for name in dock_names}
    turned = dict.fromkeys(dock_names, 0)
    for name, page in pages.items():
        assert isinstance(page, Page)
        show_dock(viewer, name)
        page.setFixedHeight(200)
        fill(page)
        qtbot.waitUntil(lambda page=page: page.isVisible() and page.verticalScrollBar().maximum() > 50)
        bar = page.verticalScrollBar()
        for control in values(page):
            for angle in (DOWN, UP):
                before = values(page)
                bar.setValue(bar.maximum() // 2)
                turn_wheel(control, angle)
                told = f"{name}: {control} {control.toolTip()}"
                assert values(page) == before, told
                assert (bar.value() - bar.maximum() // 2) * angle < 0, told
            turned[name] += 1
    assert min(turned.values()) >= 8, turned
