"""Names that look like HTML are shown as they are: no dock loads a picture that a file's name asks for."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QLabel, QListWidget, QPushButton, QToolTip

from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.plain_text import plain_label, plain_tip

EVIL = "<h1>x<img src='pic.png'></h1>.svs"
PLAIN, AUTO = Qt.TextFormat.PlainText, Qt.TextFormat.AutoText


@pytest.fixture
def page(qtbot) -> Page:
    shown = Page()
    qtbot.addWidget(shown)
    return shown


def test_qt_would_take_it_for_html() -> None:
    assert Qt.mightBeRichText(EVIL) and QLabel(EVIL).textFormat() == AUTO


def test_labels_on_a_page_are_plain_whenever_they_come(page: Page) -> None:
    early, late, rich = QLabel(EVIL), QLabel(EVIL), QLabel("<b>made here</b>")
    rich.setTextFormat(Qt.TextFormat.RichText)
    for label in (early, rich):
        page.column.addWidget(label)
    page.show()
    page.column.addWidget(late)
    late.show()
    QApplication.processEvents()
    assert early.textFormat() == late.textFormat() == PLAIN
    assert rich.textFormat() == Qt.TextFormat.RichText
    assert plain_label(EVIL).textFormat() == PLAIN


def tip_of(widget, at: QPoint) -> str:
    """What is shown where the pointer rests on a widget."""
    QToolTip.hideText()
    QApplication.sendEvent(widget, QHelpEvent(QEvent.Type.ToolTip, at, widget.mapToGlobal(at)))
    return QToolTip.text()


def test_tooltips_on_a_page_are_plain(page: Page) -> None:
    button, rows = QPushButton("Run"), QListWidget()
    button.setToolTip(EVIL)
    rows.addItem("one")
    rows.item(0).setToolTip(EVIL)
    for widget in (button, rows):
        page.column.addWidget(widget)
    page.show()
    QApplication.processEvents()
    expected = "<qt>&lt;h1&gt;x&lt;img src=&#x27;pic.png&#x27;&gt;&lt;/h1&gt;.svs</qt>"
    assert tip_of(button, QPoint(3, 3)) == expected == plain_tip(EVIL)
    assert tip_of(rows.viewport(), rows.visualItemRect(rows.item(0)).center()) == expected
    button.setToolTip("Plain words")
    assert tip_of(button, QPoint(3, 3)) == "Plain words" == plain_tip("Plain words")
