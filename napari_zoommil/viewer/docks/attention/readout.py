"""Scores of the patches under the pointer; a click keeps them in sight."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import napari

from napari_zoommil.maps.methods import METHODS
from napari_zoommil.viewer.docks.attention.maps import MapsPanel
from napari_zoommil.viewer.docks.parts import Sentence
from napari_zoommil.viewer.metadata import level_0
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import patch_scores

LINES = 10
"""Of three magnifications."""

KEPT = "\n(kept; click to release)"


class Readout(Sentence):
    """Follows the pointer over the active slide's prediction."""

    def __init__(self, viewer: napari.Viewer, maps: MapsPanel) -> None:
        super().__init__(name="readout", lines=LINES)
        self.setToolTip(
            "What the model gives to the patches under the pointer, and what they do to its answer by the "
            "method that is shown (else by leave-one-out, or by evidence, where the model has them); "
            "lowest magnification first"
        )
        self._viewer, self._maps = viewer, maps
        self._entry: OpenSlide | None = None
        self._kept = False
        self._place: tuple[float, float] | None = None
        maps.painted.connect(self._tell)
        viewer.mouse_move_callbacks.append(self.pointed)
        viewer.mouse_drag_callbacks.append(self.clicked)

    def set_slide(self, entry: OpenSlide | None) -> None:
        """Read from another slide, or from the same after a run."""
        self._entry, self._kept, self._place = entry, False, None
        has = entry is not None and entry.prediction is not None
        self.setText("Point at a patch to read its scores; click to keep them" if has else "Nothing yet")

    def pointed(self, _viewer: Any, _event: Any) -> None:
        """The pointer moved."""
        if not self._kept and self._entry is not None and self._entry.prediction is not None:
            self._place = level_0(self._entry.slide, self._viewer.cursor.position[-2:])
            self._tell()

    def clicked(self, _viewer: Any, event: Any) -> Generator[None, None, None]:
        """A press and release in one place; with a move between them it was a pan."""
        yield
        if event.type == "mouse_move" or self._entry is None or self._entry.prediction is None:
            return
        self._place = level_0(self._entry.slide, self._viewer.cursor.position[-2:])
        self._kept = bool(self._scores()) and not self._kept
        self._tell()

    def _tell(self) -> None:
        """Say what there is at the place that was pointed at, by the method that is shown now."""
        if self._place is not None:
            scores = self._scores()
            self.setText((scores + KEPT if self._kept else scores) or "Off the tissue")

    def _scores(self) -> str:
        entry = self._entry
        if entry is None or entry.prediction is None or self._place is None:
            return ""
        y, x = self._place
        kind, target = self._maps.kind, self._maps.target or entry.prediction.explained
        method = kind if kind in METHODS and METHODS[kind].per_output else None
        return patch_scores(
            entry.prediction, y, x, target, method, entry.explanation(method) if method else None
        )

    def stop(self) -> None:
        """Let go of the viewer."""
        self._viewer.mouse_move_callbacks.remove(self.pointed)
        self._viewer.mouse_drag_callbacks.remove(self.clicked)
