"""What is annotated on one open slide: the document on disk, its two layers, and what to look at next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import napari
import numpy as np
from napari.layers import Layer

from napari_zoommil.annotations import CLASS_CYCLE, Autosave, CellClass, Points
from napari_zoommil.cells.uncertainty import Walk
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera, keys
from napari_zoommil.viewer.layers.complete_regions import CompleteView
from napari_zoommil.viewer.layers.points import FIRST_CLASS, PointsView
from napari_zoommil.viewer.metadata import is_slide, per_pixel, slide_of
from napari_zoommil.viewer.session import OpenSlide

LOOK_AT = 20.0
"""Magnification at which a cell can be judged."""

Actions = Mapping[str, Callable[[int], None]]
"""What keys do, see :func:`napari_zoommil.viewer.keys.bind`."""


def open_document(slide: Slide, annotator: str) -> Autosave:
    """The annotations of a slide; where there are none, a document with one class and no file as yet.

    Raises
    ------
    AnnotationError
        If the file is there and cannot be read.
    """
    saved = Autosave.of(slide, annotator)
    if saved.points.classes or saved.points.features or saved.path.exists():
        return saved
    saved.close()
    return Autosave(Points(annotator, (CellClass(FIRST_CLASS, CLASS_CYCLE[0]),)), saved.path)


class SlideAnnotations:
    """Annotations of one slide in a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    entry : OpenSlide
    annotator : str
    actions : mapping
        What keys do on its layers.

    Raises
    ------
    AnnotationError
        If the file is there and cannot be read.

    Attributes
    ----------
    saved : Autosave
    points : Points
    view : PointsView
    regions : CompleteView
    """

    def __init__(self, viewer: napari.Viewer, entry: OpenSlide, annotator: str, actions: Actions) -> None:
        self._viewer, self.entry, self._actions = viewer, entry, actions
        self.saved = open_document(entry.slide, annotator)
        self.points = self.saved.points
        self._walk = Walk()
        self._walked: tuple[Detection | None, float] = (None, self._walk.threshold)
        self._hidden: list[Layer] = []
        self._show()

    def _show(self) -> None:
        self.regions = CompleteView(self._viewer, self.entry.slide, self.points)
        self.view = PointsView(self._viewer, self.entry.slide, self.points)
        keys.bind(self.view.layer, self._actions)
        keys.bind(self.regions.layer, self._actions, drawing=True)
        self.view.layer.bind_key("Ctrl-V", lambda _: None, overwrite=True)  # napari pastes behind our back

    @property
    def layers(self) -> tuple[Layer, Layer]:
        return self.view.layer, self.regions.layer

    @property
    def walk(self) -> Walk:
        """Through the slide's detections, the least certain first; anew where others have been found."""
        found, threshold = self.entry.detection, self.entry.threshold
        if self._walked != (found, threshold):
            self._walked = (found, threshold)
            self._walk = Walk(found.finds.centres, found.finds.scores, threshold) if found else Walk()
        return self._walk

    def fly(self, by: int) -> str:
        """Go to the next detection to look at, or the one before; what there is to say of it."""
        walk, slide = self.walk, self.entry.slide
        stop = walk.step(by)
        if stop is None:
            return "No detections on this slide yet: the Detect cells dock finds them"
        (y, x), score = stop
        now = camera.magnification(self._viewer, slide)
        if now is not None and now < LOOK_AT:
            camera.set_magnification(self._viewer, LOOK_AT)
        camera.go_to(self._viewer, slide, y / slide.shape[0], x / slide.shape[1])
        return f"Detection {walk.at + 1:,} of {len(walk):,}, score {score:.2f}"  # type: ignore[operator]

    @property
    def in_place(self) -> bool:
        """Whether both layers are there, and on the slide: it may have got another pixel size."""
        scale = per_pixel(self.entry.slide)
        return all(layer in self._viewer.layers and np.allclose(layer.scale, scale) for layer in self.layers)

    def renew(self) -> None:
        """Make both layers anew; the document and its history stay."""
        label = self.view.label
        self._close_views()
        self._show()
        self.view.label = label

    def toggle_overlays(self) -> bool:
        """Put what lies over the slide out of sight, or back; whether it is in sight now."""
        hidden = [layer for layer in self._hidden if layer in self._viewer.layers and not layer.visible]
        self._hidden = [] if hidden else [layer for layer in self._overlays() if layer.visible]
        for layer in hidden or self._hidden:
            layer.visible = bool(hidden)
        return bool(hidden) or not self._hidden

    def _overlays(self) -> list[Layer]:
        own = [layer for layer in self._viewer.layers if slide_of(layer) is self.entry.slide]
        return [layer for layer in own if not is_slide(layer) and layer not in self.layers]

    def close(self) -> None:
        """Take the layers away and follow the document no more; it stays on disk."""
        self._close_views()
        self.saved.close()
        self._hidden.clear()

    def _close_views(self) -> None:
        for layer in self.layers:
            keys.unbind(layer)
        self.view.close()
        self.regions.close()
