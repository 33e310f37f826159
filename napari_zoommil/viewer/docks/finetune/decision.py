"""What becomes of a model that was trained: keep or discard it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import finetune_runs
from napari_zoommil.jobs.finetune_runs import TrainingRun
from napari_zoommil.viewer.docks.finetune.before_after import BeforeAfter
from napari_zoommil.viewer.docks.finetune.state import Lesson
from napari_zoommil.viewer.docks.finetune.verdict import Verdict
from napari_zoommil.viewer.notifications import show_error
from napari_zoommil.viewer.session import Session


class Decision:
    """Keeps or discards the run of a lesson, and tells the session of a kept model.

    Parameters
    ----------
    session : Session
    views : BeforeAfter
        What of the models is shown; it goes with the decision.
    verdict : Verdict
        With the buttons, and the name of the new model.
    say : callable
        Called with a sentence that tells why something cannot be done.
    decided : callable
        Called when it has been done.

    Attributes
    ----------
    of : Lesson or None
        That of the active slide.
    """

    def __init__(
        self,
        session: Session,
        views: BeforeAfter,
        verdict: Verdict,
        say: Callable[[str], None],
        decided: Callable[[], None],
    ) -> None:
        self._session, self._views, self._verdict = session, views, verdict
        self._say, self._decided = say, decided
        self.of: Lesson | None = None
        verdict.keep.clicked.connect(self._keep)
        verdict.discard.clicked.connect(self._discard)

    def _keep(self) -> None:
        lesson = self.of
        if lesson is None or (run := lesson.run) is None:
            return
        name = self._verdict.name.text()
        if folder := self._do(lambda: finetune_runs.keep(run.folder, name)):
            self._session.keep_model(folder, run.request.kind)
            self._close(lesson, f"Kept as {folder}, and chosen in every dock that uses such a model")

    def _discard(self) -> None:
        lesson = self.of
        if lesson is None or (run := lesson.run) is None:
            return
        if self._do(lambda: _deleted(run)):
            self._close(lesson, f"Discarded; {Path(run.request.model).name} stays in use")

    def delete_unfinished(self) -> None:
        """Discard the run that was cut off."""
        run = self.of.unfinished if self.of is not None else None
        if run is not None and self._do(lambda: _deleted(run)):
            self._decided()

    def _do(self, action: Callable[[], Path]) -> Path | None:
        """What an action on a folder returns; None where it cannot be done."""
        if self._views.compared is not None and self._views.compared is self.of:
            self._views.cancel()
        try:
            return action()
        except ZoomMILError as error:
            self._say(str(error))
            show_error(str(error))
            return None

    def _close(self, lesson: Lesson, note: str) -> None:
        self._views.clear(lesson)
        lesson.decided(note)
        self._decided()


def _deleted(run: TrainingRun) -> Path:
    finetune_runs.discard(run.folder)
    return run.folder
