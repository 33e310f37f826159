"""What was predicted: probabilities of classes as bars, or a value with its unit."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.colours import class_colour
from napari_zoommil.viewer.docks.familiarity_note import FamiliarityNote

STEPS = 1000

GREY = "#8a8a8a"
"""Of bars and numbers that are not to be relied on."""


class ProbabilityBars(QWidget):
    """One line per class: name, bar in the class's colour, probability; of a value, name and value.

    Above them stands whether the model knows such tissue; where it does not, they are grey.
    """

    def __init__(self) -> None:
        super().__init__()
        self.familiarity = FamiliarityNote()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.familiarity)
        self._grid = QGridLayout()
        self._grid.setColumnStretch(1, 1)
        column.addLayout(self._grid)

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Fill the bars, or empty them."""
        while item := self._grid.takeAt(0):
            widget = item.widget()
            if widget is not None:
                widget.hide()  # while a dialog is open nothing is deleted
                widget.deleteLater()
        self.familiarity.show_verdict(prediction.familiarity if prediction else None)
        if prediction is None:
            return
        grey = prediction.familiarity.is_unlike
        for line, (name, share, text) in enumerate(prediction.task.lines(prediction.values)):
            label, value = QLabel(name), QLabel(text)
            weight = "font-weight: 600;" if name == prediction.explained and not grey else ""
            label.setStyleSheet(weight + (f"color: {GREY};" if grey else ""))
            value.setStyleSheet(f"color: {GREY};" if grey else "")
            self._grid.addWidget(label, line, 0)
            if share is not None:
                self._grid.addWidget(_bar(share, GREY if grey else class_colour(line)), line, 1)
            self._grid.addWidget(value, line, 2)


def _bar(value: float, colour: str) -> QProgressBar:
    bar = QProgressBar()
    bar.setRange(0, STEPS)
    bar.setValue(round(value * STEPS))
    bar.setTextVisible(False)
    bar.setMaximumHeight(12)
    bar.setStyleSheet(f"QProgressBar::chunk {{ background: {colour}; }}")
    return bar
