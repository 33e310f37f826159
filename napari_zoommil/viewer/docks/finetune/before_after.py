"""Before and after in the Fine-tune dock: two models on the same place, one of them in sight at a time."""

from __future__ import annotations

from collections.abc import Callable

import napari

from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.compare import Comparand, compare
from napari_zoommil.viewer.docks.finetune.state import AFTER, BEFORE, Lesson
from napari_zoommil.viewer.docks.finetune.verdict import Verdict
from napari_zoommil.viewer.docks.parts import Act
from napari_zoommil.viewer.keys import BEFORE_AFTER
from napari_zoommil.viewer.layers.view_region import view_region
from napari_zoommil.viewer.worker import JobRunner, spare_cores


class BeforeAfter:
    """What the old and the new model find or look at, as layers that change over.

    Parameters
    ----------
    viewer : napari.Viewer
    verdict : Verdict
    act : Act
        Shows how far the models are.
    ended : callable
        Called when two models have been compared, or not.

    Attributes
    ----------
    compared : Lesson or None
        Whose models are being compared.
    """

    def __init__(self, viewer: napari.Viewer, verdict: Verdict, act: Act, ended: Callable[[], None]) -> None:
        self._viewer, self._verdict, self._act, self._ended = viewer, verdict, act, ended
        self._shown: Lesson | None = None
        self.compared: Lesson | None = None
        self._comparing = JobRunner(viewer, self._found, lambda _: None, self._comparing_ended)
        verdict.after.toggled.connect(lambda _: self._show_side(asked=True))
        viewer.bind_key(BEFORE_AFTER, self.change_over, overwrite=True)

    @property
    def running(self) -> bool:
        return self._comparing.running

    def compare(self, lesson: Lesson, device: str) -> bool:
        """Find cells with both models in what the window shows; whether it shows anything.

        The new model looks first: what has changed is to be seen as soon as may be.
        """
        run, slide = lesson.run, lesson.entry.slide
        region = view_region(self._viewer, slide)
        if run is None or region is None:
            return False
        self.compared = lesson
        self._verdict.after.setChecked(True)
        self._act.show_running(True, "Stop looking; the new model stays for you to decide")
        models = ((AFTER, str(run.folder)), (BEFORE, run.request.model))
        self._comparing.start(
            lambda: compare(slide, region, models, device=device, threads=spare_cores()),
            f"ZoomMIL is comparing two models on {slide.name}",
            lesson.entry,
        )
        return True

    def _found(self, progress: Progress) -> None:
        self._act.show_progress(progress)
        if self.compared is not None and isinstance(progress.partial, Comparand):
            self.compared.add_cells(self._viewer, progress.partial)
            self._refresh(self.compared)

    def _comparing_ended(self, failure: str | None) -> None:
        lesson, self.compared = self.compared, None
        self._act.show_running(False)
        if lesson is not None and failure is not None:
            lesson.note = failure
        self._ended()

    def add_maps(self, lesson: Lesson, seen: AttentionMaps) -> None:
        """Show where a MIL model looks, as it is known."""
        lesson.add_maps(self._viewer, seen)
        if seen.when == AFTER:
            self._verdict.after.setChecked(True)
        self._refresh(lesson)

    def show(self, lesson: Lesson | None, why_not: str) -> None:
        """Those of the active slide; why no models can be compared there, if so."""
        self._shown = lesson
        if lesson is not None:
            sides = lesson.sides(self._viewer)
            self._verdict.show_views(BEFORE in sides, AFTER in sides, why_not)
            self._show_side()

    def _refresh(self, lesson: Lesson) -> None:
        if lesson is self._shown:
            self.show(lesson, "Wait for what is being done")

    def _show_side(self, asked: bool = False) -> None:
        if self._shown is not None:
            side = AFTER if self._verdict.after.isChecked() else BEFORE
            self._shown.show_side(self._viewer, side, asked)

    def change_over(self, _viewer: object = None) -> None:
        """By key, as fast as the eye wants it."""
        if self._shown is not None and len(self._shown.sides(self._viewer)) == 2:
            other = self._verdict.before if self._verdict.after.isChecked() else self._verdict.after
            other.setChecked(True)

    def clear(self, lesson: Lesson) -> None:
        """Take the layers of both sides away."""
        lesson.remove_views(self._viewer)

    def cancel(self) -> None:
        self._comparing.cancel()

    def stop(self) -> None:
        """The dock is being taken apart."""
        self._comparing.close()
        self._viewer.bind_key(BEFORE_AFTER, None)
