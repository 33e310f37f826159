"""Parts that docks are put together from: a scrolling page, headings, the act row."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QChildEvent, QEvent, QObject, QPoint, QSize, Qt, QTimer
from qtpy.QtGui import QCursor, QFocusEvent, QKeyEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractScrollArea,
    QApplication,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.jobs import Progress
from napari_zoommil.viewer.compat import canvas_of
from napari_zoommil.viewer.sentences import duration
from napari_zoommil.viewer.settings import compute_settings

WIDTH = 320
SPACING = 6
DEVICES = ("auto", "cpu", "cuda", "mps")
RETURNED = (Qt.FocusReason.ActiveWindowFocusReason, Qt.FocusReason.PopupFocusReason)
"""Why a control has the keyboard again that had it before."""


class Page(QScrollArea):
    """A dock's page: a comfortable width, scrolling when low.

    Two rules hold for whatever is put on the page, whenever that is.

    * The wheel scrolls the page. A control takes the wheel only while it has the keyboard focus, and turning
      the wheel does not give it the focus.
    * A key pressed while the mouse is over the slide is the slide's, whatever control was used last; what was
      typed into that control counts, and the focus goes to the slide. Only a control that got the focus while
      the mouse was there, by a key, keeps it until the mouse moves. Enter and Escape give the focus to the
      slide too; Escape takes back what was typed.

    Parameters
    ----------
    closed : callable, optional
        Called once when the dock goes. napari takes a closed dock apart without a ``closeEvent``:
        the page loses its parent; with its window it is destroyed without even that. Both are heard.
    """

    def __init__(self, closed: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._closed = closed
        # Not a bound method: Qt drops those of an object that is being destroyed.
        self.destroyed.connect(lambda *_: Page._close(self))
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(WIDTH)
        body = QWidget()
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(10, 8, 10, 8)
        self.column.setSpacing(SPACING)
        self.setWidget(body)
        self._focused_at = QPoint()
        self.installEventFilter(self)
        self._watch(body)

    def _watch(self, widget: QWidget) -> None:
        """Hear of what is sent to a widget on the page and to all inside it."""
        if widget.isWindow():
            return  # a dialog, or the list of a combo box
        if widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.installEventFilter(self)
        for child in widget.children():
            if isinstance(child, QWidget):
                self._watch(child)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if isinstance(watched, QWidget) and event is not None and self._intercept(watched, event):
            return True
        return super().eventFilter(watched, event)

    def _intercept(self, watched: QWidget, event: QEvent) -> bool:
        """Apply the rules to an event; whether its widget is not to have it."""
        if isinstance(event, QChildEvent):
            # A child is polished when it is complete; it may not be yet when it is added.
            child = event.child() if event.type() == QEvent.Type.ChildPolished else None
            if isinstance(child, QWidget):
                self._watch(child)
        elif isinstance(event, QFocusEvent):
            if event.gotFocus() and event.reason() not in RETURNED:
                self._focused_at = QCursor.pos()
        elif isinstance(event, QWheelEvent):
            if watched is not self and not _takes_wheel(watched):
                event.ignore()  # it goes to the next outer widget, and so to the page
                return True
        elif isinstance(event, QKeyEvent) and event.type() != QEvent.Type.KeyRelease:
            return self._key_pressed(watched, event)
        return False

    def _key_pressed(self, watched: QWidget, event: QKeyEvent) -> bool:
        slide = canvas_of(self)
        if slide is None or watched is not QApplication.focusWidget():
            return False
        pressed = event.type() == QEvent.Type.KeyPress  # before it, Qt asks whether it is a shortcut
        if slide.underMouse() and _is_elsewhere(self._focused_at):
            self._leave_controls()
            if pressed:
                QApplication.sendEvent(slide, event)
            event.setAccepted(pressed)
            return True
        if pressed and _ends_editing(watched, event):
            QTimer.singleShot(1, self._leave_controls)  # after 0 ms a list takes over what was typed into it
        return False

    def _leave_controls(self) -> None:
        """Let the control that has the focus take what was typed into it, and give the focus to the slide."""
        focused, slide = QApplication.focusWidget(), canvas_of(self)
        if focused is not None and self.isAncestorOf(focused):
            focused.clearFocus()
        if slide is not None:
            slide.activateWindow()  # a dock may float
            slide.setFocus()

    def sizeHint(self) -> QSize:
        """All of the page, where the window is high enough."""
        body = self.widget()
        assert body is not None
        return QSize(WIDTH, body.sizeHint().height() + 2)

    def event(self, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._close()
        return super().event(event)

    def _close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


def _takes_wheel(widget: QWidget) -> bool:
    """Whether a widget on a page is to have the wheel: it has the focus, or it scrolls a part of the page."""
    area = widget.parentWidget()
    if isinstance(widget, QScrollBar) or (
        isinstance(area, QAbstractScrollArea) and widget is area.viewport()
    ):
        return True
    focused = QApplication.focusWidget()
    return focused is not None and (widget is focused or widget.isAncestorOf(focused))


def _is_elsewhere(place: QPoint) -> bool:
    """Whether the mouse has been moved away from a place on the screen; a hand on it trembles."""
    return (QCursor.pos() - place).manhattanLength() >= QApplication.startDragDistance()


def _ends_editing(widget: QWidget, event: QKeyEvent) -> bool:
    """Whether a key ends what is being done with a control; Escape takes back what was typed."""
    if event.key() == Qt.Key.Key_Escape:
        typed = widget if isinstance(widget, QLineEdit) else getattr(widget, "lineEdit", lambda: None)()
        while typed is not None and typed.isUndoAvailable():
            typed.undo()
        return True
    several_lines = bool(widget.inputMethodHints() & Qt.InputMethodHint.ImhMultiLine)
    return event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not several_lines


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
    label.setStyleSheet("font-size: 9pt; font-weight: 600; color: palette(mid); padding-top: 6px;")
    return label


class Sentence(QLabel):
    """A line or two of plain text that wraps; it never widens its dock."""

    def __init__(self, text: str = "", name: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setObjectName(name)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)


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
        self.note = Sentence()
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
