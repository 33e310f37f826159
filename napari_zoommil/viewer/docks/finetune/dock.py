"""The Fine-tune dock: fine-tune a model with a few points, and look at before and after."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import napari
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt

from napari_zoommil.annotations import Changed
from napari_zoommil.errors import ConsentError
from napari_zoommil.jobs import Progress, finetune_runs
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.finetune_plan import TrainingSet, look
from napari_zoommil.jobs.finetune_run import finetune_in_run
from napari_zoommil.jobs.progress import duration
from napari_zoommil.jobs.trace import Trace
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.curves import Curves
from napari_zoommil.viewer.docks.encoder_question import FIRST, EncoderQuestion
from napari_zoommil.viewer.docks.finetune.before_after import BeforeAfter
from napari_zoommil.viewer.docks.finetune.decision import Decision
from napari_zoommil.viewer.docks.finetune.parts import (
    Settings,
    SlideIs,
    Unfinished,
    is_waiting,
    what_is_missing,
    what_it_trains_on,
)
from napari_zoommil.viewer.docks.finetune.state import Lesson
from napari_zoommil.viewer.docks.finetune.verdict import Verdict
from napari_zoommil.viewer.docks.model_card_view import CardButton
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Act, Sentence, heading, row
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import lack_of
from napari_zoommil.viewer.worker import spare_cores


class FinetuneDock(SessionDock):
    """What it trains on, how; Fine-tune, Cancel and Resume; curves; before and after; Keep and Discard."""

    kinds = ("cells", "mil")

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._lessons: dict[OpenSlide, Lesson] = {}
        self._model, self._edited = "", False
        self._looking = self._runner(self._looked, lambda _: None, self._look_ended, quiet=True)
        self._training = self._runner(self._progress, self._trained, self._training_ended)
        self._build()
        self.views = BeforeAfter(self._viewer, self.verdict, self.act, self._refresh)
        self._decision = Decision(
            self._session, self.views, self.verdict, self.act.note.setText, self._reconsider
        )
        self.unfinished.discard.clicked.connect(self._decision.delete_unfinished)
        self._follower.follow(self._session.document_changed, self._document_changed)
        self._follower.follow(self._session.removed, self._removed)
        self._follower.follow(self._viewer.events.theme, self._set_theme)
        self._ending += [self.views.stop, self._forget]
        self._set_theme()
        self._open()

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("cells", "mil"), to_train=True)
        self.card = CardButton(self.model)
        self.model.setToolTip("The model that is taught; it stays as it is, and a new one is made")
        self.encoder = EncoderQuestion(self._session, self._teach)
        self.slide = Sentence(name="finetune-slide")
        self.what = Sentence(name="finetune-what", lines=2)
        self.what.setTextFormat(Qt.TextFormat.RichText)
        self.slide_is = SlideIs(self._reconsider)
        self.settings = Settings(self._reconsider)
        self.device = Sentence(name="device", lines=2)
        self.act = Act("Fine-tune", self._teach, self._cancel)
        self.unfinished = Unfinished(self._resume)
        self.curves = Curves()
        self.result = heading("Before and after")
        self.verdict = Verdict()
        self.verdict.again.clicked.connect(self._compare)
        self._lay_out(
            heading("Teach"),
            row(self.model, self.card, stretch=0),
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

    def _set_theme(self, _event: object = None) -> None:
        theme = get_theme(self._viewer.theme)
        self.curves.set_colours(theme.text.as_hex(), theme.background.as_hex())

    # What: slide, points, what can be gone on with

    @property
    def lesson(self) -> Lesson | None:
        """That of the active slide."""
        return self._lessons.get(self._entry) if self._entry else None

    @property
    def _taught(self) -> OpenSlide | None:
        """The slide on which a model is taught."""
        return self._training.of if self._training.running else None

    @property
    def _busy(self) -> OpenSlide | None:
        """The slide on which a model is taught, or two are compared."""
        return self._taught or (self.views.compared.entry if self.views.compared else None)

    def _show(self, entry: OpenSlide | None) -> None:
        if entry is not None:
            self._lessons.setdefault(entry, Lesson(entry))
        self._reconsider()

    def _removed(self, entry: OpenSlide) -> None:
        self._lessons.pop(entry, None)

    def _document_changed(self, entry: OpenSlide, _changed: Changed) -> None:
        if entry is not self._entry or entry is self._taught:
            return
        if self._looking.running:
            self._edited = True  # points come faster than one can look
        else:
            self._look()

    def _reconsider(self) -> None:
        """Another slide, another model, or other settings."""
        self.encoder.show_for(self.model.chosen)
        self._refresh()
        self._look()

    def _look(self) -> None:
        """Find out anew what there is to train on."""
        self._looking.abandon()
        self._edited, entry = False, self._entry
        if entry is None or entry.slide.mpp is None:
            return
        slide, content = entry.slide, entry.document.points.content if entry.document else None
        preset, label = self.settings.preset.currentData(), self.slide_is.label
        model, device = self.model.chosen, self._device
        self._looking.start(lambda: look(slide, model, preset, device, label, content), of=entry)

    @property
    def _device(self) -> str:
        return self.settings.device.currentText()

    def _looked(self, found: TrainingSet) -> None:
        lesson = self._lessons.get(self._looking.of)
        if lesson is None:
            return
        lesson.found = found
        if lesson.run is None and lesson.entry is not self._busy:
            for run in [one for one in found.runs if one.trained][:1]:  # from another day
                lesson.await_decision(run)
        self._refresh()

    def _look_ended(self, failure: str | None) -> None:
        if failure is not None:  # the slide's folder is gone, or something that nobody has thought of
            self.what.setText(escape(failure))
            self.act.set_ready(False, failure)
        if self._edited:
            self._look()

    def _refresh(self) -> None:
        """Bring the page to what is known of the active slide."""
        entry, lesson = self._entry, self.lesson
        found = lesson.found if lesson else None
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.what.setText(what_it_trains_on(found))
        self.model.offer(found.kept if found else ())
        mil_points = found.mil_points if found else None
        self.slide_is.offer(entry, mil_points, is_waiting(found, self.model.chosen))
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
        self._refresh_curves(lesson)
        run = lesson.run if lesson else None
        for widget in (self.result, self.verdict):
            widget.setVisible(run is not None)
        if run is not None:
            self.verdict.show_run(run)
        self.views.show(lesson, self._why_busy())
        self._decision.of = lesson

    def _why_busy(self) -> str:
        if self._busy is None:
            return ""
        return f"Wait for what is being done on {self._busy.slide.name}, or cancel it"

    def _why_not(self) -> str:
        """What must be done before it can be trained; empty if nothing."""
        lesson = self.lesson
        return lack_of(self._entry.slide if self._entry else None) or (
            what_is_missing(lesson, self.model.chosen) if lesson else ""
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
        lesson, device = self.lesson, self._device
        if lesson is None:
            return
        self._model, slide = request.model, lesson.entry.slide
        encoder = self.encoder.given(request.model)
        self._looking.abandon()  # it would compute beside the training
        lesson.trace, lesson.note = Trace(), ""
        resumes = request.kind == "cells"
        threads = max(2, spare_cores())  # somebody waits for it: the window shares a core if there are two
        stop = "Stop; what was learned until the last epoch can be gone on with" if resumes else "Stop"
        self.act.show_running(True, stop)
        self._training.start(
            lambda: finetune_in_run(slide, request, resume, device=device, threads=threads, encoder=encoder),
            f"ZoomMIL is teaching a model on {slide.name}" + "; it can be gone on with later" * resumes,
            lesson.entry,
        )
        self._refresh()

    def _cancel(self) -> None:
        self._training.cancel()
        self.views.cancel()

    def _progress(self, progress: Progress) -> None:
        entry = self._training.of
        self.act.show_progress(progress, "" if entry is self._entry else entry.slide.name)
        lesson, told = self._lessons[entry], progress.partial
        if isinstance(told, AttentionMaps):
            self.views.add_maps(lesson, told)
        elif isinstance(told, Trace):
            lesson.trace = told
            if entry is self._entry:
                self._refresh_curves(lesson)

    def _refresh_curves(self, lesson: Lesson | None) -> None:
        trace = lesson.trace if lesson else Trace()
        self.curves.setVisible(bool(trace.losses or trace.history))
        self.curves.show_trace(trace)

    def _trained(self, result: Any) -> None:
        lesson, run = self._lessons[self._training.of], finetune_runs.read_run(Path(result.model))
        assert run is not None, "a training leaves its request in its folder"
        lesson.await_decision(run)
        lesson.note = (
            f"Trained in {duration(result.seconds)}. The old model stays in use until you keep this."
        )

    def _training_ended(self, failure: str | None) -> None:
        self.act.show_running(False)
        error, lesson = self._training.error, self._lessons.get(self._training.of)
        again = self.encoder.after(self._model, error)
        if lesson is not None and lesson.run is None:
            lesson.note = FIRST if isinstance(error, ConsentError) else failure or "Cancelled"
            lesson.trace = Trace()
            lesson.remove_views(self._viewer)
        self._refresh()
        if lesson is not None and lesson.run is not None and lesson.run.request.kind == "cells":
            self._compare_on(lesson)
        else:
            self._look()
        if lesson is not None and lesson is self.lesson and lesson.run is not None:
            self.scroll_to(self.verdict)
        if again:
            self._teach()

    def _compare(self) -> None:
        if self.lesson is not None and self._busy is None:
            self._compare_on(self.lesson)

    def _compare_on(self, lesson: Lesson) -> None:
        if not self.views.compare(lesson, self._device):
            lesson.note += " The window shows nothing of the slide: go there and compare."
        self._refresh()

    def _forget(self) -> None:
        """The dock is being taken apart; the training of a cell model can be gone on with."""
        for lesson in self._lessons.values():
            lesson.remove_views(self._viewer)
        self._lessons.clear()
