"""Parts of the Fine-tune dock: how it trains, what is left to go on with, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.viewer.docks.annotate_parts import several
from napari_zoommil.viewer.docks.curves import titles
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.training_runs import Request, TrainingRun
from napari_zoommil.viewer.training_set import TrainingSet

LOSSES = (
    (
        "ece",
        "Exclusive (ECE)",
        "For sparse points: an unmarked place counts as background only where the model does not itself "
        "take it for a cell",
    ),
    (
        "ece-margin",
        "Exclusive, margin",
        "For sparse points: an unmarked place counts as background only where the model is in doubt",
    ),
    ("ce", "Cross-entropy", "Every unmarked place counts as background: mark every cell, or many are lost"),
    ("weighted-ce", "Cross-entropy ÷ 10", "Unmarked places count as background, with a tenth of the weight"),
    ("focal", "Focal", "Every unmarked place counts as background; what is easy counts little"),
)
PRESETS = (
    ("interactive", "quick", "From a trained model, in about a minute"),
    ("paper", "paper", "As published: 300 epochs; hours without a GPU"),
)
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
DEVICES = ("auto", "cpu", "cuda", "mps")
MOST_EPOCHS = 10_000

BEFORE_AFTER_KEY = "B"


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


class Fold(QWidget):
    """A heading that opens and closes what is below it."""

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.toggled.connect(self._open)
        self._content = content
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.button)
        column.addWidget(content)
        self._open(False)

    def _open(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._content.setVisible(is_open)


class Settings(QWidget):
    """Loss and preset; folded: epochs, learning rate, seed, device."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.loss = Choice(LOSSES)
        self.preset = Choice(PRESETS)
        self.epochs = QSpinBox()
        self.epochs.setRange(0, MOST_EPOCHS)
        self.epochs.setSpecialValueText("as the preset")
        self.epochs.setToolTip("How often it goes through the points; 0: as the preset says")
        self.rate = QComboBox()
        self.rate.addItem("as the preset", None)
        for rate in RATES:
            self.rate.addItem(f"{rate:g}", rate)
        self.rate.setToolTip("Step of the optimiser: larger learns faster, and forgets faster")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed, points and settings make the same model")
        chosen = compute_settings().device
        self.device = QComboBox()
        self.device.addItems(list(dict.fromkeys((chosen, *DEVICES))))
        self.device.setToolTip("Where it trains and looks; first what Preferences say")
        advanced = QWidget()
        advanced.setLayout(
            _form(
                ("Epochs", self.epochs),
                ("Learning rate", self.rate),
                ("Device", self.device),
                ("Seed", self.seed),
            )
        )
        self.fold = Fold("Advanced", advanced)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(_form(("Loss", self.loss), ("Preset", self.preset)))
        column.addWidget(self.fold)
        self.preset.currentIndexChanged.connect(lambda _: changed())
        self.device.currentIndexChanged.connect(lambda _: changed())

    def request(self, model: str) -> Request:
        """What is asked for."""
        return Request(
            model,
            self.loss.currentData(),
            self.preset.currentData(),
            self.epochs.value() or None,
            self.rate.currentData(),
            self.seed.value(),
        )

    def tell_preset(self, found: TrainingSet) -> None:
        """Say what the preset has where nothing else is chosen."""
        known = found.epochs is not None
        self.epochs.setSpecialValueText(f"{found.epochs} (preset)" if known else "as the preset")
        self.rate.setItemText(0, f"{found.learning_rate:g} (preset)" if known else "as the preset")


class Unfinished(QWidget):
    """A training that was cut off: go on with it, or delete it."""

    def __init__(self, resume: Callable[[], None], discard: Callable[[], None]) -> None:
        super().__init__()
        self.told = Sentence(name="unfinished")
        self.resume = QPushButton("Resume")
        self.resume.clicked.connect(resume)
        self.discard = QPushButton("Delete")
        self.discard.setToolTip("Delete what there is of this training")
        self.discard.clicked.connect(discard)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.told)
        column.addWidget(row(self.resume, self.discard, stretch=0))

    def show_run(self, run: TrainingRun | None, why_not: str) -> None:
        """Offer a run, or nothing."""
        self.setVisible(run is not None)
        if run is not None:
            done, total = len(run.history), run.epochs
            self.told.setText(
                f"The training of {run.began} was cut off after epoch {done} of {total or '?'}."
            )
            self.resume.setEnabled(not why_not)
            self.resume.setToolTip(why_not or "Go on with the points and settings it began with")
            self.discard.setEnabled(not why_not)


