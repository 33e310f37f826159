"""The new model beside the old one in the Fine-tune dock: figures, two views, Keep and Discard."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.jobs.finetune_runs import TrainingRun
from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer.docks.finetune.curves import ATTENTION, titles
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.keys import BEFORE_AFTER

HELD_OUT = (
    "On windows it has not seen: recall is the share of what is marked there that is found as its class; "
    "detections per mm² tell what that cost."
)
NOT_MEASURED = (
    "Too few windows to hold any out: how it does on cells it has not seen was not measured. "
    "Look at before and after."
)
CALIBRATED = "It counts from the score at which it finds nine in ten of the cells it was taught with."
MANY_TIMES = 1.5
"""How many times as many cells, or as few, are worth a word."""

MORE_OR_LESS = (
    "It finds {} times as many cells as before: look at before and after, and keep it only if that is right."
)
ONE_SLIDE = (
    "Attention on patches that hold points, and probabilities, on the slide it was trained on: nothing was "
    "held out. One slide bends a model, so check it on others."
)

SEEN: dict[Kind, str] = {"cells": "Cells the {} model finds", "mil": "Where the {} model looks"}
NOT_SEEN: dict[Kind, str] = {
    "cells": "Not looked yet",
    "mil": "Maps go with the window they were made in: keep the model and run it in the Attention dock",
}


class Verdict(QWidget):
    """The new model beside the old one: figures, two views, and what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.table.setWordWrap(True)  # names of classes may be long
        self.table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.told = Sentence(name="verdict")
        self.before, self.after = QRadioButton("before"), QRadioButton("after")
        self.after.setChecked(True)
        self.again = QPushButton("Compare here")
        self.again.setToolTip("Let both models look at what the window shows now")
        self.run: TrainingRun | None = None
        self.name = QLineEdit()
        self.name.setToolTip("What the new model is called; it lies beside the slide's annotations")
        self.keep = QPushButton("Keep new")
        self.keep.setToolTip("Keep the new model, and use it from now on")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Delete the new model; the old one stays in use")
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

    def show_run(self, run: TrainingRun) -> None:
        """Figures with what they are of, and a name to begin with where nobody has typed one."""
        if self.run is None or self.run.folder != run.folder:
            self.name.setText(f"{Path(run.request.model).name[:20]} {run.began}")
        self.run = run
        self.table.setText(metrics_table(run.metrics))
        self.table.setVisible(bool(self.table.text()))
        self.told.setText(what_figures_are_of(run))
        self.again.setVisible(run.request.kind == "cells")

    def show_views(self, before: bool, after: bool, why_not: str) -> None:
        """Which of the two views are there; why there is no new look to be had, if so."""
        kind = self.run.request.kind if self.run is not None else "cells"
        for widget, there, which in ((self.before, before, "old"), (self.after, after, "new")):
            widget.setEnabled(there)
            told = f"{SEEN[kind].format(which)} ({BEFORE_AFTER} changes over)"
            widget.setToolTip(told if there else NOT_SEEN[kind])
        self.again.setEnabled(not why_not)
        self.again.setToolTip(why_not or "Let both models look at what the window shows now")


def what_figures_are_of(run: TrainingRun) -> str:
    """Which windows, what a find of the new model counts from, and what speaks against it."""
    if run.request.kind == "mil":
        return ONE_SLIDE
    measured = run.metrics
    told = [HELD_OUT if "exclusive_recall" in measured else NOT_MEASURED]
    if measured.get("score_threshold") != measured.get("before_score_threshold"):
        told.append(CALIBRATED)
    before, after = (measured.get(f"{when}predictions_per_mm2", 0.0) for when in ("before_", ""))
    if min(before, after) > 0 and not 1 / MANY_TIMES < after / before < MANY_TIMES:
        share = f"{after / before:.1f}" if after > before else f"{after / before:.2f}"
        told.append(MORE_OR_LESS.format(share))
    return " ".join(told)


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Before and after of each figure, as rich text; empty where nothing was measured."""
    columns = [name for name in metrics if f"before_{name}" in metrics]
    if not columns:
        return ""
    lines = "".join(
        f"<tr><td>{escape(title)}&nbsp;&nbsp;</td>"
        f"<td align='right'>{_figure(name, metrics[f'before_{name}'])}</td>"
        f"<td>&nbsp;→&nbsp;</td><td align='right'><b>{_figure(name, metrics[name])}</b></td></tr>"
        for name, title in titles(columns).items()
    )
    head = "<tr><td></td><td align='right'>before</td><td></td><td align='right'>after</td></tr>"
    return f"<table cellspacing='0' cellpadding='1'>{head}{lines}</table>"


def _figure(name: str, value: float) -> str:
    if name.startswith(ATTENTION):
        return f"{value:.1%}".replace("%", "\u202f%")
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"
