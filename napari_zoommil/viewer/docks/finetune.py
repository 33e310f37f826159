"""The Fine-tune dock: teach a cell model with a few points, and look at before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from napari.utils.notifications import show_error
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

from napari_zoommil.annotations.files import stamp_of
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import Progress
from napari_zoommil.viewer import training_runs
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.curves import Curves
from napari_zoommil.viewer.docks.finetune_models import CellModelChoice, tell_detect_dock
from napari_zoommil.viewer.docks.finetune_parts import (
    BEFORE_AFTER_KEY,
    Settings,
    Unfinished,
    Verdict,
    what_it_trains_on,
)
from napari_zoommil.viewer.docks.parts import Act, Follower, Page, Sentence, heading
from napari_zoommil.viewer.lesson import AFTER, BEFORE, Lesson
from napari_zoommil.viewer.looking import Looking
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.teaching import Finding, Trace, compare, teach
from napari_zoommil.viewer.training_set import TrainingSet, look
from napari_zoommil.viewer.view_region import view_region
from napari_zoommil.viewer.words import duration
from napari_zoommil.viewer.worker import JobRunner, sentence_of, spare_cores

LOOK_MS = 400
"""How often the annotations are looked after; whoever edits them writes them to disk at each edit."""


class FinetuneDock(Page):
    """What it trains on, how; Fine-tune, Cancel and Resume; curves; before and after; Keep and Discard."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = viewer = real_viewer(napari_viewer)
        self._session = session_of(viewer)
        self._follower = Follower()
        self._lessons: dict[OpenSlide, Lesson] = {}
        self._entry: OpenSlide | None = None
        self._busy: OpenSlide | None = None
        self._looking: Looking[OpenSlide, TrainingSet] = Looking(self._looked, self._not_looked)
        self._training = JobRunner(viewer, self._progress, self._trained, self._training_ended)
        self._comparing = JobRunner(viewer, self._compared, lambda _: None, self._comparing_ended)
        self._build()
        self._follower.follow(self._session.activated, self._show)
        self._follower.follow(self._session.changed, self._show)
        self._follower.follow(self._session.removed, self._removed)
        self._follower.follow(viewer.events.theme, self._set_theme)
        viewer.bind_key(BEFORE_AFTER_KEY, self._change_over, overwrite=True)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(LOOK_MS)
        self._set_theme()
        self._show(self._session.active)

    def _build(self) -> None:
        self.model = CellModelChoice(self, self._look)
        self.slide = Sentence(name="finetune-slide")
        self.what = Sentence(name="finetune-what")
        self.settings = Settings(self._look)
        self.device = Sentence(name="device")
        self.act = Act("Fine-tune", self._teach, self._cancel)
        self.unfinished = Unfinished(self._resume, self._delete_unfinished)
        self.curves = Curves()
        self.result = heading("Before and after")
        self.verdict = Verdict(lambda _: self._show_views(), self._compare, self._keep, self._discard)
        widgets = (
            heading("Teach"),
            self.model,
            self.slide,
            self.what,
            heading("How"),
            self.settings,
            self.device,
            self.act,
            self.unfinished,
            self.curves,
            self.result,
            self.verdict,
        )
        for widget in widgets:
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def _set_theme(self, _event: object = None) -> None:
        theme = get_theme(self._viewer.theme)
        self.curves.set_colours(theme.text.as_hex(), theme.background.as_hex())

    # What: slide, points, what can be gone on with

    @property
    def lesson(self) -> Lesson | None:
        """That of the active slide."""
        return self._lessons.setdefault(self._entry, Lesson()) if self._entry else None

    def _show(self, entry: OpenSlide | None) -> None:
        if entry is not self._session.active:
            return
        self._entry = entry
        self._look()
        self._refresh()

    def _removed(self, entry: OpenSlide) -> None:
        """The slide is gone: so is what runs for it."""
        if entry is self._busy:
            self._cancel()
        self._lessons.pop(entry, None)

    def _look(self) -> None:
        """Find out anew what there is to train on."""
        self._looking.stop()
        entry = self._entry
        if entry is not None and entry.slide.mpp is not None:
            arguments = (self.model.chosen, self.settings.preset.currentData(), self._device)
            self._looking.start(entry, lambda: look(entry.slide, *arguments))

    @property
    def _device(self) -> str:
        return self.settings.device.currentText()

    def _tick(self) -> None:
        """Has somebody annotated?"""
        found = self.lesson.found if self.lesson else None
        if found is not None and not self._looking.running and stamp_of(found.path) != found.stamp:
            self._look()

    def _looked(self, entry: OpenSlide, found: TrainingSet) -> None:
        lesson = self._lessons.get(entry)
        if lesson is None:
            return
        lesson.found = found
        if lesson.run is None and entry is not self._busy:
            for run in [one for one in found.runs if one.trained][:1]:  # from another day
                lesson.await_decision(run)
        if entry is self._entry:
            self._refresh()

    def _not_looked(self, entry: OpenSlide, error: Exception) -> None:
        """The slide's folder is gone, or something that nobody has thought of."""
        if entry is self._entry:
            self.what.setText(sentence_of(error))
            self.act.set_ready(False, sentence_of(error))

    def _refresh(self) -> None:
        """Bring the page to what is known of the active slide."""
        entry, lesson = self._entry, self.lesson
        found = lesson.found if lesson else None
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.what.setText(what_it_trains_on(found))
        self.model.offer(found.kept if found else ())
        if found is not None:
            self.settings.tell_preset(found)
        self.device.setText(f"Device: {found.device}" if found and found.device else "")
        why_not = self._why_not()
        self.act.set_ready(not why_not, why_not or "Teach the model with these points")
        if self._busy is None:
            self.act.note.setText(lesson.note if lesson else "")
        free = lesson.unfinished if lesson and lesson.run is None and entry is not self._busy else None
        self.unfinished.show_run(free, self._why_busy())
        self._refresh_result(lesson)

    def _refresh_result(self, lesson: Lesson | None) -> None:
        trace = lesson.trace if lesson else Trace()
        self.curves.setVisible(bool(trace.losses or trace.history))
        self.curves.show_trace(trace)
        run = lesson.run if lesson else None
        for widget in (self.result, self.verdict):
            widget.setVisible(run is not None)
        if lesson is not None and run is not None:
            self.verdict.show_metrics(run.metrics)
            if self.verdict.named_for != run.folder:
                self.verdict.offer_name(run.folder, f"{Path(run.request.model).name[:20]} {run.began}")
            self._show_views()

    def _why_busy(self) -> str:
        if self._busy is None:
            return ""
        return f"Wait for what is being done on {self._busy.slide.name}, or cancel it"

    def _why_not(self) -> str:
        """What must be done before it can be trained; empty if nothing."""
        lesson = self.lesson
        if self._entry is None or lesson is None:
            return "Open a slide first"
        if self._entry.slide.mpp is None:
            return "Set the pixel size in the Slide dock first: this slide does not state it"
        if lesson.run is not None:
            return "Keep or discard the new model first"
        if not self.model.chosen:
            return "Choose a cell model first"
        if lesson.found is None:
            return "The points are being counted"
        if lesson.found.problem:
            return lesson.found.problem
        return "" if lesson.found.counts else "Mark a few cells in the Annotate dock first"

    # Act

    def _teach(self) -> None:
        if not self._why_not() and self._busy is None:
            self._start(self.settings.request(self.model.chosen))

    def _resume(self) -> None:
        run = self.lesson.unfinished if self.lesson else None
        if run is not None and self._busy is None:
            self._start(run.request, run.folder)

    def _start(self, request: training_runs.Request, resume: Path | None = None) -> None:
        entry, lesson, device = self._entry, self.lesson, self._device
        if entry is None or lesson is None:
            return
        self._busy, slide = entry, entry.slide
        self._looking.stop()  # it would compute beside the training
        lesson.trace, lesson.note = Trace(), ""
        self.act.show_running(True, "Stop; what was learned until the last epoch can be gone on with")
        self._training.start(
            lambda: teach(slide, request, resume, device=device, threads=spare_cores()),
            f"ZoomMIL is teaching a model on {slide.name}; it can be gone on with later",
        )
        self._refresh()

    def _cancel(self) -> None:
        self._training.cancel()
        self._comparing.cancel()

    def _progress(self, progress: Progress) -> None:
        entry = self._busy
        if entry is None:
            return
        owner = "" if entry is self._entry else f"{entry.slide.name}, "
        self.act.show_progress(progress.done, progress.total, owner + progress.note)
        lesson = self._lessons.get(entry)
        if lesson is not None and isinstance(progress.partial, Trace):
            lesson.trace = progress.partial
            if entry is self._entry:
                self.curves.setVisible(bool(lesson.trace.losses or lesson.trace.history))
                self.curves.show_trace(lesson.trace)

    def _trained(self, result: Any) -> None:
        lesson = self._lessons.get(self._busy) if self._busy else None
        if lesson is not None:
            run = training_runs.read_run(Path(result.model))
            assert run is not None, "a training leaves its request in its folder"
            lesson.await_decision(run)
            lesson.note = (
                f"Trained in {duration(result.seconds)}. The old model stays in use until you keep this."
            )

    def _training_ended(self, failure: str | None) -> None:
        entry, self._busy = self._busy, None
        self.act.show_running(False)
        lesson = self._lessons.get(entry) if entry else None
        if lesson is None or entry is None:
            return self._refresh()
        if lesson.run is None:
            lesson.note = failure or "Cancelled"
            lesson.trace = Trace()
        self._refresh()
        if lesson.run is not None and entry.alive:
            self._compare_on(entry, lesson)
        else:
            self._look()

    # Before and after

    def _compare(self) -> None:
        if self._entry is not None and self.lesson is not None and self._busy is None:
            self._compare_on(self._entry, self.lesson)

    def _compare_on(self, entry: OpenSlide, lesson: Lesson) -> None:
        """The new model looks first: what has changed is to be seen as soon as may be."""
        run, slide, device = lesson.run, entry.slide, self._device
        region = view_region(self._viewer, slide)
        if run is None or region is None:
            lesson.note += " The window shows nothing of the slide: go there and compare."
            return self._refresh()
        self._busy = entry
        self.verdict.after.setChecked(True)
        self.act.show_running(True, "Stop looking; the new model stays for you to decide")
        models = ((AFTER, str(run.folder)), (BEFORE, run.request.model))
        self._comparing.start(
            lambda: compare(slide, region, models, device=device, threads=spare_cores()),
            f"ZoomMIL is comparing two models on {slide.name}",
        )
        self._refresh()

    def _compared(self, progress: Progress) -> None:
        entry, lesson = self._busy, self._lessons.get(self._busy) if self._busy else None
        self.act.show_progress(progress.done, progress.total, progress.note)
        found = progress.partial
        if entry is None or lesson is None or not entry.alive or not isinstance(found, Finding):
            return
        lesson.add_view(self._viewer, entry, found)
        if entry is self._entry:
            self._show_views()

    def _comparing_ended(self, failure: str | None) -> None:
        entry, self._busy = self._busy, None
        self.act.show_running(False)
        lesson = self._lessons.get(entry) if entry else None
        if lesson is not None and failure is not None:
            lesson.note = failure
        self._refresh()

    def _show_views(self) -> None:
        """One of the two is in sight."""
        if self.lesson is None:
            return
        views = self.lesson.views(self._viewer)
        self.verdict.show_views(BEFORE in views, AFTER in views, self._why_busy())
        self.lesson.show_view(self._viewer, AFTER if self.verdict.after.isChecked() else BEFORE)

    def _change_over(self, _viewer: object = None) -> None:
        """By key, as fast as the eye wants it."""
        if self.lesson is not None and len(self.lesson.views(self._viewer)) == 2:
            other = self.verdict.before if self.verdict.after.isChecked() else self.verdict.after
            other.setChecked(True)

    # The decision

    def _keep(self) -> None:
        lesson = self.lesson
        if lesson is None or lesson.run is None:
            return
        run = lesson.run
        if self._decide(lambda: self._kept(training_runs.keep(run.folder, self.verdict.name.text()))):
            self._done(lesson, f"Kept as {Path(self.model.chosen).name}, and chosen for what comes next")

    def _kept(self, folder: Path) -> None:
        self.model.choose(folder)
        tell_detect_dock(self._viewer, folder)

    def _discard(self) -> None:
        lesson = self.lesson
        if lesson is None or lesson.run is None:
            return
        run = lesson.run
        if self._decide(lambda: training_runs.discard(run.folder)):
            self._done(lesson, f"Discarded; {Path(run.request.model).name} stays in use")

    def _delete_unfinished(self) -> None:
        run = self.lesson.unfinished if self.lesson else None
        if run is not None and self._decide(lambda: training_runs.discard(run.folder)):
            self._look()

    def _decide(self, action: Callable[[], None]) -> bool:
        if self._busy is self._entry:
            self._comparing.cancel()
        try:
            action()
        except ZoomMILError as error:
            self.act.note.setText(str(error))
            show_error(str(error))
            return False
        return True

    def _done(self, lesson: Lesson, note: str) -> None:
        lesson.remove_views(self._viewer)
        lesson.decided(note)
        self._look()
        self._refresh()

    def _stop(self) -> None:
        """The dock is being taken apart; a training is cut off and can be gone on with."""
        self._timer.stop()
        self._looking.stop()
        self._follower.stop()
        self._training.close()
        self._comparing.close()
        self._viewer.bind_key(BEFORE_AFTER_KEY, None)
        for lesson in self._lessons.values():
            lesson.remove_views(self._viewer)
        self._lessons.clear()
