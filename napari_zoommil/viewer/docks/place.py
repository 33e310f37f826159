"""Where the mouse is on the slide, in the status bar."""

from __future__ import annotations

from typing import Any

import napari
from qtpy.QtWidgets import QLabel, QMainWindow, QWidget

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.tabs import dock_of
from napari_zoommil.viewer.metadata import level_0
from napari_zoommil.viewer.session import Session


class PlaceLabel(QLabel):
    """Shows the place of the mouse on the active slide.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    """

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        super().__init__()
        self.setObjectName("place-on-slide")
        self.setToolTip("Place of the mouse on the slide, from its upper left corner: µm, and level-0 px")
        self._session = session
        cursor = viewer.cursor
        cursor.events.position.connect(self._moved)
        self.destroyed.connect(lambda *_: cursor.events.position.disconnect(self._moved))

    def _moved(self, event: Any) -> None:
        entry = self._session.active
        self.setText("" if entry is None else place_text(entry.slide, *event.value[-2:]))


def place_text(slide: Slide, *world: float) -> str:
    """``x 1,234.5  y 567.0 µm · 2469, 1134 px`` at world coordinates (y, x); empty off the slide."""
    y, x = level_0(slide, world)
    if not (0 <= y < slide.shape[0] and 0 <= x < slide.shape[1]):
        return ""
    pixels = f"{x:,.0f}, {y:,.0f} px"
    if slide.mpp is None:
        return f"x, y: {pixels}"
    return f"x {x * slide.mpp[1]:,.1f}, y {y * slide.mpp[0]:,.1f} µm  ·  {pixels}"


def show_place(page: QWidget, viewer: napari.Viewer, session: Session) -> None:
    """Show the place of the mouse in the status bar of the window of a dock, once per window."""
    dock = dock_of(page)
    window = dock.parentWidget() if dock is not None else None
    if isinstance(window, QMainWindow) and window.findChild(PlaceLabel) is None:
        bar = window.statusBar()
        if bar is not None:
            bar.addPermanentWidget(PlaceLabel(viewer, session))
