"""Parts of the Fine-tune dock: what it trains on, how, and what was cut off."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import finetune
from napari_zoommil.jobs.finetune_plan import MILPoints, TrainingSet
from napari_zoommil.jobs.finetune_runs import Request, TrainingRun
from napari_zoommil.model_folder import Kind, kind_of
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.finetune.state import Lesson
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.sentences import several

LOSSES = (
    (
        None,
        "Exclusive (ECE)",
        "For sparse points: an unmarked place does not simply count as background. Which ones do is the "
        "preset's choice",
    ),
    (
        "ece",
        "Exclusive, foreground",
        "For sparse points: an unmarked place counts as background only where the model does not itself "
        "find what you mark",
    ),
    (
        "ece-margin",
        "Exclusive, margin",
        "For sparse points: an unmarked place counts as background only where the model is in doubt",
    ),
    ("ce", "Cross-entropy", "Every unmarked place counts as background: mark every one, or many are lost"),
    ("weighted-ce", "Cross-entropy ÷ 10", "Unmarked places count as background, with a tenth of the weight"),
    ("focal", "Focal", "Every unmarked place counts as background; what is easy counts little"),
)
PRESETS = (
    ("interactive", "quick", "From a trained model, in about a minute"),
    (
        "paper",
        "paper",
        "Loss, schedule and 300 epochs as published, from the chosen model on; a cell model takes hours "
        "without a GPU",
    ),
)
ADVANCED = ("epochs", "learning_rate", "stain_augmentation", "seed")


class Choice(QComboBox):
    """A list whose tooltip is that of what is chosen."""

    def __init__(self, choices: tuple[tuple[object, str, str], ...]) -> None:
        super().__init__()
        for value, text, help_text in choices:
            self.addItem(text, value)
            self.setItemData(self.count() - 1, help_text, Qt.ItemDataRole.ToolTipRole)
        self.currentIndexChanged.connect(self._explain)
        self._explain()

    def _explain(self) -> None:
        self.setToolTip(str(self.currentData(Qt.ItemDataRole.ToolTipRole) or ""))


class Settings(QWidget):
    """Loss and preset; folded: device, and what else the job takes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.loss = Choice(LOSSES)
        self.preset = Choice(PRESETS)
        self.fold = How(finetune, ADVANCED, "trains and looks")
        self.advanced, self.device = self.fold.advanced, self.fold.device
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(_form(("Loss", self.loss), ("Preset", self.preset)))
        column.addWidget(self.fold)
        self.preset.currentIndexChanged.connect(lambda _: changed())
        self.device.currentIndexChanged.connect(lambda _: changed())
        self.tell_preset(None)

    def request(self, model: str, kind: Kind, label: str | None) -> Request:
        """What is asked for."""
        loss, preset = self.loss.currentData(), self.preset.currentData()
        return Request(model, loss=loss, preset=preset, label=label, kind=kind, **self.advanced.values)

    def tell_preset(self, found: TrainingSet | None) -> None:
        """Say what the preset has where nothing else is chosen."""
        known = found is not None and found.epochs is not None
        epochs = f"{found.epochs} (preset)" if found is not None and known else "as the preset"
        rate = f"{found.learning_rate:g} (preset)" if found is not None and known else "as the preset"
        self.advanced.tell_open("epochs", epochs)
        self.advanced.tell_open("learning_rate", rate)


