"""What is open in one viewer: slides, which one is active, and their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import napari
import numpy as np
from napari.layers import Layer, Shapes
from numpy.typing import NDArray
from psygnal import Signal

from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.slides.slide import as_pair
from napari_zoommil.viewer.layers.slide import is_slide, slide_of, world_scale


@dataclass(eq=False)
class OpenSlide:
    """A slide in the viewer with what was found out about it.

    ``detected`` is the tissue found by itself, ``tissue`` the one with the user's regions applied;
    ``detection`` are the cells found last, which count from the score ``threshold`` on; ``hidden`` are
    its layers that were put out of sight while another slide is active.
    """

    slide: Slide
    layer: Layer
    detected: Tissue | None = None
    tissue: Tissue | None = None
    prediction: Prediction | None = None
    detection: Detection | None = None
    threshold: float = 0.5
    alive: bool = True
    hidden: list[Layer] = field(default_factory=list)

    @cached_property
    def overview(self) -> NDArray[np.uint8]:
        """The coarsest level, (h, w, 3)."""
        return np.asarray(self.layer.data[-1])


class Session:
    """State of one viewer; docks subscribe to its signals.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    encoders : dict of str to str
        Encoders that the user named for models that must not choose them, by their hash.
    """

    activated = Signal(object)
    """(OpenSlide or None) another slide is active."""

    changed = Signal(object)
    """(OpenSlide) its resolution, tissue, prediction or detection changed."""

    removed = Signal(object)
    """(OpenSlide) its layer was removed; what still runs for it must stop."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._slides: dict[Layer, OpenSlide] = {}
        self.encoders: dict[str, str] = {}
        self.active: OpenSlide | None = None
        self._layers = viewer.layers
        self._keeping_active = False
        selected = viewer.layers.selection.active
        for layer in viewer.layers:
            self._add(layer)
        self._select(selected)
        viewer.layers.events.inserted.connect(lambda event: self._add(event.value))
        viewer.layers.events.removed.connect(lambda event: self._remove(event.value))
        viewer.layers.selection.events.active.connect(lambda event: self._select(event.value))

    @property
    def slides(self) -> tuple[OpenSlide, ...]:
        return tuple(self._slides.values())

    def _add(self, layer: Layer) -> None:
        slide = slide_of(layer)
        # A duplicated layer shares its slide with the first, which stays the one that counts.
        if slide is not None and is_slide(layer) and all(slide is not e.slide for e in self.slides):
            self._slides[layer] = OpenSlide(slide, layer)
            self._activate(self._slides[layer])

    def _remove(self, layer: Layer) -> None:
        gone = self._slides.pop(layer, None)
        if gone is None:
            return
        gone.alive = False
        self.removed.emit(gone)
        for other in [each for each in self._layers if slide_of(each) is gone.slide]:
            self._layers.remove(other)
        gone.slide.close()
        if self.active is gone:
            self._activate(next(iter(self._slides.values()), None))

    @contextmanager
    def keeping_active(self) -> Iterator[None]:
        """Layers may come and go inside without another slide becoming active."""
        self._keeping_active = True
        try:
            yield
        finally:
            self._keeping_active = False

    def _select(self, layer: Layer | None) -> None:
        if self._keeping_active:
            return
        slide = slide_of(layer)
        found = next((entry for entry in self._slides.values() if entry.slide is slide), None)
        if found is not None and found is not self.active:
            self._activate(found)

    def _activate(self, entry: OpenSlide | None) -> None:
        self.active = entry
        self._show_only(entry)
        self.activated.emit(entry)

    def _show_only(self, active: OpenSlide | None) -> None:
        """Slides share one origin, so only the active one's layers are in sight."""
        for entry in self._slides.values():
            own = [layer for layer in self._layers if slide_of(layer) is entry.slide]
            if entry is active:
                for layer in entry.hidden:
                    layer.visible = True
                entry.hidden.clear()
            else:
                shown = [layer for layer in own if layer.visible]
                entry.hidden.extend(shown)
                for layer in shown:
                    layer.visible = False

    def set_mpp(self, entry: OpenSlide, mpp: float | Pair) -> None:
        """Give a slide the resolution it does not state, µm/px."""
        entry.slide.mpp = as_pair(mpp)
        placed = world_scale(entry.slide)
        for layer in self._forget_results(entry):
            layer.units, layer.scale = placed["units"], placed["scale"]
        self.changed.emit(entry)

    def manage_colours(self, entry: OpenSlide, on: bool) -> None:
        """Show a slide's colours as its profile means them, or as they are stored."""
        entry.slide.manage_colours(on)
        entry.layer.data = entry.slide.pyramid()
        entry.__dict__.pop("overview", None)
        self._forget_results(entry)
        self.changed.emit(entry)

    def _forget_results(self, entry: OpenSlide) -> list[Layer]:
        """Drop what was computed from a slide's old pixels; the slide and the user's regions stay."""
        own = [layer for layer in self._layers if slide_of(layer) is entry.slide]
        kept = [layer for layer in own if is_slide(layer) or isinstance(layer, Shapes)]
        for layer in own:
            if layer not in kept:
                self._layers.remove(layer)
        entry.detected = entry.tissue = entry.prediction = entry.detection = None
        return kept


_SESSIONS: WeakKeyDictionary[napari.Viewer, Session] = WeakKeyDictionary()


def session_of(viewer: napari.Viewer) -> Session:
    """The session of a viewer; made on the first call."""
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = Session(viewer)
    return _SESSIONS[viewer]
