"""How far the predictions of a cohort agree with its labels: a confusion matrix, or figures of numbers."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QLabel, QWidget

from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.cohort.matrix import ConfusionMatrix
from napari_zoommil.viewer.docks.parts import Sentence, heading, row, stack


class Agreement(QWidget):
    """Which slides count; the matrix; how good the predictions are. Hidden without labels."""

    def __init__(self, controller: CohortController) -> None:
        super().__init__()
        self._controller = controller
        self.title = heading("Confusion matrix")
        self.counting = QComboBox()
        self.counting.setToolTip("Which rows are counted")
        self.counting.activated.connect(lambda _: controller.count(self.counting.currentText()))
        self.matrix = ConfusionMatrix()
        self.matrix.chosen.connect(controller.choose_cell)
        self.scores = Sentence(name="cohort-scores")
        stack(self, self.title, row(QLabel("Count"), self.counting, stretch=1), self.matrix, self.scores)

    def offer(self) -> None:
        """Begin anew with another cohort."""
        self.counting.clear()
        self.counting.addItems(list(self._controller.ways))

    def refresh(self) -> None:
        """Bring it to what the rows say."""
        controller = self._controller
        self.setVisible(controller.cohort is not None and controller.cohort.has_labels)
        self.title.setText("AGREEMENT" if controller.is_regression else "CONFUSION MATRIX")
        scores = controller.scores()
        self.matrix.show_scores(scores, controller.filter.cell, controller.unit)
        self.scores.setText(controller.sentence(scores))
