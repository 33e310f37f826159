"""The confusion matrix of a cohort: each cell shows its slides when it is chosen."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QResizeEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_zoommil.jobs.cohort_scores import Cell, Scores
from napari_zoommil.viewer.docks.cohort.table import plain

RIGHT, WRONG = "#3b93d8", "#e08a1e"
"""Of cells on the diagonal and beside it: safe for the colour-blind, to be read on in both themes."""

STRONGEST = 190
"""Opacity of a cell with all slides of its row, of 255."""

FAINTEST = 30
"""Opacity of a cell with a slide."""

NARROWEST = 34
"""Least width of a column, px; more of them scroll."""

MOST_SHOWN = 8
"""Rows without scrolling."""

LABELS_PX = 78
"""Width of the names of rows."""


class ConfusionMatrix(QTableWidget):
    """Labels down, predicted classes across; a click or Enter chooses a cell, again leaves it."""

    chosen = Signal(object)
    """(label, predicted class)"""

    def __init__(self) -> None:
        super().__init__()
        self._classes: tuple[str, ...] = ()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.setInputMethodHints(Qt.InputMethodHint.ImhMultiLine)  # Enter chooses and leaves the focus here
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setToolTip("Labels down, predicted classes across")
        for header in (self.horizontalHeader(), self.verticalHeader()):
            assert header is not None
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setHighlightSections(False)
            header.setSectionsClickable(False)
        lines = self.verticalHeader()
        assert lines is not None
        lines.setFixedWidth(LABELS_PX)
        self._height = self.fontMetrics().height() + 10
        lines.setDefaultSectionSize(self._height)
        self.cellClicked.connect(self._clicked)

    def show_scores(self, scores: Scores, chosen: Cell | None, unit: str = "slide") -> None:
        """Fill it with counts of slides or images; it is hidden where there are no classes."""
        self.setVisible(bool(scores.classes))
        with QSignalBlocker(self):
            if scores.classes != self._classes:
                self._make(scores.classes)
            for row, column in ((i, j) for i in range(len(self._classes)) for j in range(len(self._classes))):
                self._fill(scores, row, column, unit)
            self._select(chosen)

    def _make(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self.setRowCount(len(classes))
        self.setColumnCount(len(classes))
        for at, name in enumerate(classes):
            for place in (self.setHorizontalHeaderItem, self.setVerticalHeaderItem):
                item = QTableWidgetItem(name)
                item.setToolTip(plain(name))
                place(at, item)
            for other in range(len(classes)):
                cell = QTableWidgetItem()
                cell.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.setItem(at, other, cell)
        header = self.horizontalHeader()
        assert header is not None
        shown = min(len(classes), MOST_SHOWN)
        self.setFixedHeight(header.sizeHint().height() + shown * self._height + 4)
        self._spread()

    def _fill(self, scores: Scores, row: int, column: int, unit: str) -> None:
        item, count = self.item(row, column), int(scores.matrix[row, column])
        assert item is not None
        of = int(scores.matrix[row].sum())
        share = count / of if of else 0.0
        colour = QColor(RIGHT if row == column else WRONG)
        colour.setAlpha(round(FAINTEST + share * (STRONGEST - FAINTEST)) if count else 0)
        item.setBackground(colour)
        item.setText(f"{count:,}" if of else "")
        label, predicted = self._classes[row], self._classes[column]
        item.setToolTip(plain(f"{count:,} of {of:,} {unit}s labelled {label} are predicted {predicted}"))

    def _select(self, chosen: Cell | None) -> None:
        if chosen is None or not set(chosen) <= set(self._classes):
            self.clearSelection()
        else:
            self.setCurrentCell(*map(self._classes.index, chosen))

    def _clicked(self, row: int, column: int) -> None:
        self.chosen.emit((self._classes[row], self._classes[column]))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        is_enter = event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and self.currentRow() >= 0:
            self._clicked(self.currentRow(), self.currentColumn())
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self._spread()

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._spread()

    def _spread(self) -> None:
        """Columns as wide as the page allows."""
        viewport = self.viewport()
        if self._classes and viewport is not None:
            width = max(NARROWEST, viewport.width() // len(self._classes))
            for column in range(len(self._classes)):
                self.setColumnWidth(column, width)
