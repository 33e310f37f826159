"""Live curves of a training: the loss of each step, and below it what is measured after each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_zoommil.jobs.trace import Trace
from napari_zoommil.maps.colours import class_colour

SMOOTHING = 0.85
"""Share of the old value in the running mean of the loss."""

LOSS_HEIGHT, MEASURED_HEIGHT, NAMED = 92, 80, 36
AXIS_WIDTH = 58
ROOM = 0.12
"""Beyond the range of an axis, as a share of it: letters at its ends need it."""

FAINT = 110
"""Opacity of the single steps, of 255."""

FEW = 60
"""Epochs up to which each has a dot."""

MOST_NUMBERS = 6
EPOCH_STEPS = [scale * step for scale in (10**power for power in range(8)) for step in (1, 2, 5)]
"""Between numbers on the axis of epochs, of which there are about so many at most."""

HANGING = 6
"""px below the name of an axis, which pyqtgraph hangs over its edge."""

LOSS, RECALL, F1, DENSITY = (class_colour(index) for index in (5, 4, 2, 3))
"""Light enough for a dark theme, dark enough for a light one."""

LOSSES, SHARES, AMOUNTS = range(3)
"""Panels, from the uppermost."""


class Measured(NamedTuple):
    """A column of the curves: its name in short, its colour, and in which panel it is drawn."""

    column: str
    title: str
    colour: str
    panel: int


@dataclass(frozen=True)
class Kind:
    """What is drawn of a kind of training.

    Attributes
    ----------
    measured : tuple of Measured
    shares, amounts : str
        What the panel of shares of 1 has, and the one of numbers without bound.
    parts : str
        Column with which the loss has parts that are drawn and their sum is not: it hides one of them.
    """

    measured: tuple[Measured, ...]
    shares: str
    amounts: str
    parts: str = ""


FINETUNING = Kind(
    (
        Measured("bag_loss", "loss of the slide", F1, LOSSES),
        Measured("point_loss", "loss of the points", RECALL, LOSSES),
        Measured("exclusive_recall", "annotated cells found", RECALL, SHARES),
        Measured("f1_complete", "F1", F1, SHARES),
        Measured("predictions_per_mm2", "per mm²", DENSITY, AMOUNTS),
    ),
    "recall, F1",
    "per mm²",
    "point_loss",
)
"""Of a cell model, or of a MIL model with points."""

COHORT = Kind(
    (
        Measured("val_loss", "loss on val", DENSITY, LOSSES),
        Measured("val_f1", "weighted F1 on val", F1, SHARES),
        Measured("val_accuracy", "accuracy on val", RECALL, SHARES),
        Measured("val_mae", "mean absolute error on val", DENSITY, AMOUNTS),
    ),
    "F1, acc.",
    "error",
)
"""Of a MIL model on a cohort, measured on its validation slides."""


class Curves(QWidget):
    """Up to three panels over the same epochs: losses, shares of 1, and numbers without bound."""

    def __init__(self, kind: Kind = FINETUNING) -> None:
        super().__init__()
        self._kind = kind
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.loss = _Panel("loss", LOSS_HEIGHT)
        self.shares = _Panel(kind.shares, MEASURED_HEIGHT)
        self.amounts = _Panel(kind.amounts, MEASURED_HEIGHT)
        self.shares.plot.setYRange(0, 1, padding=ROOM)
        self.shares.plot.getAxis("left").setTicks([[(share, f"{share:g}") for share in (0, 0.5, 1)]])
        self.raw = self.loss.curve(LOSS, FAINT)
        self.smooth = self.loss.curve(LOSS)
        self.panels = (self.loss, self.shares, self.amounts)
        self.measured = {one.column: self.panels[one.panel].curve(one.colour) for one in kind.measured}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for widget in (self.legend, *self.panels):
            column.addWidget(widget)
        self.show_trace(Trace())

    def set_colours(self, text: str, background: str) -> None:
        """Letters and ground as the window's theme has them."""
        for panel in self.panels:
            panel.set_colours(text, background)

    def show_trace(self, trace: Trace) -> None:
        """Draw a training; panels of which nothing is known stay away."""
        places, losses = with_past(trace)
        known_columns = {name for line in trace.history for name in line}
        if self._kind.parts in known_columns:
            places = losses = np.empty(0)
        self.raw.setData(places, losses)
        self.smooth.setData(places, smoothed(losses))
        shown = [("loss", LOSS)] if len(losses) else []
        for name, title, colour, panel in self._kind.measured:
            known = [(line["epoch"] + 1, line[name]) for line in trace.history if name in line]
            x, y = np.array(known).reshape(-1, 2).T
            dots = {"symbol": "o", "symbolSize": 5, "symbolBrush": colour, "symbolPen": None}
            self.measured[name].setData(
                x, y, **(dots if panel != LOSSES and len(x) <= FEW else {"symbol": None})
            )
            if known:
                shown.append((title, colour))
        self.legend.setText("&nbsp;&nbsp; ".join(_key(title, colour) for title, colour in shown))
        amounts = self._columns_of(AMOUNTS)
        highest = max((line.get(name, 0) for line in trace.history for name in amounts), default=0)
        self.amounts.plot.setYRange(0, highest or 1, padding=ROOM)
        self.shares.setVisible(bool(known_columns & self._columns_of(SHARES)))
        self.amounts.setVisible(bool(known_columns & amounts))
        last = max((panel for panel in self.panels if not panel.isHidden()), key=self.panels.index)
        for panel in self.panels:
            panel.name_epochs(panel is last)
            panel.show_epochs(max(trace.epochs, len(trace.history), 1))

    def _columns_of(self, panel: int) -> set[str]:
        return {one.column for one in self._kind.measured if one.panel == panel}


