"""What every dock has in common: it follows the session of its viewer, and ends with its window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import napari
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.place import show_place
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.worker import JobRunner


class SessionDock(Page):
    """A page that shows the active slide.

    A dock makes its runners and widgets, then calls :meth:`_open`: from then on :meth:`_show` is called for
    each slide that becomes active, and again when that slide has become another one. What it has to end
    besides its runners and connections, it adds to ``_ending``.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    kinds : tuple of Kind
        Of the models that it uses; a model of such a kind that is kept anywhere is chosen in it.
    model : ModelChoice
        Of a dock that uses models.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ()
    model: ModelChoice

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = real_viewer(napari_viewer)
        self._session = session_of(self._viewer)
        self._follower = Follower()
        self._entry: OpenSlide | None = None
        self._runners: list[JobRunner] = []
        self._ending: list[Callable[[], None]] = []

    def _runner(
        self,
        yielded: Callable[[Any], None],
        returned: Callable[[Any], None],
        ended: Callable[[str | None], None],
        quiet: bool = False,
    ) -> JobRunner:
        """A runner whose job ends with the dock."""
        runner = JobRunner(self._viewer, yielded, returned, ended, quiet)
        self._runners.append(runner)
        return runner

    def _lay_out(self, *widgets: QWidget) -> None:
        for widget in widgets:
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def _open(self) -> None:
        """Show the active slide, and follow the session."""
        self._follower.follow(self._session.activated, self._activated)
        self._follower.follow(self._session.slide_changed, self._slide_changed)
        if self.kinds:
            self._follower.follow(self._session.model_kept, self._model_kept)
            kept = [one for kind, one in self._session.kept.items() if kind in self.kinds and one.exists()]
            if kept:
                self.add_model(kept[-1])
        self._activated(self._session.active)

    def _join_others(self) -> None:
        super()._join_others()
        show_place(self, self._viewer, self._session)

    def _activated(self, entry: OpenSlide | None) -> None:
        self._entry = entry
        self._catch_up()
        self._show(entry)

    def _slide_changed(self, entry: OpenSlide) -> None:
        if entry is self._entry:
            self._show(entry)

    def event(self, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.WindowActivate:
            self._catch_up()
        return super().event(event)

    def _catch_up(self) -> None:
        """Take over what somebody else has made of the annotations meanwhile."""
        if self._entry is not None:
            self._session.documents.refresh(self._entry)

    def _show(self, entry: OpenSlide | None) -> None:
        """Show a slide, or that none is open."""
        raise NotImplementedError

    def _model_kept(self, folder: Path, kind: Kind) -> None:
        if kind in self.kinds:
            self.add_model(folder)

    def add_model(self, folder: Path) -> None:
        """Offer the model in a folder, and choose it."""
        self.model.choose(Path(folder))

    def _stop(self) -> None:
        """The dock is being taken apart: stop what runs, follow nothing more."""
        self._follower.stop()
        for runner in self._runners:
            runner.close()
        for end in self._ending:
            end()
        self._entry = None
