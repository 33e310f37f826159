"""Hear of regions that are drawn on a slide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
from napari.layers import Shapes

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.layers.overlays import find_layer
from napari_zoommil.viewer.metadata import TITLE, slide_of


class DrawnRegions:
    """Edits of one slide's regions of one kind, while their layer comes and goes.

    Parameters
    ----------
    viewer : napari.Viewer
    title : str
        Which regions: what their layer is called on every slide.
    changed : callable
        Called when there are other regions than before.
    """

    def __init__(self, viewer: napari.Viewer, title: str, changed: Callable[[], None]) -> None:
        self._viewer, self._title, self._changed = viewer, title, changed
        self._slide: Slide | None = None
        self._layers, self._edits = Follower(), Follower()
        self._layers.follow(viewer.layers.events.inserted, self._inserted)
        self._layers.follow(viewer.layers.events.removed, self._removed)

    def set_slide(self, slide: Slide | None) -> None:
        """Hear of its regions from now on, and of no other's."""
        self._slide = slide
        self._edits.stop()
        layer = find_layer(self._viewer, slide, self._title) if slide is not None else None
        if isinstance(layer, Shapes):
            self._edits.follow(layer.events.data, self._edited)

    def _is_ours(self, layer: Any) -> bool:
        ours = self._slide is not None and slide_of(layer) is self._slide
        return ours and layer.metadata.get(TITLE) == self._title

    def _inserted(self, event: Any) -> None:
        if self._is_ours(event.value):
            self.set_slide(self._slide)
            if event.value.data:  # one begins to draw on a layer without regions
                self._changed()

    def _removed(self, event: Any) -> None:
        if self._is_ours(event.value):
            self.set_slide(self._slide)
            self._changed()

    def _edited(self, event: Any) -> None:
        if event.action in ("added", "removed", "changed"):
            self._changed()

    def stop(self) -> None:
        """The dock is being taken apart."""
        self._layers.stop()
        self._edits.stop()
