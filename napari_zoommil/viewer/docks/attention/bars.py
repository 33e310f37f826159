"""What was predicted: probabilities of classes as bars, or a value with its unit."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QWidget

from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.colours import class_colour

STEPS = 1000


class ProbabilityBars(QWidget):
    """One line per class: name, bar in the class's colour, probability; of a value, name and value."""

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
        for line, (name, share, text) in enumerate(prediction.task.lines(prediction.values)):
            label = QLabel(name)
            if name == prediction.explained:
                label.setStyleSheet("font-weight: 600;")
            self._grid.addWidget(label, line, 0)
            if share is not None:
                self._grid.addWidget(_bar(share, class_colour(line)), line, 1)
            self._grid.addWidget(QLabel(text), line, 2)


def _bar(value: float, colour: str) -> QProgressBar:
    bar = QProgressBar()
    bar.setRange(0, STEPS)
    bar.setValue(round(value * STEPS))
    bar.setTextVisible(False)
    bar.setMaximumHeight(12)
    bar.setStyleSheet(f"QProgressBar::chunk {{ background: {colour}; }}")
    return bar
