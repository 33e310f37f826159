"""Names are text, never HTML: whoever named a file, a class or a model may not make a dock load pictures.

Qt guesses whether a text is HTML by what it looks like. On a page nothing is guessed: a label shows plain
text, unless it was made for rich text by :meth:`QLabel.setTextFormat`, and so do all tooltips.
"""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QAbstractItemView, QLabel, QToolTip, QWidget


def plain_label(text: str) -> QLabel:
    """A label whose text is shown as it is; for windows that are no pages."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def plain_tip(text: str) -> str:
    """A tooltip that shows a text as it is."""
    return f"<qt>{escape(text)}</qt>" if _is_guessed_rich(text) else text


def _is_guessed_rich(text: str) -> bool:
    return bool(Qt.mightBeRichText(text))  # type: ignore[attr-defined]


def keep_plain(widget: QWidget) -> None:
    """Let a widget not guess whether its text is HTML."""
    if isinstance(widget, QLabel) and widget.textFormat() == Qt.TextFormat.AutoText:
        widget.setTextFormat(Qt.TextFormat.PlainText)


def show_tip(widget: QWidget, event: QHelpEvent) -> bool:
    """Show a tooltip that looks like HTML as it is; whether that was done."""
    text = _tip_of(widget, event)
    if not _is_guessed_rich(text) or text.startswith("<qt>"):
        return False
    QToolTip.showText(event.globalPos(), plain_tip(text), widget)
    return True


def _tip_of(widget: QWidget, event: QHelpEvent) -> str:
    view = widget.parentWidget()
    if isinstance(view, QAbstractItemView) and widget is view.viewport():
        return str(view.indexAt(event.pos()).data(Qt.ItemDataRole.ToolTipRole) or "")
    return widget.toolTip()
