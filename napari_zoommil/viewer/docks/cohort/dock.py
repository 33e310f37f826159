"""The Cohort dock: slides with labels and predictions, where these are wrong, and a model trained on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QTimer
from qtpy.QtGui import QDragEnterEvent, QDropEvent

from napari_zoommil.errors import ConsentError, ZoomMILError, first_line
from napari_zoommil.files import write_table
from napari_zoommil.jobs import Progress, predict
from napari_zoommil.jobs.cohort import opening, table_of
from napari_zoommil.jobs.cohort_predict import kept_answers, predict_and_keep
from napari_zoommil.jobs.many_slides import Outcome, over
from napari_zoommil.jobs.prediction_store import WaysToRead
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.cohort.agreement import Agreement
from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.cohort.encoder import EncoderPart
from napari_zoommil.viewer.docks.cohort.parts import Filters, Source, dropped
from napari_zoommil.viewer.docks.cohort.showing import ShownSlides
from napari_zoommil.viewer.docks.cohort.table import CohortTable
from napari_zoommil.viewer.docks.cohort.training import TrainPart
from napari_zoommil.viewer.docks.encoder_question import FIRST, EncoderQuestion
from napari_zoommil.viewer.docks.model_card_view import CardButton
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Act, Fold, Sentence, button, heading, row
from napari_zoommil.viewer.docks.saving import ask_where
from napari_zoommil.viewer.notifications import show_error, show_info
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import several
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.worker import spare_cores

READING = ("overlap", "min_tissue", "mpp", "icc")
"""Parameters of ``predict`` that choose patches, made from the job itself."""

SETTLED_MS = 80
"""After which counts are brought up to date: answers may come by the hundred."""


class CohortDock(SessionDock):
    """Cohort and model; Predict all; table, confusion matrix; Train."""

    kinds = ("mil",)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.setAcceptDrops(True)
        self.controller = CohortController()
        self._opening = self._runner(lambda _: None, self.controller.show, self._open_ended, quiet=True)
        self._looking = self._runner(self._found, lambda _: None, lambda _: self._refresh(), quiet=True)
        self._predicting = self._runner(self._progress, self._predicted, self._ended)
        self._failed, self._note = 0, ""
        self._path: Path | None = None
        self._build()
        self._read_as = self._reading()
        self._shown = ShownSlides(
            self._viewer, self._session, self.controller, lambda: self.model.chosen, self._what_is_read
        )
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED_MS)
        self._settled.timeout.connect(self._refresh)
        for signal, heard in (
            (self.controller.opened, self._opened),
            (self.controller.rows_changed, self._rows_changed),
            (self.controller.filtered, self._filtered),
            (self._session.result_changed, self._shown.result_changed),
            (self._viewer.events.theme, self.train.set_theme),
            (self._viewer.events.theme, self.train_encoder.set_theme),
        ):
            self._follower.follow(signal, heard)
        self._ending.append(self._settled.stop)
        if self._session.cohort is not None:
            self.controller.show(self._session.cohort)
        self._open()
        self._refresh()

    def _build(self) -> None:
        self.source = Source(self.open, self._open_anew)
        self.model = ModelChoice(self, self._another_model, ("mil",), hub=True)
        self.model.setToolTip("The model that is asked: a shipped one, a model folder, or one on the hub")
        self.card = CardButton(self.model)
        self.encoder = EncoderQuestion(self._session, self._predict)
        self.how = How(predict, (*READING, "store", "batch_size"), "computes", self._another_reading)
        with self.how.advanced["batch_size"].changed.blocked():
            self.how.advanced["batch_size"].value = compute_settings().batch_size
        self.act = Act("Predict all", self._predict, self._predicting.cancel)
        self.rows_title = heading("Slides")
        self.filters = Filters(self.controller.set_filter)
        self.table = CohortTable(self.controller)
        self.table.opened.connect(self._open_row)
        self.table.next_asked.connect(self._next_wrong)
        self.shown = Sentence(name="cohort-shown")
        self.next = button("Next error", "Open the next row with another prediction than its label: E")
        self.next.clicked.connect(self._next_wrong)
        self.export = button("Export…", "Write the rows that are shown, in their order, to a CSV table")
        self.export.clicked.connect(self._ask_where)
        self.agreement = Agreement(self.controller)
        self.train = TrainPart(self._viewer, self._session, self._runner, self.scroll_to)
        self.train_fold = Fold("Train a model on this cohort", self.train)
        self.train_encoder = EncoderPart(self._viewer, self._runner, self.train.settings.offer_encoder)
        self.encoder_fold = Fold("Train an encoder on this cohort", self.train_encoder)
        self._lay_out(
            heading("Cohort"),
            self.source,
            heading("Model"),
            row(self.model, self.card, stretch=0),
            self.encoder,
            self.how,
            self.act,
            self.rows_title,
            self.filters,
            self.table,
            row(self.shown, self.next, self.export, stretch=0),
            self.agreement,
            self.train_fold,
            self.encoder_fold,
        )

    # What: cohort and model

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        if event is not None and dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        path = None if event is None else dropped(event)
        if event is not None and path is not None:
            event.acceptProposedAction()
            self.open(path)

    def open(self, path: Path) -> None:
        """Open a table, a folder or a slide; all that is wrong with it is told on the page."""
        self._opening.abandon()
        self._path = path
        self.source.told.setText(f"Reading {path.name} …")
        source = self.source.source
        self._opening.start(lambda: opening(path, source))

    def _open_anew(self) -> None:
        """Read the table in another way."""
        if self._path is not None:
            self.open(self._path)

    def _open_ended(self, _failure: str | None) -> None:
        if not self._opening.done and self._path is not None:
            self.controller.refuse(self._path, self._opening.error)

    def _opened(self) -> None:
        """Another cohort is open, or one could not be opened."""
        controller = self.controller
        self.source.show_cohort(controller.cohort, controller.refused, controller.faults)
        if controller.cohort is None or (controller.cohort is self._session.cohort and controller.faults):
            return
        self._session.cohort = controller.cohort
        self.rows_title.setText(f"{controller.unit}s".upper())
        self.train.show_cohort(controller.cohort)
        self.train_encoder.show_cohort(controller.cohort)
        self.model.offer(self._session.cohort_models)
        self.filters.offer(controller.cohort)
        self.agreement.offer()
        self._ask_anew()

    def add_model(self, folder: Path) -> None:
        """Offer the model in a folder, and choose it unless that would cut off what is being done."""
        if self._predicting.running:
            self.model.offer((folder, *self._session.cohort_models))
        else:
            super().add_model(folder)

    def _reading(self) -> dict[str, Any]:
        """How slides are read for a prediction."""
        cohort, how = self.controller.cohort, self.how.values
        return {"features": cohort.source.features if cohort else ()} | {name: how[name] for name in READING}

    def _what_is_read(self) -> str:
        """The same for the list of results."""
        how = self._reading()
        files = tuple(map(str, how["features"]))
        return WaysToRead(how["min_tissue"], overlap=how["overlap"], features=files).text

    def _another_reading(self) -> None:
        """Slides are read in another way: what was answered is of other patches."""
        if self._reading() != self._read_as:
            self.controller.forget_answers()
            self._ask_anew()

    def _another_model(self) -> None:
        self.encoder.show_for(self.model.chosen)
        self.controller.forget_answers()
        self._ask_anew()

    def _ask_anew(self) -> None:
        """Begin with what the model has said of these slides before."""
        self._looking.abandon()
        self._predicting.abandon()
        self.act.show_running(False)
        self._note = ""
        self._read_as = reading = self._reading()
        self.table.rows.reset()
        self.table.set_widths()
        if self.controller.cohort is not None and self.model.chosen:
            slides, model = self.controller.waiting, self.model.chosen
            self._looking.start(lambda: kept_answers(slides, model, **reading))
        self._refresh()

    def _found(self, progress: Progress) -> None:
        self.controller.answer_all(progress.partial)

    def _show(self, entry: OpenSlide | None) -> None:
        """Select the row of the active slide."""
        place = None if entry is None else self.controller.place_of(entry.slide.path)
        if place is not None and place != self.table.current:
            self.table.go_to(place)

    # Act

    def _why_not(self) -> str:
        if self.controller.cohort is None:
            return "Open a cohort first"
        if not self.model.chosen:
            return "Choose a model first"
        if self._looking.running:
            return "Predictions that are there are being looked for"
        return (
            "" if self.controller.waiting else f"All {self.controller.unit}s have a prediction of this model"
        )

    def _predict(self) -> None:
        if self._why_not() or self._predicting.running:
            return
        cohort, slides, model = self.controller.cohort, self.controller.waiting, self.model.chosen
        assert cohort is not None
        self._failed, self._note = 0, ""
        cores = spare_cores()
        job: Any = partial(
            predict_and_keep, model=model, encoder=self.encoder.given(model), workers=cores, threads=cores,
            **self._reading() | self.how.values,
        )  # fmt: skip
        self.act.show_running(True, "Stop; what is done is kept")
        self._predicting.start(lambda: over(job, slides), f"ZoomMIL is predicting over {cohort.path.name}")

    def _progress(self, progress: Progress) -> None:
        self.act.show_progress(progress)
        done = progress.partial
        if isinstance(done, Outcome):
            error = "" if done.error is None else str(done.error) or first_line(done.error)
            self._failed += done.error is not None
            self.controller.answer(done.slide, done.result, error)
            self._shown.predicted(done.slide)

    def _predicted(self, outcomes: tuple[Outcome[Any], ...]) -> None:
        told = f"{several(len(outcomes) - self._failed, self.controller.unit)} predicted"
        failed = f"; {self._failed:,} failed: point at their rows to see why" if self._failed else ""
        self._note = told + failed

    def _ended(self, failure: str | None) -> None:
        self.act.show_running(False)
        error = self._predicting.error
        again = self.encoder.after(self.model.chosen, error)
        if not self._predicting.done:
            self._note = FIRST if isinstance(error, ConsentError) else failure or "Cancelled"
        self._refresh()
        if again:
            self._predict()

    # Result

    def _rows_changed(self, places: tuple[int, ...]) -> None:
        self.table.rows.rows_changed(places)
        if not self._settled.isActive():
            self._settled.start()

    def _filtered(self) -> None:
        self.table.sorted.invalidateFilter()
        self._refresh()

    def _refresh(self) -> None:
        """Bring counts, matrix and buttons to what the rows say."""
        controller, why_not = self.controller, self._why_not()
        self.table.set_widths()
        self.act.set_ready(
            not why_not, why_not or f"Predict over the {controller.unit}s without a prediction"
        )
        if not self._predicting.running:
            self.act.note.setText(self._note or controller.progress)
        count, shown, wrong = len(controller.rows), self.table.sorted.rowCount(), controller.wrong
        self.shown.setText(f"{shown:,} of {several(count, controller.unit)}" if count else "")
        self.filters.count(wrong, controller.is_regression)
        self.next.setEnabled(wrong > 0)
        self.export.setEnabled(shown > 0)
        self.next.setVisible(controller.cohort is not None and controller.cohort.has_labels)
        self.agreement.refresh()

    def _open_row(self, place: int) -> None:
        try:
            self._shown.open(self.controller.rows[place].entry.slide, self)
        except (ZoomMILError, OSError) as error:
            show_error(str(error))

    def _next_wrong(self) -> None:
        """Open the slide of the next error among the rows that are shown."""
        place = self.controller.next_wrong(self.table.order, self.table.current)
        if place is not None:
            self.table.go_to(place)
            self._open_row(place)

    def _ask_where(self) -> None:
        cohort = self.controller.cohort
        if cohort is None:
            return
        name = cohort.path.stem if cohort.is_table else cohort.path.name
        start = cohort.path.parent / f"{name} {Path(self.model.chosen).name}.csv"
        path = ask_where(self, "Export the table", start, "CSV", (".csv",))
        if path is not None:
            self.export_to(path)

    def export_to(self, path: Path) -> None:
        """Write the rows that are shown, in their order."""
        rows = [self.controller.rows[place] for place in self.table.order]
        try:
            write_table(path, *table_of(rows))
        except ZoomMILError as error:
            return show_error(str(error))
        show_info(f"{several(len(rows), 'row')} written to {path.name}")
