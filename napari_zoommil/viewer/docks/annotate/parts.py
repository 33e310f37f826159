"""Parts of the Annotate dock: its boxes, the help sheet, buttons, and what its lines say."""

from __future__ import annotations

from pathlib import Path

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.annotations.autosave import beside
from napari_zoommil.files import GEOJSON, dialog_filter
from napari_zoommil.viewer import keys
from napari_zoommil.viewer.docks.annotate.slide_annotations import Actions, SlideAnnotations
from napari_zoommil.viewer.docks.parts import SPACING, Sentence, row
from napari_zoommil.viewer.layers.drawing import HOW

GAP_PX = 16
CLOSING = (Qt.Key.Key_Escape, Qt.Key.Key_F1)


class MarkBox(QWidget):
    """What a click in the canvas does; undo and redo.

    Parameters
    ----------
    actions : mapping
    """

    placed = Signal(bool)
    """Clicks are to place points, or to be clicks again."""

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self.placing = button("Place points", "", checkable=True)
        self.placing.setMinimumHeight(30)
        self.placing.clicked.connect(self.placed)
        tip = (
            "Draw a region in which every cell is marked, so that a model may take the rest of it for "
            f"background. {HOW}"
        )
        self.complete = acting("Complete region", tip, "complete", actions)
        self.complete.setCheckable(True)
        self.undo, self.redo = acting("Undo", "", "undo", actions), acting("Redo", "", "redo", actions)
        stack(self, self.placing, row(self.complete, self.undo, self.redo, stretch=0))

    def show_undo(self, of: SlideAnnotations | None) -> None:
        """Show what can be undone and done again."""
        for widget, able, what, action in (
            (self.undo, of is not None and of.points.can_undo, "Take back the last edit", "undo"),
            (self.redo, of is not None and of.points.can_redo, "Do again what was undone", "redo"),
        ):
            widget.setEnabled(able)
            widget.setToolTip(keys.with_keys(what if able else f"Nothing to {action}", action))

    def show_mode(self, of: SlideAnnotations | None, active: Layer | None) -> None:
        """Show what a click does while a layer is the active one."""
        placing = of is not None and of.view.layer is active and active.mode == "add"
        name = of.points.classes[of.view.label - 1].name if of and of.points.classes else "cells"
        self.placing.setChecked(placing)
        self.placing.setText(f"Placing: {name}" if placing else "Place points")
        self.placing.setToolTip(
            "A click in the canvas places a point; click here to stop"
            if placing
            else "Place points of the chosen class by clicks in the canvas (P on the points layer)"
        )
        self.complete.setChecked(of is not None and of.regions.drawing)
        for widget in (self.placing, self.complete):
            widget.setEnabled(of is not None)


class FileBox(QWidget):
    """Where the document is kept, and who annotates.

    Parameters
    ----------
    annotator : str
    actions : mapping
    """

    signed = Signal(str)
    """The name of who annotates from now on."""

    chosen = Signal(Path)
    """A file whose annotations are to be taken in."""

    def __init__(self, annotator: str, actions: Actions) -> None:
        super().__init__()
        self.place = Sentence(name="annotate-file", lines=2)
        self.name = QLineEdit(annotator)
        self.name.setToolTip("Who annotates: written with each point, so that readers can share a slide")
        self.name.editingFinished.connect(lambda: self.signed.emit(self.annotator))
        help_button = acting("? Keys", "All keys", "help", actions)
        self.take_in = button(
            "Import…", "Add points and regions of a GeoJSON file, such as QuPath exports; nothing is replaced"
        )
        self.take_in.clicked.connect(self._choose)
        stack(
            self,
            self.place,
            row(QLabel("Annotator"), self.name, stretch=1),
            row(self.take_in, help_button, stretch=0),
        )

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Import annotations", self._folder, dialog_filter("GeoJSON", GEOJSON)
        )
        if name:
            self.chosen.emit(Path(name))

    @property
    def annotator(self) -> str:
        return self.name.text().strip()

    def show_place(self, of: SlideAnnotations | None) -> None:
        """Show where the document is kept."""
        self._folder = str(of.entry.slide.path.parent) if of else ""
        self.take_in.setEnabled(of is not None)
        self.place.setText(whereabouts(of) if of else "")
        self.place.setToolTip(str(of.saved.path) if of else "")


class HelpSheet(QWidget):
    """The keys, in a small window of their own beside the dock: it may stay open while one works."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock, Qt.WindowType.Tool)
        self.setWindowTitle("Keys of annotation")
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)  # the ground of the theme
        self.setObjectName("annotate-help")
        self.text = QLabel(keys.help_sheet())
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 12, 10)
        column.addWidget(self.text)

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


def acting(text: str, tip: str, action: str, actions: Actions) -> QPushButton:
    """A button that does what a key does, with the key in its tooltip."""
    made = button(text, keys.with_keys(tip, action))
    made.clicked.connect(lambda: actions[action](0))
    return made


def stack(holder: QWidget, *widgets: QWidget) -> None:
    """Lay widgets out below one another, as a page does."""
    column = QVBoxLayout(holder)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(SPACING)
    for widget in widgets:
        column.addWidget(widget)


def several(count: int, noun: str) -> str:
    """``1 point``, ``1,200 points``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def headline(of: SlideAnnotations) -> str:
    """The slide, and in a second line how much is marked on it: ``3 points, 1 complete region``."""
    told = [several(len(of.points), "point")]
    if complete := len(of.points.complete):
        told.append(several(complete, "complete region"))
    return f"on {of.entry.slide.name}\n{', '.join(told)}"


def whereabouts(of: SlideAnnotations) -> str:
    """Where the document is kept, or will be."""
    path = of.saved.path
    place = "beside the slide" if path == beside(of.entry.slide) else f"in {path.parent}"
    if path.exists():
        return f"{path.name}, {place}, saved at each edit"
    return f"The first edit makes {path.name}, {place}"