class SlideIs(QWidget):
    """Which class of a MIL model the slide has, where its points leave that open."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.choice = QComboBox()
        self.choice.setToolTip("The class of this slide, of those that the model tells apart")
        self.choice.currentIndexChanged.connect(lambda _: changed())
        self._of: object = None
        self._choices: tuple[str, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(_form(("This slide is", self.choice)))
        self.hide()

    @property
    def label(self) -> str | None:
        """What was chosen; None where nothing was, or nothing is to be."""
        return self.choice.currentData()

    def offer(self, of: object, told: MILPoints | None, waiting: bool) -> None:
        """The choices there are on the slide ``of``; what was chosen on it stays so, as it does while
        ``waiting`` for what points tell."""
        if waiting and told is None and of is self._of:
            return
        choices = told.choices if told is not None else ()
        self.setVisible(bool(choices))
        if (self._of, self._choices) == (of, choices):
            return
        self._of, self._choices = of, choices
        with QSignalBlocker(self.choice):
            self.choice.clear()
            if told is not None and choices:
                self.choice.addItem("choose…" if told.named else "not said", None)
            for name in choices:
                self.choice.addItem(name, name)


class Unfinished(QWidget):
    """A training that was cut off: go on with it, or delete it."""

    def __init__(self, resume: Callable[[], None]) -> None:
        super().__init__()
        self.told = Sentence(name="unfinished")
        self.resume = QPushButton("Resume")
        self.resume.clicked.connect(resume)
        self.discard = QPushButton("Delete")
        self.discard.setToolTip("Delete what there is of this training")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.told)
        column.addWidget(row(self.resume, self.discard, stretch=0))

    def show_run(self, run: TrainingRun | None, why_not: str) -> None:
        """Offer a run, or nothing."""
        self.setVisible(run is not None)
        if run is not None:
            done, total, resumes = len(run.history), run.epochs, run.request.kind == "cells"
            after = f" after epoch {done} of {total or '?'}" if resumes else ""
            self.told.setText(f"The training of {run.began} was cut off{after}.")
            self.resume.setVisible(resumes)  # a MIL model begins anew, in seconds
            self.resume.setEnabled(not why_not)
            self.resume.setToolTip(why_not or "Go on with the points and settings it began with")
            self.discard.setEnabled(not why_not)


def _form(*lines: tuple[str, QWidget]) -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for title, widget in lines:
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        form.addRow(title, widget)
    return form


def what_it_trains_on(found: TrainingSet | None) -> str:
    """``● 42 tumour · ● 18 lymphocyte, in 23 windows, 5 held out; 1 complete region`` as rich text."""
    if found is None:
        return ""
    if found.problem:
        return escape(found.problem)
    off_slide = several(found.off_slide, "point")
    if not found.counts:
        told = f"No points on the slide, and {off_slide} off it" if found.off_slide else "No points yet"
        return f"{told}: mark a few places in the Annotate dock"
    told = " · ".join(
        f"<span style='color:rgb{one.colour}'>●</span>&nbsp;{count:,}&nbsp;{escape(one.name)}"
        for one, count in found.counts
    )
    if found.windows is not None:
        told += f" in {several(found.windows, 'window')}"
        told += f", {found.held_out} of them held out" if found.held_out else ", too few to hold any out"
    told += f"; {several(found.complete, 'complete region')}" if found.complete else ""
    told += f"; {off_slide} off the slide left out" if found.off_slide else ""
    return told if found.mil_points is None else f"{told}. {what_points_tell(found.mil_points)}"


def what_points_tell(told: MILPoints) -> str:
    """Which patches a MIL model learns from, and what the slide is taken to be, as rich text."""
    if told.needs_label:
        names = f"{', '.join(told.named[:-1])} or {told.named[-1]}"
        return f"Points name several classes of the model: say below whether this slide is {escape(names)}."
    sizes = ", ".join(map(magnification_name, told.magnifications))
    which = f"points of {' and '.join(told.classes)}" if told.named else "them"
    learnt = f"Patches of {sizes} that hold {escape(which)} are learnt from. "
    if told.label is None:
        return learnt + "No class of the model is named like your points: its prediction is held where it is."
    label = escape(told.label)
    if told.named:
        return learnt + f"Points named {label}: the slide is taken to be {label}."
    return learnt + f"The slide is taken to be {label}, as you say."


def is_waiting(found: TrainingSet | None, model: str) -> bool:
    """Whether it is not known yet what the points are to a model."""
    if found is None or found.model != model:
        return True
    return kind_of(model) == "mil" and bool(found.counts) and not (found.mil_points or found.problem)


def what_is_missing(lesson: Lesson, model: str) -> str:
    """What must be done before a model can be taught on a slide; empty if nothing."""
    found = lesson.found
    if lesson.run is not None:
        return "Keep or discard the new model first"
    if not model:
        return "Choose a model first"
    if found is None:
        return "The points are being counted"
    if found.problem:
        return found.problem
    if not found.counts:
        return "Mark a few places in the Annotate dock first"
    if is_waiting(found, model):
        return "It is being looked up what the points tell this model"
    return "Say first what this slide is" if found.mil_points and found.mil_points.needs_label else ""
