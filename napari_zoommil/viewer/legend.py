"""The legend on the canvas: of all overlays in sight, and only while they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import napari
from napari.layers import Layer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QImage, QMouseEvent, QPixmap
from qtpy.QtWidgets import QLabel, QWidget

from napari_zoommil.maps.drawing import to_image
from napari_zoommil.maps.legend import Key, Legend, draw, legend_of
from napari_zoommil.viewer.compat import canvas_widget
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.keys import OVERLAYS
from napari_zoommil.viewer.layers.detections import CELLS
from napari_zoommil.viewer.layers.overlays import MAP, TISSUE, TISSUE_COLOUR, WHEN
from napari_zoommil.viewer.metadata import TITLE

NOTE = f"{OVERLAYS} hides and shows overlays; a click folds this legend."
FOLDED_WIDTH = 170.0

AWAY_PX = 10
"""From the lower left corner of the canvas; napari's scale bar is at the right."""


class CanvasLegend(QLabel):
    """A picture over a corner of the canvas; a click on it leaves only its titles, and brings all back.

    Parameters
    ----------
    viewer : napari.Viewer
    canvas : QWidget
        Owns it.
    """

    def __init__(self, viewer: napari.Viewer, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.setObjectName("zoommil-legend")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.folded = False
        self._layers, self._canvas = viewer.layers, canvas
        self._shown: tuple[Legend, ...] = ()
        self._follower = Follower()
        self._watched: dict[Layer, Follower] = {}
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.refresh)
        self._follower.follow(viewer.layers.events.inserted, self._inserted)
        self._follower.follow(viewer.layers.events.removed, self._removed)
        for layer in viewer.layers:
            self._watch(layer)
        canvas.installEventFilter(self)
        self.destroyed.connect(_stopping(self._follower, self._watched))
        self.hide()
        self.refresh()

    @property
    def shown(self) -> tuple[Legend, ...]:
        """What it says; empty while it is hidden."""
        return self._shown

    def refresh(self) -> None:
        """Say what is in sight."""
        found = tuple(legends_of(self._layers))
        if found == self._shown:
            return
        self._shown = found
        self.setVisible(bool(found))
        if found:
            self._paint()

    def _inserted(self, event: Any) -> None:
        self._watch(event.value)
        self._later()

    def _removed(self, event: Any) -> None:
        if (watching := self._watched.pop(event.value, None)) is not None:
            watching.stop()
        self._later()

    def _watch(self, layer: Layer) -> None:
        watching = self._watched[layer] = Follower()
        for signal in (layer.events.visible, layer.events.set_data):
            watching.follow(signal, self._later)

    def _later(self, _event: object = None) -> None:
        self._soon.start()  # several layers change at a time

    def _paint(self) -> None:
        scale = self.devicePixelRatioF()
        drawn = (
            draw(tuple(map(_title, self._shown)), width=FOLDED_WIDTH)
            if self.folded
            else draw(self._shown, NOTE)
        )
        image = to_image(drawn, scale)
        pixels = QImage(
            image.tobytes(), image.width, image.height, 4 * image.width, QImage.Format.Format_RGBA8888
        )
        pixmap = QPixmap.fromImage(pixels)
        pixmap.setDevicePixelRatio(scale)
        self.setPixmap(pixmap)
        self.adjustSize()
        self._place()

    def _place(self) -> None:
        self.move(AWAY_PX, self._canvas.height() - self.height() - AWAY_PX)
        self.raise_()

    def fold(self, folded: bool) -> None:
        """Show the titles alone, or all."""
        self.folded = folded
        if self._shown:
            self._paint()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        self.fold(not self.folded)
        if event is not None:
            event.accept()  # else the slide would get the click

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)


def _stopping(follower: Follower, watched: Mapping[Layer, Follower]) -> Callable[..., None]:
    """What ends all connections; it does not hold the widget, which Qt has deleted then."""

    def stop(*_: object) -> None:
        for one in (follower, *watched.values()):
            one.stop()

    return stop


def _title(legend: Legend) -> Legend:
    return Legend(f"{legend.title} …")


def attach_legend(viewer: napari.Viewer) -> CanvasLegend | None:
    """A legend on the canvas of a viewer; a viewer without a window has none."""
    canvas = canvas_widget(viewer)
    return CanvasLegend(viewer, canvas) if canvas is not None else None


def legends_of(layers: Any) -> Iterator[Legend]:
    """Of the overlays that are visible, the uppermost first."""
    for layer in reversed(layers):
        if not layer.visible:
            continue
        if MAP in layer.metadata:
            yield legend_of(layer.metadata[MAP], layer.metadata[WHEN])
        elif CELLS in layer.metadata:
            title = str(layer.metadata[TITLE])
            keys = tuple(
                Key("#{:02x}{:02x}{:02x}".format(*one.colour), one.name, round=True)
                for one in layer.metadata[CELLS].classes
            )
            yield Legend(title[0].upper() + title[1:], keys=keys)
        elif layer.metadata.get(TITLE) == TISSUE:
            colour = "#{:02x}{:02x}{:02x}".format(*TISSUE_COLOUR[:3])
            yield Legend("Tissue", keys=(Key(colour, "edge of what the model reads"),))
