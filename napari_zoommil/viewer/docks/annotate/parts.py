"""Parts of the Annotate dock: its boxes, the help sheet, buttons, and what its lines say."""

from __future__ import annotations

from pathlib import Path

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.annotations.paths import beside
from napari_zoommil.files import ANNOTATIONS, GEOJSON, dialog_filter
from napari_zoommil.viewer import keys
from napari_zoommil.viewer.docks.annotate.slide_annotations import Actions, SlideAnnotations
from napari_zoommil.viewer.docks.parts import Sentence, button, row, stack
from napari_zoommil.viewer.docks.saving import ask_where
from napari_zoommil.viewer.layers.drawing import HOW
from napari_zoommil.viewer.sentences import marked

GAP_PX = 16
CLOSING = (Qt.Key.Key_Escape, Qt.Key.Key_F1)


class MarkBox(QWidget):
    """What the mouse does in the canvas; class and removal of what is selected; undo and redo.

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
        self.region = acting("Draw region", f"Draw a region of the chosen class. {HOW}", "region", actions)
        self.select = acting(
            "Select regions", "Select a region by a click inside it, several with Shift", "select", actions
        )
        for one in (self.region, self.complete, self.select):
            one.setCheckable(True)
        self.relabel = acting("Set class", "Give the chosen class to what is selected", "relabel", actions)
        self.remove = acting("Delete", "Remove what is selected", "remove", actions)
        self.undo, self.redo = acting("Undo", "", "undo", actions), acting("Redo", "", "redo", actions)
        stack(
            self,
            self.placing,
            _halves(self.region, self.complete),
            row(self.select, self.relabel, self.remove, stretch=0),
            _halves(self.undo, self.redo),
        )

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
        drawing, complete = (of.regions.drawing, of.regions.drawing_complete) if of else (False, False)
        self.complete.setChecked(complete)
        self.region.setChecked(drawing and not complete)
        self.select.setChecked(of is not None and of.regions.layer is active and active.mode == "select")
        for widget in (self.placing, self.region, self.complete, self.select, self.relabel, self.remove):
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

    asked = Signal(Path)
    """A file to which the annotations are to be written."""

    def __init__(self, annotator: str, actions: Actions) -> None:
        super().__init__()
        self.place = Sentence(name="annotate-file", lines=2)
        self.name = QLineEdit(annotator)
        self.name.setToolTip("Who annotates: written with each point, so that readers can share a slide")
        self.name.editingFinished.connect(lambda: self.signed.emit(self.annotator))
        help_button = acting("? Keys", "All keys", "help", actions)
        self.take_in = button(
            "Import…",
            "Add points and regions of a file: GeoJSON, such as QuPath exports, or XML of ASAP or "
            "ImageScope; nothing is replaced",
        )
        self.take_in.clicked.connect(self._choose)
        self.give = button("Export…", "Write points and regions as GeoJSON, which QuPath reads")
        self.give.clicked.connect(self._choose_target)
        stack(
            self,
            self.place,
            row(QLabel("Annotator"), self.name, stretch=1),
            row(self.take_in, self.give, help_button, stretch=0),
        )

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Import annotations", self._folder, dialog_filter("Annotations", ANNOTATIONS)
        )
        if name:
            self.chosen.emit(Path(name))

    def _choose_target(self) -> None:
        start = Path(self._folder) / self._name
        path = ask_where(self, "Export annotations", start, "GeoJSON", GEOJSON)
        if path is not None:
            self.asked.emit(path)

    @property
    def annotator(self) -> str:
        return self.name.text().strip()

    def show_place(self, of: SlideAnnotations | None) -> None:
        """Show where the document is kept."""
        self._folder = str(of.entry.slide.path.parent) if of else ""
        self._name = f"{of.entry.slide.stem}.annotations{GEOJSON[0]}" if of else ""
        for widget in (self.take_in, self.give):
            widget.setEnabled(of is not None)
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


def _halves(*widgets: QWidget) -> QWidget:
    """Side by side, equally wide."""
    holder = row(*widgets)
    line = holder.layout()
    assert isinstance(line, QHBoxLayout)
    for index in range(len(widgets)):
        line.setStretch(index, 1)
    return holder


def acting(text: str, tip: str, action: str, actions: Actions) -> QPushButton:
    """A button that does what a key does, with the key in its tooltip."""
    made = button(text, keys.with_keys(tip, action))
    made.clicked.connect(lambda: actions[action](0))
    return made


def headline(of: SlideAnnotations) -> str:
    """The slide, and in a second line how much is marked on it: ``3 points, 2 regions (1 complete)``."""
    return f"on {of.entry.slide.name}\n{marked(of.points)}"


def whereabouts(of: SlideAnnotations) -> str:
    """Where the document is kept, or will be."""
    path = of.saved.path
    place = "beside the slide" if path == beside(of.entry.slide) else f"in {path.parent}"
    if path.exists():
        return f"{path.name}, {place}, saved at each edit"
    return f"The first edit makes {path.name}, {place}"
