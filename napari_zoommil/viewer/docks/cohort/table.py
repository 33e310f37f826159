"""The table of a cohort: a model over the controller's rows, sorted and filtered by Qt, and its view."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_zoommil.familiarity.verdict import percent
from napari_zoommil.jobs.cohort import CohortRow
from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.familiarity_note import HELP as FAMILIARITY_HELP

WRONG, UNLIKE, FAILED = "#e2574c", "#c98a00", "#8a8a8a"
"""Text of predictions that are not the label, of what is unlike the training, and of slides that failed;
to be read on light and dark grounds."""

ROWS_SHOWN = 9
"""Height of the table, in rows."""


class Column(NamedTuple):
    """A column: its title, what is shown of a row, what it is sorted by, its tooltip and its width in px."""

    title: str
    text: Callable[[CohortRow], str]
    key: Callable[[CohortRow], Any]
    help: str
    width: int = 60


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}".replace("-", "−")


def _unlike(row: CohortRow) -> str:
    if row.answer is None:
        return ""
    known = row.answer.familiarity
    return percent(known.share) if known.status == "known" else known.status


def _share(row: CohortRow) -> float | None:
    known = row.answer.familiarity if row.answer else None
    return known.share if known is not None and known.status == "known" else None


def _predicted(row: CohortRow) -> str:
    if row.error and row.answer is None:
        return "failed"
    return f"✗ {row.predicted}" if row.is_wrong else row.predicted


SLIDE = Column("Name", lambda row: row.entry.slide.name, lambda row: row.entry.slide.name.casefold(),
               "Name of the file", 98)  # fmt: skip
LABEL = Column("Label", lambda row: row.entry.label, lambda row: _as_number(row.entry.label),
               "As the table states it", 58)  # fmt: skip
SPLIT = Column("Split", lambda row: row.entry.split, lambda row: row.entry.split,
               "Whether it is there to train, to validate or to test", 44)  # fmt: skip
GROUP = Column("Group", lambda row: row.entry.group, lambda row: row.entry.group.casefold(),
               "Such as the patient", 76)  # fmt: skip
FAMILIARITY = Column("Unlike", _unlike, _share, FAMILIARITY_HELP + ": the share that is unlike it", 68)
CLASSES = (
    Column("Predicted", _predicted, lambda row: row.predicted,
           "The most probable class; ✗ where it is not the label", 76),
    Column("Prob.", lambda row: _number(row.probability, ".2f"), lambda row: row.probability,
           "Probability of the predicted class", 42),
)  # fmt: skip
NUMBERS = (
    Column("Value", lambda row: row.predicted, lambda row: row.value, "What the model tells", 76),
    Column("Residual", lambda row: _number(row.residual, "+.3g"),
           lambda row: None if row.residual is None else abs(row.residual),
           "Value less label; sorted by its size", 60),
)  # fmt: skip


def _as_number(label: str) -> Any:
    try:
        return float(label)
    except ValueError:
        return label.casefold()


class RowsModel(QAbstractTableModel):
    """The controller's rows for Qt."""

    def __init__(self, controller: CohortController) -> None:
        super().__init__()
        self._controller = controller
        self.columns: tuple[Column, ...] = self._wanted()

    def _wanted(self) -> tuple[Column, ...]:
        """Labels, splits and groups have a column where the cohort has them."""
        cohort = self._controller.cohort
        answers = NUMBERS if self._controller.is_regression else CLASSES
        if cohort is None or not cohort.has_labels:
            return (SLIDE, answers[0], *(answers[1:] if answers is CLASSES else ()), FAMILIARITY)
        split = (SPLIT,) if cohort.splits else ()
        group = (GROUP,) if cohort.has_groups else ()
        return (SLIDE, LABEL, *answers, *split, FAMILIARITY, *group)

    def reset(self) -> None:
        """Other rows."""
        self.beginResetModel()
        self.columns = self._wanted()
        self.endResetModel()

    def rows_changed(self, places: Sequence[int]) -> None:
        """Rows have other answers; the first tells whether there are classes or numbers."""
        if self._wanted() != self.columns:
            return self.reset()
        first, last = self.index(min(places), 0), self.index(max(places), len(self.columns) - 1)
        self.dataChanged.emit(first, last)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._controller.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical or section >= len(self.columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        return self.columns[section].help if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self._controller.rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(row)
        if role == Qt.ItemDataRole.ForegroundRole:
            colour = _colour(row, column)
            return QBrush(QColor(colour)) if colour else None
        return _tip(row, column) if role == Qt.ItemDataRole.ToolTipRole else None


def _colour(row: CohortRow, column: Column) -> str:
    if column in (*CLASSES[:1], *NUMBERS[:1]):
        if row.error and row.answer is None:
            return FAILED
        return WRONG if row.is_wrong else ""
    is_unlike = row.answer is not None and row.answer.familiarity.is_unlike
    return UNLIKE if is_unlike and column is FAMILIARITY else ""


def _tip(row: CohortRow, column: Column) -> str:
    """What does not fit into the cell; as plain text, for names of files may look like HTML."""
    if row.error:
        return plain(row.error)
    if column is FAMILIARITY and row.answer is not None:
        return plain(row.answer.familiarity.sentence)
    if column in (*CLASSES, *NUMBERS) and row.answer is not None:
        return plain(row.answer.task.sentence(row.answer.values))
    return plain(str(row.entry.slide) if column is SLIDE else column.text(row))


def plain(text: str) -> str:
    """A tooltip that Qt does not take for HTML: it guesses by what looks like a tag."""
    return text.replace("<", "‹").replace(">", "›")


class Sorted(QSortFilterProxyModel):
    """The rows that are shown, in their order; those without a value come last, whichever way it is sorted.

    What Qt compares are ranks, which are found in one go: Python is asked for each comparison.

    Attributes
    ----------
    by : Column or None
        What they are sorted by; its place differs from cohort to cohort.
    order : Qt.SortOrder
    """

    def __init__(self, controller: CohortController, rows: RowsModel) -> None:
        super().__init__()
        self._controller, self._rows = controller, rows
        self.by: Column | None = None
        self.order = Qt.SortOrder.AscendingOrder
        self._ranks: list[float] | None = None
        rows.dataChanged.connect(lambda *_: self._outdate())
        rows.modelReset.connect(self._outdate)  # before Qt's own, which sort anew
        self.setSourceModel(rows)
        self.setDynamicSortFilter(True)

    def _outdate(self) -> None:
        self._ranks = None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self.by = self._rows.columns[column] if column >= 0 else None
        self.order, self._ranks = order, None
        super().sort(column, order)

    def filterAcceptsRow(self, place: int, parent: QModelIndex) -> bool:
        return self._controller.filter.takes(self._controller.rows[place])

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        if self.by is None:
            return left.row() < right.row()
        if self._ranks is None:
            last = math.inf if self.order == Qt.SortOrder.AscendingOrder else -math.inf
            self._ranks = ranks(map(self.by.key, self._controller.rows), last)
        return self._ranks[left.row()] < self._ranks[right.row()]


def ranks(keys: Iterable[Any], last: float) -> list[float]:
    """Place of each key among all, numbers before texts, the same for equal ones; ``last`` without a key."""
    known = [(key is None or key == "", isinstance(key, str), key) for key in keys]
    distinct = sorted({one for one in known if not one[0]}, key=lambda one: one[1:])
    place = {one: float(at) for at, one in enumerate(distinct)}
    return [place.get(one, last) for one in known]


class CohortTable(QTableView):
    """The rows: a click or Enter opens the slide, arrows go from row to row, E goes to the next error."""

    opened = Signal(int)
    """Row whose slide is to be opened."""

    next_asked = Signal()
    """The next error is asked for."""

    def __init__(self, controller: CohortController) -> None:
        super().__init__()
        self.rows = RowsModel(controller)
        self.sorted = Sorted(controller, self.rows)
        self.setModel(self.sorted)
        self.setSortingEnabled(True)
        self.sorted.sort(-1)  # as the table has them, until a header is clicked
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)  # Tab goes on to the next control of the page
        # Enter opens a slide and leaves the focus here, so that one goes on from row to row.
        self.setInputMethodHints(Qt.InputMethodHint.ImhMultiLine)
        lines, header = self.verticalHeader(), self.horizontalHeader()
        assert lines is not None and header is not None
        lines.hide()
        height = self.fontMetrics().height() + 6
        lines.setDefaultSectionSize(height)
        lines.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)  # of thousands none is measured
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.setMinimumHeight(height * (ROWS_SHOWN + 2))
        self.clicked.connect(lambda index: self.opened.emit(self._place(index)))
        self._columns: tuple[Column, ...] = ()
        self.set_widths()
        self.rows.modelReset.connect(self._keep_sorted)  # after Qt's own, which sorts by the old place

    def _keep_sorted(self) -> None:
        """Sort by the column as before, wherever it is now, or not at all if there is none."""
        columns, header = self.rows.columns, self.horizontalHeader()
        assert header is not None
        place = columns.index(self.sorted.by) if self.sorted.by in columns else -1
        header.setSortIndicator(place, self.sorted.order if place >= 0 else Qt.SortOrder.AscendingOrder)
        self.sorted.sort(place, header.sortIndicatorOrder())

    def set_widths(self) -> None:
        """Give new columns their width; those that the user has set stay."""
        if self._columns != self.rows.columns:
            self._columns = self.rows.columns
            for at, column in enumerate(self._columns):
                self.setColumnWidth(at, column.width)

    def _place(self, index: QModelIndex) -> int:
        return self.sorted.mapToSource(index).row()

    @property
    def current(self) -> int | None:
        """The row that is selected."""
        index = self.currentIndex()
        return self._place(index) if index.isValid() else None

    @property
    def order(self) -> list[int]:
        """The rows that are shown, from above."""
        return [self._place(self.sorted.index(at, 0)) for at in range(self.sorted.rowCount())]

    def go_to(self, place: int) -> None:
        """Select a row and bring it in sight."""
        index = self.sorted.mapFromSource(self.rows.index(place, 0))
        self.setCurrentIndex(index)
        self.scrollTo(index)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.current is not None:
            self.opened.emit(self.current)
        elif event.key() == Qt.Key.Key_E and not event.modifiers():
            self.next_asked.emit()
        else:
            super().keyPressEvent(event)
