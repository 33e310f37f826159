"""The part of the Cohort dock that trains a model on the cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import napari
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_zoommil.errors import ConsentError, ZoomMILError
from napari_zoommil.files import dialog_filter
from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.cohort import OpenCohort
from napari_zoommil.jobs.cohort_train import (
    HeldOutMetric,
    TrainingRequest,
    held_out_metrics,
    plan_of,
    train_with_curves,
)
from napari_zoommil.jobs.trace import Trace, curves_of
from napari_zoommil.jobs.train_choices import Choices, read_choices
from napari_zoommil.jobs.train_result import Training
from napari_zoommil.viewer.docks.cohort.plan import PlanTable
from napari_zoommil.viewer.docks.cohort.settings import TrainSettings
from napari_zoommil.viewer.docks.curves import COHORT, Curves
from napari_zoommil.viewer.docks.parts import Act, Sentence, button, row, stack
from napari_zoommil.viewer.session import Session
from napari_zoommil.viewer.worker import JobRunner

PLAN_HELP = (
    "Look at the cohort and say what would be chosen, with a reason for each; values can be changed "
    "before it is trained"
)

NO_LABELS = (
    "A training needs a table with the columns slide and label, or a folder with a folder of images for each "
    "class"
)

OPEN_HELP = "A plan.json of another training: what it says is trained, whatever the settings above say"

PLANS = dialog_filter("Plans", (".json",))

METRICS = ("weighted F1", "accuracy", "AUROC", "mae", "spearman")
"""Of all that are measured, those that are shown; the model's card has the others."""


class TrainPart(QWidget):
    """Settings; Train and Cancel; curves; metrics on held-out slides.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    shown : callable
        Called with a part that is to be brought in sight.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        runner: Callable[..., JobRunner],
        shown: Callable[[QWidget], None],
    ) -> None:
        super().__init__()
        self._viewer, self._session, self._shown = viewer, session, shown
        self._cohort: OpenCohort | None = None
        self._request: TrainingRequest | None = None
        self._trace = Trace()
        self.runner = runner(self._progress, self._trained, self._ended)
        self._planning = runner(lambda _: None, self._planned, self._plan_ended, quiet=True)
        self.settings = TrainSettings(self._changed)
        self.look = button("Show plan", PLAN_HELP)
        self.look.clicked.connect(self._plan)
        self.open_plan = button("Open plan…", OPEN_HELP)
        self.open_plan.clicked.connect(self._ask_plan)
        self.plan = PlanTable()
        self.act = Act("Train", self._train, self.runner.cancel)
        self.resume = button("Resume", "Go on with the training that was cut off, from its last epoch")
        self.resume.clicked.connect(self._resume)
        self.curves = Curves(COHORT)
        self.curves.hide()
        self.result = HeldOutTable()
        looks = row(self.look, self.open_plan)
        stack(self, self.settings, looks, self.plan, self.act, self.resume, self.curves, self.result)
        self.set_theme()
        self._refresh()

    def set_theme(self, _event: object = None) -> None:
        """Letters and ground as the window's theme has them."""
        theme = get_theme(self._viewer.theme)
        self.curves.set_colours(theme.text.as_hex(), theme.background.as_hex())

    def show_cohort(self, cohort: OpenCohort | None) -> None:
        """Another cohort is open."""
        self._cohort = cohort
        self.plan.show_choices(())
        if not self.runner.running:
            labelled = cohort if cohort is not None and cohort.can_be_trained_on else None
            self.settings.show_cohort(
                None if labelled is None else labelled.path, labelled is not None and labelled.is_of_images
            )
        self._refresh()

    def _why_not(self) -> str:
        if self._cohort is None:
            return "Open a table of labelled slides, or a folder of images, first"
        return "" if self._cohort.can_be_trained_on else NO_LABELS

    def _changed(self) -> None:
        """Other settings: the plan is not theirs."""
        if hasattr(self, "result"):  # all is made
            self._planning.abandon()
            self.plan.show_choices(())
            self._refresh()

    def _refresh(self) -> None:
        why_not, request = self._why_not(), self._request
        self.act.set_ready(not why_not, why_not or "Train a new model on this cohort")
        busy = self._planning.running or self.runner.running
        self.look.setEnabled(not why_not and not busy)
        self.open_plan.setEnabled(not why_not and not busy)
        self.look.setToolTip(why_not or PLAN_HELP)
        self.resume.setVisible(not self.runner.running and request is not None and request.can_be_resumed)

    # Plan

    def _request_of_settings(self) -> TrainingRequest:
        assert self._cohort is not None
        return self.settings.request(self._cohort.source)

    def _ask_plan(self) -> None:
        start = str(self._cohort.path.parent) if self._cohort is not None else ""
        name = QFileDialog.getOpenFileName(self, "Plan of a training", start, PLANS)[0]
        if name:
            self.follow(Path(name))

    def follow(self, plan: Path) -> None:
        """Show the plan in a file, which the next training follows."""
        try:
            self.plan.show_choices(read_choices(plan), from_file=True)
        except ZoomMILError as error:
            return self.act.note.setText(str(error))
        self.act.note.setText(f"The next training follows {plan.parent.name}/{plan.name}")
        self._shown(self.plan)

    def _plan(self) -> None:
        try:
            request = self._request_of_settings()
        except ZoomMILError as error:
            return self.act.note.setText(str(error))
        self.act.note.setText("Looking at the cohort …")
        self._planning.start(lambda: plan_of(request))
        self._refresh()

    def _planned(self, choices: Choices) -> None:
        self.act.note.setText("")
        self.plan.show_choices(choices)
        self._shown(self.plan)

    def _plan_ended(self, failure: str | None) -> None:
        if not self._planning.done:
            error = self._planning.error
            self.act.note.setText("\n".join(getattr(error, "faults", ())) or failure or "")
        self._refresh()

    # Act

    def _train(self) -> None:
        if self._why_not() or self.runner.running:
            return
        if self._request is not None and self.settings.out.path == self._request.out:
            self.settings.propose()  # what is there is not replaced
        try:
            request = self._request_of_settings()
            self._request = request.following(self.plan.choices) if self.plan.is_changed else request
        except ZoomMILError as error:
            self.act.note.setText(str(error))
            return
        self._start(self._request, resume=False)

    def _resume(self) -> None:
        if self._request is not None and not self.runner.running:
            self._start(self._request, resume=True)

    def _start(self, request: TrainingRequest, resume: bool) -> None:
        self.result.show_metrics(())
        self._show_trace(Trace())
        self.act.note.setText("")
        self.act.show_running(True, "Stop; what was learned until the last epoch can be gone on with")
        told = f"ZoomMIL is training on {request.cohort.name}; it can be gone on with later"
        self.runner.start(lambda: train_with_curves(request, resume), told)
        self._refresh()

    def _progress(self, progress: Progress) -> None:
        self.act.show_progress(progress)
        if isinstance(progress.partial, Trace):
            self._show_trace(progress.partial)
        elif progress.partial:
            self.plan.show_choices(progress.partial)

    def _show_trace(self, trace: Trace) -> None:
        self._trace, was_hidden = trace, self.curves.isHidden()
        self.curves.setVisible(bool(trace.losses or trace.history))
        self.curves.show_trace(trace)
        if was_hidden and not self.curves.isHidden():
            self._shown(self.curves)

    def _trained(self, result: Training) -> None:
        self.result.show_metrics(held_out_metrics(result.model))
        self._show_trace(replace(self._trace, history=curves_of(result.model)))
        self.act.note.setText(f"Trained: {result.model.name}. It is chosen above, and in the Attention dock.")
        self._session.keep_model(result.model, "mil")
        self._shown(self.result)

    def _ended(self, failure: str | None) -> None:
        self.act.show_running(False)
        if not self.runner.done:
            error = self.runner.error
            told = str(error) if isinstance(error, ConsentError) else failure or "Cancelled"
            self.act.note.setText("\n".join(getattr(error, "faults", ())) or told)
        else:
            self.settings.propose()
        self._refresh()


