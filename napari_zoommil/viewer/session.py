"""State of a viewer: its slides, the active slide, their annotations and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import napari
from napari.layers import Layer, Shapes
from psygnal import Signal

from napari_zoommil.annotations import Changed
from napari_zoommil.errors import FileError
from napari_zoommil.files import real
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.cohort import OpenCohort
from napari_zoommil.jobs.cohort_train import models_beside
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.closing import end_without_collecting
from napari_zoommil.viewer.compat import delete_in_own_context, remove_layers
from napari_zoommil.viewer.documents import Documents
from napari_zoommil.viewer.hiding import bind_overlay_key
from napari_zoommil.viewer.layers.slide import keep_in_place, open_slide_layer
from napari_zoommil.viewer.legend import attach_legend
from napari_zoommil.viewer.metadata import (
    MOVES,
    go_along,
    is_slide,
    note_move,
    on_level_0,
    slide_of,
    world_scale,
)
from napari_zoommil.viewer.notifications import show_warning
from napari_zoommil.viewer.open_slide import EXPLANATION, OpenSlide, ResultKey
from napari_zoommil.viewer.restored import Restoring
from napari_zoommil.viewer.settings import annotator
from napari_zoommil.viewer.sight import sight_of

KEPT_OF_PARTS = 64
"""Explanations of patches and windows of a slide that are kept: there is one for each click."""


class Session:
    """State of one viewer; docks communicate through its signals.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    documents : Documents
        Annotation documents of its slides.
    encoders : dict of str to str
        Encoders that the user named for models, by their hash.
    kept : dict of Kind to Path
        The model of each kind that was kept last; docks that are opened later select it.
    cohort : OpenCohort or None
        What the Cohort dock shows; it is there again when the dock is.
    """

    activated = Signal(object)
    """(OpenSlide or None) the active slide changed."""

    slide_changed = Signal(object)
    """(OpenSlide) its resolution, colours or position changed: a new generation."""

    result_changed = Signal(object, ResultKey)
    """(OpenSlide, ResultKey) a result was added, replaced or removed."""

    document_changed = Signal(object, Changed)
    """(OpenSlide, Changed) its annotations were edited or read."""

    model_kept = Signal(Path, str)
    """(Path, Kind) a new model in a folder, which docks select."""

    removed = Signal(object)
    """(OpenSlide) its layer was removed."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._slides: dict[Layer, OpenSlide] = {}
        self.encoders: dict[str, str] = {}
        self.kept: dict[Kind, Path] = {}
        self.cohort: OpenCohort | None = None
        self.active: OpenSlide | None = None
        end_without_collecting()
        delete_in_own_context(viewer)
        self._viewer = ref(viewer)
        bind_overlay_key(viewer)
        attach_legend(viewer)
        viewer.events.help.connect(self._keep_help_off)
        self._layers, self._sight = viewer.layers, sight_of(viewer)
        self.documents = Documents(viewer, self.document_changed.emit)
        self._restoring = Restoring(viewer, self.result_changed.emit)
        selected = viewer.layers.selection.active
        for layer in viewer.layers:
            self._add(layer)
        self._select(selected)
        # After napari has added the layer, because further layers are inserted then.
        viewer.layers.events.inserted.connect(lambda event: self._add(event.value), position="last")
        viewer.layers.events.removed.connect(lambda event: self._remove(event.value))
        viewer.layers.selection.events.active.connect(lambda event: self._select(event.value))

    @property
    def slides(self) -> tuple[OpenSlide, ...]:
        return tuple(self._slides.values())

    @property
    def cohort_models(self) -> tuple[Path, ...]:
        """Models that were trained on the cohort."""
        cohort = self.cohort
        return models_beside(cohort.path) if cohort is not None and cohort.can_be_trained_on else ()

    def _add(self, layer: Layer) -> None:
        slide = slide_of(layer)
        if slide is not None:
            keep_in_place(layer)
            if is_slide(layer):
                for name in MOVES:
                    layer.events[name].connect(self._slide_moved)
                note_move(slide, layer)
            else:
                go_along(layer, slide)
        # A duplicated layer shares its slide with the first one, which is kept.
        if slide is not None and is_slide(layer) and all(slide is not e.slide for e in self.slides):
            entry = self._slides[layer] = OpenSlide(slide, layer)
            self.documents.open(entry)
            self._restoring.start(entry)
            self._activate(entry)

    def _slide_moved(self, event: Any) -> None:
        """What lies on a slide goes along when its layer is moved or turned in napari."""
        slide = slide_of(event.source)
        if slide is None:
            return
        note_move(slide, event.source)
        for layer in self._layers:
            if slide_of(layer) is slide and not is_slide(layer):
                go_along(layer, slide)

    def _remove(self, layer: Layer) -> None:
        gone = self._slides.pop(layer, None)
        if gone is None:
            return
        gone.alive = False
        gone.outdate()
        self.removed.emit(gone)
        self.documents.close(gone)
        self._restoring.stop(gone)
        remove_layers(self._layers, [each for each in self._layers if slide_of(each) is gone.slide])
        gone.slide.close()
        if self.active is gone:
            self._activate(next(iter(self._slides.values()), None))

    def _keep_help_off(self, event: Any) -> None:
        """napari names keys of its own in the status bar, which do something else on layers of a slide."""
        viewer = self._viewer()
        if event.value and viewer is not None and slide_of(viewer.layers.selection.active) is not None:
            viewer.help = ""

    def _select(self, layer: Layer | None) -> None:
        if self._sight.held:
            return
        slide = slide_of(layer)
        found = next((entry for entry in self._slides.values() if entry.slide is slide), None)
        if found is not None and found is not self.active:
            self._activate(found)

    def _activate(self, entry: OpenSlide | None) -> None:
        left, self.active = self.active, entry
        self._sight.show_only(entry.slide if entry else None)
        self._frame(entry, left)
        self.activated.emit(entry)

    def keep_model(self, folder: Path, kind: Kind) -> None:
        """Select a new model in all docks, also in those that are opened later."""
        self.kept.pop(kind, None)  # the latest is last
        self.kept[kind] = folder
        self.model_kept.emit(folder, kind)

    def _frame(self, entry: OpenSlide | None, left: OpenSlide | None) -> None:
        """Show of a slide what was in view before another one was chosen; all of it the first time."""
        viewer = self._viewer()
        if viewer is None:
            return
        if left is not None and left is not entry:
            left.view = camera.View.of(viewer)
        if entry is None:
            return
        if entry.view is None:
            camera.fit(viewer, entry.layer)
        elif entry is not left:
            entry.view.restore(viewer)

    def open(self, path: Path) -> OpenSlide:
        """Open a slide, or make it the active one if it is open.

        Raises
        ------
        SlideError
            If it cannot be opened.
        """
        viewer = self._viewer()
        assert viewer is not None, "the window is closed"
        entry = self.entry_of(path)
        if entry is None:
            data, arguments, _ = open_slide_layer(path)
            viewer.add_image(data, **arguments)
            viewer.canvas.overlays.scale_bar.visible = True
            entry = self.entry_of(path)
        else:
            viewer.layers.selection.active = entry.layer
            if self.active is not entry:  # one of its other layers was selected
                self._activate(entry)
        assert entry is not None
        return entry

    def entry_of(self, path: Path) -> OpenSlide | None:
        """The slide of a path, if it is open."""
        wanted = real(path)
        return next((entry for entry in self.slides if real(entry.slide.path) == wanted), None)

    def restore(self, entry: OpenSlide) -> None:
        """Look again for stored predictions of a slide."""
        self._restoring.start(entry)

    # Results

    def keep(self, entry: OpenSlide, key: ResultKey, result: Any) -> None:
        """Store a result and show it; it replaces one with the same key, and no other.

        Of explanations of a patch or a window, the latest :data:`KEPT_OF_PARTS` of a slide are kept.
        """
        entry.results.pop(key, None)
        entry.results[key] = result
        self.choose(entry, key)
        of_parts = [
            one
            for one, kept in entry.results.items()
            if isinstance(kept, Explanation) and not kept.focus.is_whole
        ]
        for one in of_parts[:-KEPT_OF_PARTS]:
            self.forget(entry, one)

    def choose(self, entry: OpenSlide, key: ResultKey) -> None:
        """Show a result in place of another one of its kind."""
        entry.chosen[key.kind] = key
        self.result_changed.emit(entry, key)

    def forget(self, entry: OpenSlide, key: ResultKey) -> None:
        """Remove a result, and the explanations of a prediction."""
        explanations = [one for one in entry.keys(EXPLANATION) if one.prediction == key]
        for one in (*explanations, key):
            del entry.results[one]
            self.result_changed.emit(entry, one)

    # New generations

    def set_mpp(self, entry: OpenSlide, mpp: float | Pair) -> None:
        """Set the resolution of a slide, µm/px, which is remembered."""
        try:
            entry.slide.set_mpp(mpp, annotator())
        except FileError as error:
            show_warning(f"The pixel size is used, but cannot be remembered: {error}")
        for layer in self._outdate(entry):
            placed = world_scale(entry.slide) if is_slide(layer) else on_level_0(entry.slide)
            for name, value in placed.items():
                setattr(layer, name, value)
        self.documents.mend(entry)
        self._restoring.start(entry)
        if (viewer := self._viewer()) is not None:
            camera.fit(viewer, entry.layer)
        self.slide_changed.emit(entry)

    def manage_colours(self, entry: OpenSlide, on: bool) -> None:
        """Switch colour management of a slide on or off."""
        entry.slide.manage_colours(on)
        entry.layer.data = entry.slide.pyramid()
        self._outdate(entry)
        self.documents.mend(entry)
        self._restoring.start(entry)
        self.slide_changed.emit(entry)

    def _outdate(self, entry: OpenSlide) -> list[Layer]:
        """Remove results computed from a slide's old pixels; the slide and the user's regions stay."""
        entry.outdate()
        own = [layer for layer in self._layers if slide_of(layer) is entry.slide]
        kept = [layer for layer in own if is_slide(layer) or isinstance(layer, Shapes)]
        remove_layers(self._layers, [layer for layer in own if layer not in kept])
        return kept


_SESSIONS: WeakKeyDictionary[napari.Viewer, Session] = WeakKeyDictionary()


def session_of(viewer: napari.Viewer) -> Session:
    """The session of a viewer; created on the first call."""
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = Session(viewer)
    return _SESSIONS[viewer]
