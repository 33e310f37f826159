"""Probabilities per class as bars."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QWidget

from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.colours import class_colour

STEPS = 1000


class ProbabilityBars(QWidget):
    """One line per class: name, bar in the class's colour, probability."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Fill the bars, or empty them."""
        while item := self._grid.takeAt(0):
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        if prediction is None:
            return
        for line, (name, value) in enumerate(
            zip(prediction.class_names, prediction.probabilities, strict=True)
        ):
            label = QLabel(name)
            if name == prediction.predicted:
                label.setStyleSheet("font-weight: 600;")
            self._grid.addWidget(label, line, 0)
            self._grid.addWidget(_bar(float(value), class_colour(line)), line, 1)
            self._grid.addWidget(QLabel(f"{value:.2f}"), line, 2)


def _bar(value: float, colour: str) -> QProgressBar:
    bar = QProgressBar()
    bar.setRange(0, STEPS)
    bar.setValue(round(value * STEPS))
    bar.setTextVisible(False)
    bar.setMaximumHeight(12)
    bar.setStyleSheet(f"QProgressBar::chunk {{ background: {colour}; }}")
    return bar
