"""Parts of the Annotate dock: the help sheet, buttons, and what its lines say."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_zoommil.annotations.autosave import beside
from napari_zoommil.viewer import keys
from napari_zoommil.viewer.annotation import SlideAnnotations

GAP_PX = 16
CLOSING = (Qt.Key.Key_Escape, Qt.Key.Key_F1)


class HelpSheet(QLabel):
    """The keys, in a small window of their own beside the dock: it may stay open while one works."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock, Qt.WindowType.Tool)
        self.setText(keys.help_sheet())
        self.setWindowTitle("Keys of annotation")
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setContentsMargins(12, 8, 12, 10)
        # A theme gives a label light letters but no ground of its own.
        self.setStyleSheet("background-color: #fafafa; color: #202020;")
        self.setObjectName("annotate-help")

    def toggle(self) -> None:
        """Show or hide it."""
        dock = self.parentWidget()
        if self.isHidden() and dock is not None:
            size = self.sizeHint()
            bottom_left = dock.mapToGlobal(dock.rect().bottomLeft())
            self.move(bottom_left.x() - size.width() - GAP_PX, bottom_left.y() - size.height() - GAP_PX)
        self.setVisible(self.isHidden())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Escape closes it, and so do the keys that open it."""
        if event is not None and (event.key() in CLOSING or event.text() == keys.HELP_SIGN):
            self.hide()


def button(text: str, tip: str, checkable: bool = False) -> QPushButton:
    """A button with its tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    return made


def several(count: int, noun: str) -> str:
    """``1 point``, ``1,200 points``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def headline(of: SlideAnnotations) -> str:
    """``3 points, 1 complete region on CMU-1.svs``."""
    told = [several(len(of.points), "point")]
    if complete := len(of.points.complete):
        told.append(several(complete, "complete region"))
    return f"{', '.join(told)} on {of.entry.slide.name}"


def whereabouts(of: SlideAnnotations) -> str:
    """Where the document is kept, or will be."""
    path = of.saved.path
    place = "beside the slide" if path == beside(of.entry.slide) else f"in {path.parent}"
    if path.exists():
        return f"{path.name}, {place}, saved at each edit"
    return f"The first edit makes {path.name}, {place}"
