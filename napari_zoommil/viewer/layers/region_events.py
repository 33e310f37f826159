"""Events of regions that are drawn on a slide."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import napari
from napari.layers import Shapes
from qtpy.QtCore import QTimer

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import is_being_drawn
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.layers.drawing import outlines
from napari_zoommil.viewer.layers.overlays import find_layer
from napari_zoommil.viewer.metadata import TITLE, slide_of


class DrawnRegions:
    """Notifies of edits of a slide's regions, also when their layers are added or removed.

    Parameters
    ----------
    viewer : napari.Viewer
    titles : collection of str
        Titles of the layers.
    changed : callable
        Called when the regions have changed.
    """

    def __init__(self, viewer: napari.Viewer, titles: Collection[str], changed: Callable[[], None]) -> None:
        self._viewer, self._titles, self._changed = viewer, titles, changed
        self._slide: Slide | None = None
        self._known: list[tuple[str, list]] = []
        self._layers, self._edits = Follower(), Follower()
        self._layers.follow(viewer.layers.events.inserted, self._come_or_gone)
        self._layers.follow(viewer.layers.events.removed, self._come_or_gone)

    def set_slide(self, slide: Slide | None) -> None:
        """Set the slide whose regions are observed."""
        self._slide = slide
        self._follow()
        self._known = self._regions()

    def _follow(self) -> None:
        self._edits.stop()
        for layer in self._shown():
            self._edits.follow(layer.events.data, self._edited)

    def _shown(self) -> list[Shapes]:
        slide = self._slide
        found = [find_layer(self._viewer, slide, title) for title in self._titles] if slide else []
        return [layer for layer in found if isinstance(layer, Shapes)]

    def _regions(self) -> list[tuple[str, list]]:
        return [(layer.metadata[TITLE], one.tolist()) for layer in self._shown() for one in outlines(layer)]

    def _come_or_gone(self, event: Any) -> None:
        if self._slide is not None and slide_of(event.value) is self._slide:
            self._follow()
            self._compare()

    def _edited(self, event: Any) -> None:
        if event.action not in ("added", "removed", "changed"):
            return
        if is_being_drawn(event.source):  # napari has not finished processing the shape
            QTimer.singleShot(0, self._compare)
        else:
            self._compare()

    def _compare(self) -> None:
        known, self._known = self._known, self._regions()
        if known != self._known:
            self._changed()

    def stop(self) -> None:
        """Disconnect."""
        self._layers.stop()
        self._edits.stop()
        self._slide, self._known = None, []