class _Panel(pg.PlotWidget):
    """One plot that neither zooms nor scrolls: the page around it does."""

    def __init__(self, name: str, height: int) -> None:
        super().__init__()
        self.plot = self.getPlotItem()
        self._name, self._height, self._text = name, height, "#808080"
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(False, False)
        self.enableMouse(False)
        self.setFrameShape(self.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot.getAxis("left").setWidth(AXIS_WIDTH)
        self.plot.getAxis("left").enableAutoSIPrefix(False)
        self.plot.showGrid(x=False, y=True, alpha=0.15)

    def curve(self, colour: str, alpha: int = 255) -> pg.PlotDataItem:
        drawn = QColor(colour)
        drawn.setAlpha(alpha)
        return self.plot.plot(pen=pg.mkPen(drawn, width=1 if alpha == FAINT else 2), antialias=True)

    def set_colours(self, text: str, background: str) -> None:
        self._text = text
        self.setBackground(background)
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(pg.mkPen(text, width=0.5))
            self.plot.getAxis(side).setTextPen(text)
        self._label()

    def name_epochs(self, named: bool) -> None:
        """The lowest panel names the axis that all share."""
        axis = self.plot.getAxis("bottom")
        axis.setStyle(showValues=named)
        self.plot.setLabel("bottom", "epoch" if named else "", color=self._text)
        axis.showLabel(named)
        axis.setHeight(NAMED if named else None)
        self.plot.layout.setContentsMargins(1, 1, 1, HANGING if named else 1)
        self.setFixedHeight(self._height + (NAMED + HANGING if named else 0))

    def show_epochs(self, count: int) -> None:
        """Few enough numbers to be read, whole ones."""
        step = next(step for step in EPOCH_STEPS if step * MOST_NUMBERS >= count)
        self.plot.setXRange(0, count, padding=ROOM / 2)
        self.plot.getAxis("bottom").setTicks([[(at, f"{at}") for at in range(0, count + 1, step)]])

    def _label(self) -> None:
        self.plot.setLabel("left", self._name, color=self._text)


def with_past(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places and losses; before the first step that is known, the mean of each epoch, at its middle."""
    begin = trace.places[0] if trace.places else np.inf
    past = [
        (line["epoch"] + 0.5, line["train_loss"])
        for line in trace.history
        if "train_loss" in line and line["epoch"] + 1 < begin
    ]
    points = np.array([*past, *zip(trace.places, trace.losses, strict=True)], np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def smoothed(values: ArrayLike, share: float = SMOOTHING) -> NDArray[np.float64]:
    """Running mean in which the past fades; its beginning is not drawn towards 0."""
    mean, weight, means = 0.0, 0.0, []
    for value in np.asarray(values, np.float64):
        mean, weight = share * mean + (1 - share) * float(value), share * weight + (1 - share)
        means.append(mean / weight)
    return np.array(means)


def _key(title: str, colour: str) -> str:
    return f"<span style='color:{colour}'>━</span>&nbsp;{title.replace(' ', '&nbsp;')}"
