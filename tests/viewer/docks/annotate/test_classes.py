"""The list of classes."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QLineEdit

from napari_zoommil.annotations import CellClass
from napari_zoommil.viewer.docks.annotate.classes import (
    AREA,
    KEY,
    NAME,
    POINTS,
    REGIONS,
    SWATCH,
    ClassList,
    Tally,
)

CLASSES = (CellClass("tumour", (0, 114, 178)), CellClass("lymphocyte", (213, 94, 0)))


@pytest.fixture
def shown(qtbot) -> ClassList:
    widget = ClassList()
    qtbot.addWidget(widget)
    widget.resize(300, 100)
    widget.show_classes(CLASSES, {"tumour": Tally(1234, 2, 0.7654), "lymphocyte": Tally()}, 2)
    widget.show()
    return widget


def click(qtbot, widget: ClassList, row: int, column: int, twice: bool = False) -> None:
    place = widget.visualRect(widget.model().index(row, column)).center()
    qtbot.mouseClick(widget.viewport(), Qt.MouseButton.LeftButton, pos=place)
    if twice:
        qtbot.mouseDClick(widget.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_key_name_and_count_of_each_class(shown) -> None:
    rows = [shown.topLevelItem(row) for row in range(2)]
    assert [[row.text(column) for column in (KEY, NAME, POINTS, REGIONS, AREA)] for row in rows] == [
        ["1", "tumour", "1,234", "2", "0.765"],
        ["2", "lymphocyte", "0", "", ""],
    ]
    assert shown.currentItem() is rows[1]
    colour = rows[0].icon(SWATCH).pixmap(16).toImage().pixelColor(8, 8)
    assert (colour.red(), colour.green(), colour.blue()) == (0, 114, 178)


def test_areas_that_are_small_fit_their_column() -> None:
    texts = [Tally(0, 1, mm2).texts[2] for mm2 in (0.0081234, 0.0001, 1234.5, None)]
    assert texts == ["0.008", "< 0.001", "1,234", ""]


def test_no_number_is_cut_off(shown) -> None:
    shown.show_classes(CLASSES, {"tumour": Tally(1_234_567, 100_000, 1234.5), "lymphocyte": Tally()}, 1)
    for column in (POINTS, REGIONS, AREA):
        assert shown.columnWidth(column) >= shown.sizeHintForColumn(column)
    assert shown.columnWidth(NAME) > 24


def test_a_click_chooses(shown, qtbot) -> None:
    with qtbot.waitSignal(shown.chosen) as heard:
        click(qtbot, shown, 0, NAME)
    assert heard.args == [1]


def test_a_click_on_the_colour_asks_for_another(shown, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor(1, 2, 3))
    with qtbot.waitSignal(shown.recoloured) as heard:
        click(qtbot, shown, 1, SWATCH)
    assert heard.args == [2, (1, 2, 3)]


def test_a_colour_dialog_may_be_cancelled(shown, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    with qtbot.assertNotEmitted(shown.recoloured):
        click(qtbot, shown, 1, SWATCH)


def test_a_double_click_renames(shown, qtbot) -> None:
    click(qtbot, shown, 0, NAME, twice=True)
    editor = shown.viewport().findChild(QLineEdit)
    editor.setText(" mitosis ")
    with qtbot.waitSignal(shown.renamed) as heard:
        qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert heard.args == [1, "mitosis"]


def test_showing_is_no_renaming(shown, qtbot) -> None:
    with qtbot.assertNotEmitted(shown.renamed), qtbot.assertNotEmitted(shown.chosen):
        shown.show_classes(CLASSES[::-1], {"tumour": Tally(1), "lymphocyte": Tally(2)}, 1)
        shown.show_classes(CLASSES[:1], {"tumour": Tally(1)}, 1)
    assert shown.topLevelItemCount() == 1


def test_only_nine_classes_have_a_key(shown) -> None:
    many = tuple(CellClass(f"class {number}", (0, 0, 0)) for number in range(11))
    shown.show_classes(many, {one.name: Tally() for one in many}, 1)
    assert shown.topLevelItem(8).text(KEY) == "9" and shown.topLevelItem(9).text(KEY) == ""


def test_it_does_not_take_the_keyboard(shown) -> None:
    assert shown.focusPolicy() == Qt.FocusPolicy.NoFocus
