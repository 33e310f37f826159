"""The classes of an annotation document: the list of them, and what can be done to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from qtpy.QtCore import QEvent, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QDoubleSpinBox,
    QHeaderView,
    QLabel,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from napari_zoommil.annotations.classes import Colour
from napari_zoommil.annotations.edits import Classes
from napari_zoommil.viewer.docks.parts import button, fit_columns, row, stack
from napari_zoommil.viewer.sentences import several

KEY, SWATCH, NAME, POINTS, REGIONS, AREA = range(6)
TITLES = ("", "", "Class", "Points", "Regions", "mm²")
WIDTHS = {KEY: 22, SWATCH: 26, POINTS: 48, REGIONS: 56, AREA: 54}
KEYS = 9
FEWEST_ROWS, MOST_ROWS = 3, 9
ROW_PX = 26
SWATCH_PX = 16


class Tally(NamedTuple):
    """How much there is of a class; the area of its regions, mm², is None where the resolution is unknown."""

    points: int = 0
    regions: int = 0
    mm2: float | None = None

    def __str__(self) -> str:
        told = several(self.points, "point")
        return f"{told} and {several(self.regions, 'region')}" if self.regions else told

    @property
    def texts(self) -> tuple[str, str, str]:
        """For the columns."""
        area = _short(self.mm2) if self.regions and self.mm2 is not None else ""
        return f"{self.points:,}", f"{self.regions:,}" if self.regions else "", area


def _short(mm2: float) -> str:
    """Three digits, and at most three decimals."""
    if mm2 < 0.0005:
        return "< 0.001"
    return f"{mm2:,.0f}" if mm2 >= 100 else f"{mm2:.3f}" if mm2 < 1 else f"{mm2:.3g}"


class ClassList(QTreeWidget):
    """Classes, each with its number key, colour, name, points and regions; one is chosen.

    It never takes the keyboard but to rename: keys belong to the canvas.
    """

    chosen = Signal(int)
    """Label of the class that was clicked."""

    renamed = Signal(int, str)
    recoloured = Signal(int, tuple)

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(list(TITLES))
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(SWATCH_PX, SWATCH_PX))
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(24)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.itemClicked.connect(self._clicked)
        self.itemDoubleClicked.connect(self._double_clicked)
        self.itemChanged.connect(self._changed)

    def show_classes(self, classes: Classes, tallies: Mapping[str, Tally], label: int) -> None:
        """Show classes with how much there is of each; ``label`` is the chosen one."""
        with QSignalBlocker(self):
            while self.topLevelItemCount() > len(classes):
                self.takeTopLevelItem(len(classes))
            while self.topLevelItemCount() < len(classes):
                self.addTopLevelItem(self._row(self.topLevelItemCount() + 1))
            for index, one in enumerate(classes):
                item = self.topLevelItem(index)
                assert item is not None
                _set_text(item, NAME, one.name)
                for column, text in zip((POINTS, REGIONS, AREA), tallies[one.name].texts, strict=True):
                    _set_text(item, column, text)
                if item.data(SWATCH, Qt.ItemDataRole.UserRole) != one.colour:
                    item.setData(SWATCH, Qt.ItemDataRole.UserRole, one.colour)
                    item.setIcon(SWATCH, swatch(one.colour))
            self.setCurrentItem(self.topLevelItem(label - 1), NAME)
        self._fit()

    def _fit(self) -> None:
        fit_columns(self, WIDTHS)
        rows = min(max(self.topLevelItemCount(), FEWEST_ROWS), MOST_ROWS)
        header = self.header()
        assert header is not None
        header.ensurePolished()
        self.setFixedHeight(rows * ROW_PX + header.sizeHint().height() + 2 * self.frameWidth())

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit()  # the window's style comes after the first classes

    def showEvent(self, event: QShowEvent | None) -> None:
        self._fit()
        super().showEvent(event)

    def _row(self, label: int) -> QTreeWidgetItem:
        item = QTreeWidgetItem([str(label) if label <= KEYS else ""])
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        item.setTextAlignment(KEY, Qt.AlignmentFlag.AlignCenter)
        for column in (POINTS, REGIONS, AREA):
            item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        item.setToolTip(KEY, f"Key {label} chooses this class" if label <= KEYS else "Click to choose")
        item.setToolTip(SWATCH, "Click for another colour")
        item.setToolTip(NAME, "Click to choose; double click or F2 to rename")
        item.setToolTip(POINTS, "Points of this class")
        item.setToolTip(REGIONS, "Regions of this class")
        item.setToolTip(AREA, "Area of the regions of this class, without their holes, mm²")
        item.setSizeHint(KEY, QSize(0, ROW_PX))
        return item

    def rename(self, label: int) -> None:
        """Let the user type another name."""
        item = self.topLevelItem(label - 1)
        if item is not None:
            self.editItem(item, NAME)

    def _label(self, item: QTreeWidgetItem) -> int:
        return self.indexOfTopLevelItem(item) + 1

    def _clicked(self, item: QTreeWidgetItem, column: int) -> None:
        self.chosen.emit(self._label(item))
        if column == SWATCH:
            old = QColor(*item.data(SWATCH, Qt.ItemDataRole.UserRole))
            new = QColorDialog.getColor(old, self, f"Colour of {item.text(NAME)}")
            if new.isValid():
                self.recoloured.emit(self._label(item), (new.red(), new.green(), new.blue()))

    def _double_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        if column in (NAME, KEY):
            self.rename(self._label(item))

    def _changed(self, item: QTreeWidgetItem, column: int) -> None:
        if column == NAME:
            self.renamed.emit(self._label(item), item.text(NAME).strip())


class ClassBox(QWidget):
    """The list of classes, with what can be done to them."""

    edited = Signal(str, tuple)
    """An edit of the document, by the name of its method, and the arguments."""

    said = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._classes: Classes = ()
        self._tallies: Mapping[str, Tally] = {}
        self._label = 0
        self.list = ClassList()
        self.list.renamed.connect(lambda label, name: self.edited.emit("rename_class", (label, name)))
        self.list.recoloured.connect(lambda label, to: self.edited.emit("recolour_class", (label, to)))
        self.add = button("+ Class", "Add a class and name it")
        self.add.clicked.connect(self._add)
        self.drop = button(
            "Remove", "Remove the chosen class, its points and its regions (undo brings them back)"
        )
        self.drop.clicked.connect(self._remove)
        self.diameter = _diameter()
        self.diameter.valueChanged.connect(lambda um: self.edited.emit("resize_class", (self._label, um)))
        stack(self, self.list, row(self.add, self.drop, 1, QLabel("Cell Ø"), self.diameter))

    def show_classes(self, classes: Classes, tallies: Mapping[str, Tally], label: int) -> None:
        """Show classes with how much there is of each; ``label`` is the chosen one."""
        self._classes, self._tallies, self._label = classes, tallies, label
        self.list.show_classes(classes, tallies, label)
        self.drop.setEnabled(bool(classes))
        self.diameter.setEnabled(bool(classes))
        with QSignalBlocker(self.diameter):
            if classes:
                self.diameter.setValue(classes[label - 1].diameter_um)

    def rename(self) -> None:
        """Let the user type another name for the chosen class."""
        self.list.rename(self._label)

    def _add(self) -> None:
        taken = {one.name for one in self._classes}
        number = len(taken) + 1
        while f"class {number}" in taken:
            number += 1
        self.edited.emit("add_class", (f"class {number}",))
        self.list.chosen.emit(len(self._classes))
        self.rename()

    def _remove(self) -> None:
        gone = self._classes[self._label - 1].name
        tally = self._tallies[gone]
        self.edited.emit("remove_class", (self._label,))
        self.said.emit(f"{gone} is gone with {tally}; Undo brings it back")


def _diameter() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(1.0, 200.0)
    box.setDecimals(1)
    box.setSuffix(" µm")
    box.setKeyboardTracking(False)
    box.setToolTip(
        "Diameter of a cell of the chosen class, µm: how large its points are drawn, "
        "and how large a model takes a marked cell to be that it does not find itself"
    )
    return box


def _set_text(item: QTreeWidgetItem, column: int, text: str) -> None:
    if item.text(column) != text:
        item.setText(column, text)


def swatch(colour: Colour) -> QIcon:
    """A filled disc, as the points are."""
    pixmap = QPixmap(2 * SWATCH_PX, 2 * SWATCH_PX)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(*colour))
    painter.setPen(QColor("#909090"))
    painter.drawEllipse(3, 3, 2 * SWATCH_PX - 6, 2 * SWATCH_PX - 6)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # Qt would tint it, and it is the colour on the canvas
    return icon