class Verdict(QWidget):
    """The new model beside the old one: figures, two views, and what becomes of it."""

    def __init__(
        self,
        show: Callable[[bool], None],
        again: Callable[[], None],
        keep: Callable[[], None],
        discard: Callable[[], None],
    ) -> None:
        super().__init__()
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.told = Sentence(name="verdict")
        self.before, self.after = QRadioButton("before"), QRadioButton("after")
        self.after.setChecked(True)
        self.after.toggled.connect(show)
        self.again = QPushButton("Compare here")
        self.again.setToolTip("Let both models look at what the window shows now")
        self.again.clicked.connect(again)
        self.named_for: Path | None = None
        self.name = QLineEdit()
        self.name.setToolTip("What the new model is called; it lies beside the slide's annotations")
        self.keep = QPushButton("Keep new")
        self.keep.setToolTip("Keep the new model, and use it from now on")
        self.keep.clicked.connect(keep)
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Delete the new model; the old one stays in use")
        self.discard.clicked.connect(discard)
        buttons = QGridLayout()
        for at, widget in enumerate((self.keep, self.discard)):
            buttons.addWidget(widget, 0, at)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addWidget(self.told)
        column.addWidget(row(self.before, self.after, 1, self.again))
        column.addWidget(row(QLabel("Name"), self.name, stretch=1))
        column.addLayout(buttons)

    def offer_name(self, folder: Path, name: str) -> None:
        """A name to begin with, for a run of which nobody has typed one."""
        self.named_for = folder
        self.name.setText(name)

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Figures on the held-out windows; where there are none, a sentence."""
        self.table.setText(metrics_table(metrics))
        self.table.setVisible(bool(self.table.text()))
        self.told.setText(
            "On windows it has not seen. Of what is marked there, recall is the share that is found; "
            "detections per mm² tell what that cost."
            if self.table.text()
            else "Too few windows to hold any out: how it does on cells it has not seen was not measured. "
            "Look at before and after."
        )

    def show_views(self, before: bool, after: bool, why_not: str) -> None:
        """Which of the two views are there; why there is no new look to be had, if so."""
        for widget, there in ((self.before, before), (self.after, after)):
            widget.setEnabled(there)
            widget.setToolTip(
                f"Cells the {'old' if widget is self.before else 'new'} model finds "
                f"({BEFORE_AFTER_KEY} changes over)"
                if there
                else "Not looked yet"
            )
        self.again.setEnabled(not why_not)
        self.again.setToolTip(why_not or "Let both models look at what the window shows now")


def _form(*lines: tuple[str, QWidget]) -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for title, widget in lines:
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        form.addRow(title, widget)
    return form


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Before and after of each figure, as rich text; empty where nothing was measured."""
    columns = [name for name in metrics if f"before_{name}" in metrics]
    if not columns:
        return ""
    lines = "".join(
        f"<tr><td>{escape(title)}&nbsp;&nbsp;</td><td align='right'>{_figure(metrics[f'before_{name}'])}</td>"
        f"<td>&nbsp;→&nbsp;</td><td align='right'><b>{_figure(metrics[name])}</b></td></tr>"
        for name, title in titles(columns).items()
    )
    head = "<tr><td></td><td align='right'>before</td><td></td><td align='right'>after</td></tr>"
    return f"<table cellspacing='0' cellpadding='1'>{head}{lines}</table>"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"


def what_it_trains_on(found: TrainingSet | None) -> str:
    """``● 42 tumour · ● 18 lymphocyte, in 23 windows, 5 held out; 1 complete region`` as rich text."""
    if found is None:
        return ""
    if found.problem:
        return escape(found.problem)
    if not found.counts:
        return "No points yet: mark a few cells in the Annotate dock"
    told = " · ".join(
        f"<span style='color:rgb{one.colour}'>●</span>&nbsp;{count:,}&nbsp;{escape(one.name)}"
        for one, count in found.counts
    )
    if found.windows is not None:
        told += f" in {several(found.windows, 'window')}"
        told += f", {found.held_out} of them held out" if found.held_out else ", too few to hold any out"
    return told + (f"; {several(found.complete, 'complete region')}" if found.complete else "")
