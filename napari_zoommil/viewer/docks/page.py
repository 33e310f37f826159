"""A dock's page: it scrolls, and what is on it leaves the wheel and the keys to whom they belong."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QChildEvent, QEvent, QObject, QPoint, QSize, Qt, QTimer
from qtpy.QtGui import QCursor, QFocusEvent, QHelpEvent, QKeyEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractScrollArea,
    QApplication,
    QFrame,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.viewer.compat import canvas_of
from napari_zoommil.viewer.docks.parts import SPACING, WIDTH
from napari_zoommil.viewer.docks.plain_text import keep_plain, show_tip
from napari_zoommil.viewer.docks.tabs import join_others

RETURNED = (Qt.FocusReason.ActiveWindowFocusReason, Qt.FocusReason.PopupFocusReason)
"""Why a control has the keyboard again that had it before."""

LAID_OUT_MS = 100
"""After which Qt has given all parts of a page their places: text that wraps takes it several rounds."""

MARGIN_PX = 12
"""Kept free around a part of a page that is brought in sight."""


class Page(QScrollArea):
    """A dock's page: a comfortable width, scrolling when low.

    Three rules hold for whatever is put on the page, whenever that is.

    * The wheel scrolls the page. A control takes the wheel only while it has the keyboard focus, and turning
      the wheel does not give it the focus.
    * A key pressed while the mouse is over the slide is the slide's, whatever control was used last; what was
      typed into that control counts, and the focus goes to the slide. Only a control that got the focus while
      the mouse was there, by a key, keeps it until the mouse moves. Enter and Escape give the focus to the
      slide too; Escape takes back what was typed.
    * Names are never HTML, see :mod:`~napari_zoommil.viewer.docks.plain_text`.

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
        body = _Body()
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(10, 8, 10, 8)
        self.column.setSpacing(SPACING)
        self.setWidget(body)
        self._focused_at = QPoint()
        self._is_placed = False
        self._wanted: QWidget | None = None
        self.installEventFilter(self)
        self._watch(body)

    def _watch(self, widget: QWidget) -> None:
        """Hear of what is sent to a widget on the page and to all inside it."""
        if widget.isWindow():
            return  # a dialog, or the list of a combo box
        if widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.installEventFilter(self)
        keep_plain(widget)
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
        elif isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            return show_tip(watched, event)
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
        elif event is not None and event.type() == QEvent.Type.Show and not self._is_placed:
            self._is_placed = True  # once: whoever moves a dock elsewhere wants it there
            QTimer.singleShot(0, self._join_others)  # napari is still busy with placing it
        return super().event(event)

    def scroll_to(self, widget: QWidget) -> None:
        """Bring a part of the page in sight as soon as it has its place."""
        self._wanted = widget
        QTimer.singleShot(LAID_OUT_MS, self._scroll_to_wanted)

    def _scroll_to_wanted(self) -> None:
        if self._wanted is not None:
            self.ensureWidgetVisible(self._wanted, 0, MARGIN_PX)
        self._wanted = None

    def _join_others(self) -> None:
        join_others(self)

    def _close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class _Body(QWidget):
    """What a page scrolls: as high as its content is at the width of the page.

    Qt's own least height is that of a width it guesses for each text that wraps, which is smaller: a page
    would scroll on into emptiness.
    """

    def minimumSizeHint(self) -> QSize:
        least = super().minimumSizeHint()
        return QSize(least.width(), 0) if self.hasHeightForWidth() else least


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
