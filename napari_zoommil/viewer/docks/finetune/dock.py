"""The Fine-tune dock: teach a model with a few points, and look at before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from napari.utils.notifications import show_error
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

from napari_zoommil.errors import ConsentError, ZoomMILError
from napari_zoommil.files import stamp_of
from napari_zoommil.jobs import Progress, finetune_runs
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.finetune_plan import TrainingSet, look
from napari_zoommil.jobs.finetune_run import Trace, teach
from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.encoder_question import FIRST, EncoderQuestion
from napari_zoommil.viewer.docks.finetune.before_after import BeforeAfter
from napari_zoommil.viewer.docks.finetune.curves import Curves
from napari_zoommil.viewer.docks.finetune.parts import (
    Settings,
    SlideIs,
    Unfinished,
    what_is_missing,
    what_it_trains_on,
)
from napari_zoommil.viewer.docks.finetune.state import Lesson
from napari_zoommil.viewer.docks.finetune.verdict import Verdict
from napari_zoommil.viewer.docks.model_choice import ModelChoice, tell_docks
from napari_zoommil.viewer.docks.parts import Act, Follower, Page, Sentence, heading
from napari_zoommil.viewer.looking import Looking
from napari_zoommil.viewer.sentences import duration, lack_of
from napari_zoommil.viewer.session import OpenSlide, session_of
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
        self._taught: OpenSlide | None = None
        self._model = ""
        self._looking: Looking[OpenSlide, TrainingSet] = Looking(self._looked, self._not_looked)
        self._training = JobRunner(viewer, self._progress, self._trained, self._training_ended)
        self._build()
        self.views = BeforeAfter(viewer, self.verdict, self.act, self._refresh)
        self._follower.follow(self._session.activated, self._show)
        self._follower.follow(self._session.changed, self._show)
        self._follower.follow(self._session.removed, self._removed)
        self._follower.follow(viewer.events.theme, self._set_theme)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(LOOK_MS)
        self._set_theme()
        self._show(self._session.active)

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("cells", "mil"))
        self.model.setToolTip("The model that is taught; it stays as it is, and a new one is made")
        self.encoder = EncoderQuestion(self._session, self._teach)
        self.slide = Sentence(name="finetune-slide")
        self.what = Sentence(name="finetune-what")
        self.slide_is = SlideIs(self._reconsider)
        self.settings = Settings(self._reconsider)
        self.device = Sentence(name="device")
        self.act = Act("Fine-tune", self._teach, self._cancel)
        self.unfinished = Unfinished(self._resume, self._delete_unfinished)
        self.curves = Curves()
        self.result = heading("Before and after")
        self.verdict = Verdict(self._compare, self._keep, self._discard)
        widgets = (
            heading("Teach"),
            self.model,
            self.encoder,
            self.slide,
            self.what,
            self.slide_is,
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
        return self._lessons.get(self._entry) if self._entry else None

    @property
    def _busy(self) -> OpenSlide | None:
        """The slide on which a model is taught, or two are compared."""
        return self._taught or self.views.entry

    def _show(self, entry: OpenSlide | None) -> None:
        if entry is not self._session.active:
            return
        self._entry = entry
        if entry is not None:
            self._lessons.setdefault(entry, Lesson())
        self._reconsider()

    def _removed(self, entry: OpenSlide) -> None:
        """The slide is gone: so is what runs for it."""
        if entry is self._busy:
            self._cancel()
        self._lessons.pop(entry, None)
        if entry is self._entry:
            self._entry = None

    def _reconsider(self) -> None:
        """Another slide, another model, or other settings."""
        self.encoder.show_for(self.model.chosen)
        self._refresh()
        self._look()

    def _look(self) -> None:
        """Find out anew what there is to train on."""
        self._looking.stop()
        entry = self._entry
        if entry is not None and entry.slide.mpp is not None:
            preset, label = self.settings.preset.currentData(), self.slide_is.label
            arguments = (self.model.chosen, preset, self._device, label)
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
        lookout = found.lookout if found else None
        self.slide_is.offer(entry, lookout, self._waiting(found))
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

    def _waiting(self, found: TrainingSet | None) -> bool:
        """Whether it is not known yet what the points are to the model that is chosen."""
        if found is None or found.model != self.model.chosen:
            return True
        return self.model.kind == "mil" and bool(found.counts) and not (found.lookout or found.problem)

    def _refresh_result(self, lesson: Lesson | None) -> None:
        self._refresh_curves(lesson)
        run = lesson.run if lesson else None
        for widget in (self.result, self.verdict):
            widget.setVisible(run is not None)
        if run is not None:
            self.verdict.show_run(run)
        self.views.show(lesson, self._why_busy())

    def _why_busy(self) -> str:
        if self._busy is None:
            return ""
        return f"Wait for what is being done on {self._busy.slide.name}, or cancel it"

    def _why_not(self) -> str:
        """What must be done before it can be trained; empty if nothing."""
        lesson = self.lesson
        return lack_of(self._entry.slide if self._entry else None) or (
            what_is_missing(lesson, self.model.chosen, self._waiting(lesson.found)) if lesson else ""
        )

    # Act

    def _teach(self) -> None:
        if not self._why_not() and self._busy is None:
            self._start(self.settings.request(self.model.chosen, self.model.kind, self.slide_is.label))

    def _resume(self) -> None:
        run = self.lesson.unfinished if self.lesson else None
        if run is not None and self._busy is None:
            self._start(run.request, run.folder)

    def _start(self, request: finetune_runs.Request, resume: Path | None = None) -> None:
        entry, lesson, device = self._entry, self.lesson, self._device
        if entry is None or lesson is None:
            return
        self._taught, self._model, slide = entry, request.model, entry.slide
        encoder = self.encoder.given(request.model)
        self._looking.stop()  # it would compute beside the training
        lesson.trace, lesson.note = Trace(), ""
        resumes = request.kind == "cells"
        threads = max(2, spare_cores())  # somebody waits for it: the window shares a core if there are two
        stop = "Stop; what was learned until the last epoch can be gone on with" if resumes else "Stop"
        self.act.show_running(True, stop)
        self._training.start(
            lambda: teach(slide, request, resume, device=device, threads=threads, encoder=encoder),
            f"ZoomMIL is teaching a model on {slide.name}" + "; it can be gone on with later" * resumes,
        )
        self._refresh()

    def _cancel(self) -> None:
        self._training.cancel()
        self.views.cancel()

    def _progress(self, progress: Progress) -> None:
        entry = self._taught
        if entry is None:
            return
        elsewhere = "" if entry is self._entry else entry.slide.name
        self.act.show_progress(progress, elsewhere)
        lesson, told = self._lessons.get(entry), progress.partial
        if lesson is None or not entry.alive:
            return
        if isinstance(told, AttentionMaps):
            self.views.add_maps(entry, lesson, told)
        elif isinstance(told, Trace):
            lesson.trace = told
            if entry is self._entry:
                self._refresh_curves(lesson)

    def _refresh_curves(self, lesson: Lesson | None) -> None:
        trace = lesson.trace if lesson else Trace()
        self.curves.setVisible(bool(trace.losses or trace.history))
        self.curves.show_trace(trace)

    def _trained(self, result: Any) -> None:
        lesson = self._lessons.get(self._taught) if self._taught else None
        if lesson is not None:
            run = finetune_runs.read_run(Path(result.model))
            assert run is not None, "a training leaves its request in its folder"
            lesson.await_decision(run)
            lesson.note = (
                f"Trained in {duration(result.seconds)}. The old model stays in use until you keep this."
            )

    def _training_ended(self, failure: str | None) -> None:
        entry, self._taught = self._taught, None
        self.act.show_running(False)
        error = self._training.error
        again = self.encoder.after(self._model, error)
        lesson = self._lessons.get(entry) if entry else None
        if lesson is None or entry is None:
            return self._refresh()
        if lesson.run is None:
            lesson.note = FIRST if isinstance(error, ConsentError) else failure or "Cancelled"
            lesson.trace = Trace()
            lesson.remove_views(self._viewer, entry)
        self._refresh()
        if lesson.run is not None and lesson.run.request.kind == "cells" and entry.alive:
            self._compare_on(entry, lesson)
        else:
            self._look()
        if again:
            self._teach()

    def _compare(self) -> None:
        if self._entry is not None and self.lesson is not None and self._busy is None:
            self._compare_on(self._entry, self.lesson)

    def _compare_on(self, entry: OpenSlide, lesson: Lesson) -> None:
        if not self.views.compare(entry, lesson, self._device):
            lesson.note += " The window shows nothing of the slide: go there and compare."
        self._refresh()

    # The decision

    def _keep(self) -> None:
        run = self.lesson.run if self.lesson else None
        if run is not None and self._decide(
            lambda: self._kept(finetune_runs.keep(run.folder, self.verdict.name.text()), run.request.kind)
        ):
            self._done(f"Kept as {Path(self.model.chosen).name}, and chosen for what comes next")

    def _kept(self, folder: Path, kind: Kind) -> None:
        self.model.choose(folder)
        tell_docks(self._viewer, folder, kind)

    def _discard(self) -> None:
        run = self.lesson.run if self.lesson else None
        if run is not None and self._decide(lambda: finetune_runs.discard(run.folder)):
            self._done(f"Discarded; {Path(run.request.model).name} stays in use")

    def _delete_unfinished(self) -> None:
        run = self.lesson.unfinished if self.lesson else None
        if run is not None and self._decide(lambda: finetune_runs.discard(run.folder)):
            self._look()

    def _decide(self, action: Callable[[], None]) -> bool:
        if self.views.entry is not None and self.views.entry is self._entry:
            self.views.cancel()
        try:
            action()
        except ZoomMILError as error:
            self.act.note.setText(str(error))
            show_error(str(error))
            return False
        return True

    def _done(self, note: str) -> None:
        if self._entry is not None and self.lesson is not None:
            self.lesson.remove_views(self._viewer, self._entry)
            self.lesson.decided(note)
        self._look()
        self._refresh()

    def _stop(self) -> None:
        """The dock is being taken apart; the training of a cell model can be gone on with."""
        self._timer.stop()
        self._looking.stop()
        self._follower.stop()
        self._training.close()
        self.views.stop()
        for entry, lesson in self._lessons.items():
            lesson.remove_views(self._viewer, entry)
        self._lessons.clear()
