"""The slides of a cohort that are opened from its table, with the overlays of the model that is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_zoommil.jobs.cohort import Answer
from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.tabs import dock_of
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.open_slide import PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.session import Session

MOST_OPEN = 4
"""Slides that stay open of those that were only looked at: who goes from error to error opens many."""


class ShownSlides:
    """Opens slides, and shows of their results that of the model which the cohort is asked with.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    controller : CohortController
    model : callable
        Returns the model.
    where : callable
        Returns what of each slide it is asked to read.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        controller: CohortController,
        model: Callable[[], str],
        where: Callable[[], str],
    ) -> None:
        self._viewer, self._session, self._controller = viewer, session, controller
        self._model, self._where = model, where
        self._opened: list[OpenSlide] = []
        self._wanted: OpenSlide | None = None

    def open(self, path: Path, page: QWidget) -> None:
        """Open a slide, with the Attention dock behind ``page``, which shows its maps.

        Raises
        ------
        SlideError
            If it cannot be opened.
        """
        focused = page.focusWidget()
        was_open = self._session.entry_of(path)
        entry = self._session.open(path)
        if was_open is None:
            self._opened.append(entry)
            self._close_oldest()
        self._wanted = entry
        for key in entry.keys(PREDICTION):
            self._prefer(entry, key)
        show_dock(self._viewer, "Attention")
        # A dock comes to the front in the next round of events.
        QTimer.singleShot(0, lambda: _to_front(page, focused))

    def _close_oldest(self) -> None:
        self._opened = [one for one in self._opened if one.alive]
        for entry in [one for one in self._opened if not self._would_lose(one)][:-MOST_OPEN]:
            self._viewer.layers.remove(entry.layer)
            self._opened.remove(entry)

    def _would_lose(self, entry: OpenSlide) -> bool:
        """Whether there is more of a slide than what is stored, which are predictions and annotations."""
        is_computed = any(key.kind != PREDICTION for key in entry.results)
        is_drawn_on = any(tissue_regions.polygons(self._viewer, entry.slide))
        return is_computed or is_drawn_on or entry.has_jobs

    def predicted(self, path: Path) -> None:
        """A slide has a new stored prediction, which is shown if it is open."""
        if (entry := self._session.entry_of(path)) is not None:
            self._session.restore(entry)

    def result_changed(self, entry: OpenSlide, key: ResultKey) -> None:
        """Take over a prediction of a whole slide that was made in the Attention dock."""
        prediction = entry.results.get(key)
        if key.kind != PREDICTION or prediction is None or key.model != self._model():
            return
        self._prefer(entry, key)
        if key.where == self._where():
            answer = Answer(prediction.task, prediction.values, prediction.familiarity)
            self._controller.answer(entry.slide.path, answer)

    def _prefer(self, entry: OpenSlide, key: ResultKey) -> None:
        """Show the latest result of the model in place of others, once: the user may choose another."""
        if entry is self._wanted and key.model == self._model():
            self._wanted = None
            if entry.shown(PREDICTION) != key:
                self._session.choose(entry, key)


def _to_front(page: QWidget, focused: QWidget | None) -> None:
    dock = dock_of(page)
    if dock is not None:
        dock.show()
        dock.raise_()
    if focused is not None:
        focused.setFocus()
