"""Where an explanation looks: at all that was read, in the window, or inside a patch that is clicked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import napari
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_zoommil.geometry import Pair, magnification_name
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.focus import Focus
from napari_zoommil.viewer.docks.parts import NarrowComboBox, Sentence, row
from napari_zoommil.viewer.keys import WHY
from napari_zoommil.viewer.layers.view_region import window_region
from napari_zoommil.viewer.metadata import level_0
from napari_zoommil.viewer.open_slide import OpenSlide

ALL, WINDOW, PATCH = "All read", "Visible window", "Inside a patch"
EVERY = "All scales"
ASK_PATCH = f"Click a patch on the slide, or point at it and press {WHY}"


class Place(QWidget):
    """Place and magnification, and the clicks that choose a patch.

    Parameters
    ----------
    viewer : napari.Viewer
    changed : callable
        Called when another place is chosen.
    picked : callable
        Called when a patch was picked on the slide.
    """

    def __init__(
        self, viewer: napari.Viewer, changed: Callable[[], None], picked: Callable[[], None]
    ) -> None:
        super().__init__()
        self._viewer, self._picked = viewer, picked
        self._entry: OpenSlide | None = None
        self.at: Pair | None = None
        self.choice = NarrowComboBox()
        self.choice.addItems([ALL, WINDOW, PATCH])
        self.choice.setToolTip(
            "Of what the prediction is explained; it stays that of all that was read. Inside a patch, pixels "
            "are explained, through the encoder"
        )
        self.magnification = NarrowComboBox()
        self.magnification.setToolTip("Which magnification is explained; of a patch, the highest by default")
        for box in (self.choice, self.magnification):
            box.setMinimumContentsLength(9)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.told = Sentence(name="explain-place")
        self.choice.currentIndexChanged.connect(self._tell)
        self.choice.currentIndexChanged.connect(lambda _: changed())
        self.magnification.currentIndexChanged.connect(lambda _: changed())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.choice, self.magnification, stretch=0))
        column.addWidget(self.told)
        viewer.mouse_drag_callbacks.append(self._clicked)
        viewer.bind_key(WHY, self._pick_at_pointer, overwrite=True)
        self._tell()

    def stop(self) -> None:
        """Let go of the viewer."""
        self._viewer.mouse_drag_callbacks.remove(self._clicked)
        self._viewer.bind_key(WHY, None)

    def show_prediction(self, entry: OpenSlide | None, prediction: Prediction | None) -> None:
        """Offer the magnifications of a prediction; a patch of another slide is let go."""
        if entry is not self._entry:
            self.at = None
        self._entry = entry
        before = self.magnification.currentText()
        levels = prediction.grid.magnifications if prediction is not None else ()
        with QSignalBlocker(self.magnification):
            self.magnification.clear()
            self.magnification.addItem(EVERY, None)
            for one in levels:
                self.magnification.addItem(magnification_name(one), one)
            self.magnification.setCurrentIndex(max(0, self.magnification.findText(before)))
        self._tell()

    @property
    def focus(self) -> tuple[Focus | None, str]:
        """What is chosen; and why it cannot be, if so."""
        magnification, chosen = self.magnification.currentData(), self.choice.currentText()
        if chosen == PATCH:
            if self.at is None:
                return None, ASK_PATCH
            return Focus(at=self.at, only_magnification=magnification), ""
        if chosen == WINDOW and self._entry is not None:
            seen = window_region(self._viewer, self._entry.slide)
            if seen is None:
                return None, "The window shows nothing of the slide"
            box = tuple(float(round(one)) for one in (seen.y, seen.x, seen.height, seen.width))
            return Focus(window=box, only_magnification=magnification), ""  # type: ignore[arg-type]
        return Focus(only_magnification=magnification), ""

    def _tell(self, _index: int = 0) -> None:
        chosen = self.choice.currentText()
        if chosen == PATCH and self.at is not None:
            self.told.setText(f"The patch at y {self.at[0]:,.0f}, x {self.at[1]:,.0f} px. {ASK_PATCH}")
        else:
            self.told.setText(ASK_PATCH if chosen == PATCH else "")
        self.told.setVisible(chosen == PATCH)

    def _clicked(self, _viewer: Any, event: Any) -> Generator[None, None, None]:
        """A press and release in one place picks a patch; with a move between them it was a pan."""
        yield
        if event.type != "mouse_move" and self.choice.currentText() == PATCH and self.isVisible():
            self._pick()

    def _pick_at_pointer(self, _viewer: Any) -> None:
        if self._entry is not None:
            with QSignalBlocker(self.choice):
                self.choice.setCurrentText(PATCH)
            self._pick()

    def _pick(self) -> None:
        if self._entry is None:
            return
        y, x = level_0(self._entry.slide, self._viewer.cursor.position[-2:])
        if 0 <= y < self._entry.slide.shape[0] and 0 <= x < self._entry.slide.shape[1]:
            self.at = float(round(y)), float(round(x))
            self._tell()
            self._picked()
