"""The confusion matrix that is clicked on."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_zoommil.jobs.cohort_scores import Scores
from napari_zoommil.viewer.docks.cohort.matrix import RIGHT, STRONGEST, ConfusionMatrix

SCORES = Scores(("breast", "<b>x"), np.array([[3, 1], [0, 0]]), 4, 4, {})


@pytest.fixture
def matrix(qtbot) -> ConfusionMatrix:
    widget = ConfusionMatrix()
    qtbot.addWidget(widget)
    widget.resize(290, 120)
    widget.show_scores(SCORES, None)
    widget.show()
    return widget


def test_counts_and_colours_by_row_share(matrix) -> None:
    texts = [[matrix.item(row, column).text() for column in range(2)] for row in range(2)]
    assert texts == [["3", "1"], ["", ""]], "nothing is said of a class without slides"
    colours = [matrix.item(0, column).background().color() for column in range(2)]
    assert colours[0].name() == RIGHT and colours[1].name() != RIGHT
    assert STRONGEST > colours[0].alpha() > colours[1].alpha() > 0
    assert matrix.item(1, 1).background().color().alpha() == 0
    assert matrix.item(0, 1).toolTip() == "1 of 4 slides labelled breast are predicted ‹b›x"


def test_a_cell_is_chosen_by_click_and_by_key(matrix, qtbot) -> None:
    chosen = []
    matrix.chosen.connect(chosen.append)
    place = matrix.visualItemRect(matrix.item(0, 1)).center()
    qtbot.mouseClick(matrix.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.keyClick(matrix, Qt.Key.Key_Left)
    qtbot.keyClick(matrix, Qt.Key.Key_Return)
    assert chosen == [("breast", "<b>x"), ("breast", "breast")]


def test_the_chosen_cell_stays_marked_and_other_classes_make_other_cells(matrix) -> None:
    matrix.show_scores(SCORES, ("breast", "<b>x"))
    assert [(one.row(), one.column()) for one in matrix.selectedIndexes()] == [(0, 1)]
    matrix.show_scores(Scores(("a", "b", "c"), np.eye(3, dtype=int), 3, 3, {}), None)
    assert matrix.columnCount() == 3 and not matrix.selectedIndexes()
    assert sum(map(matrix.columnWidth, range(3))) <= matrix.viewport().width()
    matrix.show_scores(Scores((), np.zeros((0, 0), int), 0, 0, {}), None)
    assert matrix.isHidden()
