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

from napari_zoommil.jobs.finetune_figures import Figure, figure_text, figures, is_worse, verdict
from napari_zoommil.jobs.finetune_runs import TrainingRun
from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.keys import BEFORE_AFTER

HELD_OUT = "On windows it has not seen, both models alike."
SHARES = (
    "The share of the annotated cells there that are found, as any class and as their own, with the number "
    "of cells and the 95 % interval. Detections per mm² tell what that cost."
)
NOT_MEASURED = (
    "Too few windows to hold any out: how it does on cells it has not seen was not measured. "
    "Look at before and after."
)
CALIBRATED = (
    "It counts from the score at which it finds as many cells in its windows as a complete region holds, or "
    "as the old model found, or more if the points show that this was too few."
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
        self._buttons = QGridLayout()
        self._order(discard_first=False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addWidget(self.told)
        column.addWidget(row(self.before, self.after, 1, self.again))
        column.addWidget(row(QLabel("Name"), self.name, stretch=1))
        column.addLayout(self._buttons)

    def show_run(self, run: TrainingRun) -> None:
        """Figures with what they are of, and a name to begin with where nobody has typed one."""
        if self.run is None or self.run.folder != run.folder:
            self.name.setText(f"{Path(run.request.model).name[:20]} {run.began}")
        self.run = run
        self.table.setText(metrics_table(run.metrics))
        self.table.setVisible(bool(self.table.text()))
        self.told.setText(what_figures_are_of(run))
        for widget in (self.table, self.told):
            widget.setToolTip(what_figures_mean(run))
        self.again.setVisible(run.request.kind == "cells")
        self._order(discard_first=is_worse(run.metrics))

    def _order(self, discard_first: bool) -> None:
        """The first button is what is advised."""
        self.keep.setText("Keep anyway" if discard_first else "Keep new")
        first = (self.discard, self.keep) if discard_first else (self.keep, self.discard)
        for at, widget in enumerate(first):
            self._buttons.addWidget(widget, 0, at)
            font = widget.font()
            font.setBold(at == 0)
            widget.setFont(font)

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
    """Which windows, and what speaks against the new model."""
    if run.request.kind == "mil":
        return ONE_SLIDE
    measured = run.metrics
    told = [verdict(measured)] if verdict(measured) else []
    told.append(HELD_OUT if "exclusive_recall" in measured else NOT_MEASURED)
    return " ".join(told)


def what_figures_mean(run: TrainingRun) -> str:
    """What the lines of the table are; empty where the text beside it says all."""
    measured, told = run.metrics, []
    if "exclusive_recall" in measured:
        told.append(SHARES)
    if measured.get("score_threshold") != measured.get("before_score_threshold"):
        told.append(CALIBRATED)
    return "\n".join(told)


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Before and after of each figure, as rich text; empty where nothing was measured."""
    shown = figures(metrics)
    if not shown:
        return ""
    head = "".join(map(_cell, ("before", "after", "cells", "95 %")))
    lines = "".join(f"<tr>{_line(one)}</tr>" for one in shown)
    return f"<table cellspacing='0' cellpadding='1' width='100%'><tr><td></td>{head}</tr>{lines}</table>"


def _line(one: Figure) -> str:
    interval = "" if one.low is None or one.high is None else f"{one.low:.2f}–{one.high:.2f}"
    values = (
        "–" if one.before is None else figure_text(one.name, one.before),
        f"<b>{figure_text(one.name, one.after)}</b>",
        "" if one.cells is None else f"{one.cells}",
        interval,
    )
    return f"<td>{escape(one.title)}</td>" + "".join(map(_cell, values))


def _cell(text: str) -> str:
    return f"<td align='right' style='padding-left: 4px; white-space: nowrap'>{text}</td>"
