"""One slide while it is annotated: keys on its layers, and what to look at next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import napari
from napari.layers import Layer

from napari_zoommil.annotations import Autosave, Points
from napari_zoommil.cells.uncertainty import Walk
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.viewer import camera, keys
from napari_zoommil.viewer.docks.annotate.classes import Tally
from napari_zoommil.viewer.hiding import toggle_overlays
from napari_zoommil.viewer.layers.annotations import AnnotationLayers
from napari_zoommil.viewer.layers.points import PointsView
from napari_zoommil.viewer.layers.regions import RegionsView
from napari_zoommil.viewer.open_slide import OpenSlide

LOOK_AT = 20.0
"""Magnification at which a cell can be judged."""

Actions = Mapping[str, Callable[[int], None]]
"""What keys do, see :func:`napari_zoommil.viewer.keys.bind`."""


class SlideAnnotations:
    """What the Annotate dock does on one slide.

    Parameters
    ----------
    viewer : napari.Viewer
    entry : OpenSlide
        With its document and the layers of it.
    actions : mapping
        What keys do on its layers.
    """

    def __init__(self, viewer: napari.Viewer, entry: OpenSlide, actions: Actions) -> None:
        self._viewer, self.entry, self._actions = viewer, entry, actions
        self._walk = Walk()
        self._walked: tuple[Detection | None, float] = (None, self._walk.threshold)

    @property
    def saved(self) -> Autosave:
        assert self.entry.document is not None
        return self.entry.document

    @property
    def points(self) -> Points:
        return self.saved.points

    @property
    def _shown(self) -> AnnotationLayers:
        assert self.entry.annotations is not None
        return self.entry.annotations

    @property
    def view(self) -> PointsView:
        return self._shown.view

    @property
    def regions(self) -> RegionsView:
        return self._shown.regions

    @property
    def tallies(self) -> dict[str, Tally]:
        """How much there is of each class, by name."""
        points, mpp = self.points, self.entry.slide.mpp
        regions: dict[str, list[float]] = {one.name: [] for one in points.classes}
        for region in points.regions.values():
            regions.setdefault(region.class_name, []).append(region.area_px)
        um2 = mpp[0] * mpp[1] / 1e6 if mpp else None
        return {
            name: Tally(count, len(regions[name]), um2 and sum(regions[name]) * um2)
            for name, count in points.counts.items()
        }

    @property
    def layers(self) -> tuple[Layer, Layer]:
        return self._shown.layers

    def bind(self) -> None:
        """Let keys act on the slide and on both layers, as they are now."""
        for layer in self.layers:
            keys.bind(layer, self._actions, editable=True)
        keys.bind(self.entry.layer, self._actions)

    def unbind(self) -> None:
        """Take the keys of all three away."""
        for layer in (self.entry.layer, *(self.layers if self.entry.annotations is not None else ())):
            keys.unbind(layer)

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

    def toggle_overlays(self) -> bool:
        """Put what lies over the slide out of sight, or back; whether it is in sight now."""
        return toggle_overlays(self._viewer)
