"""Parts that docks are put together from: sentences, headings, the act row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPaintEvent, QTextDocument
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QTreeWidget,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.progress import duration
from napari_zoommil.viewer.settings import compute_settings

WIDTH = 336
SPACING = 6
DEVICES = ("auto", "cpu", "cuda", "mps")


def fit_columns(tree: QTreeWidget, widths: Mapping[int, int]) -> None:
    """Give columns their widths, px, and more where a number would be cut off."""
    header = tree.header()
    assert header is not None
    for column, width in widths.items():
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(column, max(width, tree.sizeHintForColumn(column)))


def row(*widgets: QWidget | int, stretch: int | None = None) -> QWidget:
    """Widgets side by side; a bare 1 is a stretch."""
    holder = QWidget()
    line = QHBoxLayout(holder)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(SPACING)
    for index, widget in enumerate(widgets):
        if isinstance(widget, int):
            line.addStretch(widget)
        else:
            line.addWidget(widget, 1 if index == stretch else 0)
    return holder


def heading(text: str) -> QLabel:
    """A quiet section heading."""
    label = QLabel(text.upper())
    label.setStyleSheet("font-size: 9pt; font-weight: 600; padding-top: 6px;")
    return label


class NarrowComboBox(QComboBox):
    """A list that shows in its line as much of what is chosen as fits, and that something is missing."""

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        assert style is not None
        field = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width()
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


class Sentence(QLabel):
    """A line or two of text that wraps; it never widens its dock. Plain: a file's name may look like HTML.

    Parameters
    ----------
    text, name : str
    lines : int
        It is never lower than these: what is below it stays in its place while the text changes.
    """

    def __init__(self, text: str = "", name: str = "", lines: int = 1) -> None:
        super().__init__(text)
        self._lines = lines
        self.setTextFormat(Qt.TextFormat.PlainText)
        if lines > 1:
            self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setWordWrap(True)
        self.setObjectName(name)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)  # as word wrap has set it, and another policy would take it back
        self.setSizePolicy(policy)

    def heightForWidth(self, width: int) -> int:
        return max(super().heightForWidth(width), self._least)

    def sizeHint(self) -> QSize:
        return super().sizeHint().expandedTo(QSize(0, self._least))  # an empty one is asked for nothing else

    @property
    def _least(self) -> int:
        if self._lines == 1:
            return 0
        text = QTextDocument("\n" * (self._lines - 1))  # as a label lays out text that can be selected
        text.setDefaultFont(self.font())
        margins = self.contentsMargins()
        return math.ceil(text.size().height()) + margins.top() + margins.bottom()


def button(text: str, tip: str, checkable: bool = False) -> QPushButton:
    """A button with its tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    return made


def stack(holder: QWidget, *widgets: QWidget) -> None:
    """Lay widgets out below one another, as a page does."""
    column = QVBoxLayout(holder)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(SPACING)
    for widget in widgets:
        column.addWidget(widget)


class DeviceChoice(QComboBox):
    """Where a job computes; first what Preferences say."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        self.addItems(list(dict.fromkeys((compute_settings().device, *DEVICES))))
        self.setToolTip(f"Where it {verb}; first what Preferences say")


class Fold(QWidget):
    """A heading that opens and closes what is below it."""

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.toggled.connect(self._open)
        self._content = content
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.button)
        column.addWidget(content)
        self._open(False)

    def _open(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._content.setVisible(is_open)


class Act(QWidget):
    """The act row: one main button that turns into Cancel, a bar, and what is being done."""

    def __init__(self, verb: str, start: Callable[[], None], cancel: Callable[[], None]) -> None:
        super().__init__()
        self._verb, self._start, self._cancel = verb, start, cancel
        self.button = QPushButton(verb)
        self.button.setMinimumHeight(30)
        self.button.clicked.connect(self._clicked)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        keeps_its_place = self.bar.sizePolicy()
        keeps_its_place.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(keeps_its_place)
        self.note = Sentence(lines=2)
        self._running = False
        self._ready, self._why = True, ""
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        for widget in (self.button, self.bar, self.note):
            column.addWidget(widget)
        self.bar.hide()

    def _clicked(self) -> None:
        if not self._running:
            return self._start()
        self.button.setText("Cancelling…")
        self.button.setEnabled(False)
        self._cancel()

    def set_ready(self, ready: bool, why: str = "") -> None:
        """Enable the button; ``why`` not is its tooltip."""
        self._ready, self._why = ready, why
        if not self._running:
            self.button.setEnabled(ready)
            self.button.setToolTip(why)

    def show_running(self, running: bool, why: str = "") -> None:
        """Turn the button into Cancel and back; ``why`` is its tooltip meanwhile."""
        self._running = running
        self.button.setToolTip(why if running else self._why)
        self.button.setText("Cancel" if running else self._verb)
        self.button.setEnabled(running or self._ready)
        self.bar.setVisible(running)
        self.bar.setRange(0, 0)

    def show_progress(self, progress: Progress, slide: str = "") -> None:
        """How far the job is; ``slide`` is named where it is not the one in view."""
        self.bar.setRange(0, progress.total if progress.done else 0)
        self.bar.setValue(progress.done)
        left = progress.seconds_left
        parts = (slide, progress.note, "" if left is None else f"about {duration(left)} left")
        self.note.setText(", ".join(part for part in parts if part))
