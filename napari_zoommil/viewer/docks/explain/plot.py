"""Deletion and insertion curves in the dock."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_zoommil.maps.colours import class_colour
from napari_zoommil.maps.curves import Curves

HEIGHT, GREY = 130, "#8a8a8a"
TICKS = [(0, "0"), (0.5, "50"), (1, "100")]
"""%."""


class CurvesPlot(QWidget):
    """Two panels side by side: the output while patches go, and while they come; grey in random order."""

    def __init__(self) -> None:
        super().__init__()
        self.panels = [_panel("% taken away"), _panel("% given alone")]
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for panel in self.panels:
            line.addWidget(panel, 1)
        self.hide()

    def set_colours(self, text: str, background: str) -> None:
        """Letters and ground as the window's theme has them."""
        for panel in self.panels:
            panel.setBackground(background)
            for side in ("left", "bottom"):
                panel.getPlotItem().getAxis(side).setPen(pg.mkPen(text, width=0.5))
                panel.getPlotItem().getAxis(side).setTextPen(text)
            panel.getPlotItem().setTitle(panel.property("title"), color=text, size="8pt")

    def show_curves(self, curves: Curves | None) -> None:
        """Draw curves, or hide."""
        self.setVisible(curves is not None)
        if curves is None:
            return
        pairs = ((curves.deletion, curves.random_deletion), (curves.insertion, curves.random_insertion))
        low, high = curves.limits
        for panel, (own, random) in zip(self.panels, pairs, strict=True):
            plot = panel.getPlotItem()
            plot.clear()
            for one in random:
                plot.plot(curves.shares, one, pen=pg.mkPen(GREY, width=1), antialias=True)
            plot.plot(curves.shares, own, pen=pg.mkPen(class_colour(0), width=2.5), antialias=True)
            plot.setYRange(low, high, padding=0.06)


def _panel(title: str) -> pg.PlotWidget:
    panel = pg.PlotWidget()
    plot = panel.getPlotItem()
    panel.setProperty("title", title)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.setMouseEnabled(False, False)
    panel.enableMouse(False)
    panel.setFrameShape(panel.Shape.NoFrame)
    panel.setFixedHeight(HEIGHT)
    panel.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    plot.getAxis("bottom").setTicks([TICKS])
    plot.getAxis("left").enableAutoSIPrefix(False)
    plot.setXRange(0, 1, padding=0.1)
    return panel