class HeldOutTable(QWidget):
    """Metrics of a new model on slides it has not learned from, with 95 % intervals over patients."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = QGridLayout()
        self.grid.setColumnStretch(0, 1)
        self.told = Sentence(name="held-out")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.told)
        column.addLayout(self.grid)
        self.show_metrics(())

    def show_metrics(self, found: tuple[HeldOutMetric, ...]) -> None:
        """A line for each metric, a column for each split."""
        while item := self.grid.takeAt(0):
            widget = item.widget()
            if widget is not None:
                widget.hide()  # while a dialog is open nothing is deleted
                widget.deleteLater()
        self.setVisible(bool(found))
        splits = list(dict.fromkeys(one.split for one in found))
        for at, split in enumerate(splits, 1):
            first = next(one for one in found if one.split == split)
            self._add(f"{split} ({first.slides:,})", 0, at, bold=True)
        for line, name in enumerate((one for one in METRICS if any(one == f.metric for f in found)), 1):
            self._add(name, line, 0)
            for one in found:
                if one.metric == name:
                    self._add(one.text, line, splits.index(one.split) + 1)
        told = "On what it was not trained on (val chose the epoch)"
        intervals = any(one.low is not None for one in found)
        why = "95 % intervals over patients" if intervals else "too few patients for intervals"
        self.told.setText(f"{told}; {why}:" if found else "")

    def _add(self, text: str, line: int, at: int, bold: bool = False) -> None:
        label = QLabel(text)
        label.setTextFormat(Qt.TextFormat.PlainText)
        if bold:
            label.setStyleSheet("font-weight: 600;")
        right = Qt.AlignmentFlag.AlignRight if at else Qt.AlignmentFlag.AlignLeft
        self.grid.addWidget(label, line, at, right)
