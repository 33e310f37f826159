"""What is known of the teaching on one slide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import napari
from napari.layers import Layer

from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.compare import Comparand
from napari_zoommil.jobs.finetune_plan import TrainingSet
from napari_zoommil.jobs.finetune_runs import TrainingRun
from napari_zoommil.jobs.trace import Trace
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.viewer.compat import remove_layers
from napari_zoommil.viewer.layers.detections import is_cells_of, show_cells
from napari_zoommil.viewer.layers.overlays import is_map_of, show_overlay
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sight import sight_of

BEFORE, AFTER = "before", "after"
"""The two sides that are compared: what the old model finds or looks at, and what the new one does."""

CELLS, ATTENTION = "cells", "attention"

Views = dict[tuple[str, str], Layer]
"""Layers by their side and what they show: cells or attention."""


@dataclass(eq=False)
class Lesson:
    """Teaching on one slide.

    Attributes
    ----------
    entry : OpenSlide
    found : TrainingSet or None
        What there is to train on; None as long as nobody has looked.
    run : TrainingRun or None
        Trained, and waiting for a decision.
    trace : Trace
        Of the training under way, or of ``run``.
    note : str
        What happened last.
    layers : dict
        What the two models find or look at; see :data:`Views`.
    covered : dict of Layer to bool
        Maps and cells that were put out of sight for these, and whether they had been put away by key.
    """

    entry: OpenSlide
    found: TrainingSet | None = None
    run: TrainingRun | None = None
    trace: Trace = field(default_factory=Trace)
    note: str = ""
    layers: Views = field(default_factory=dict)
    covered: dict[Layer, bool] = field(default_factory=dict)

    @property
    def unfinished(self) -> TrainingRun | None:
        """The latest run that was cut off."""
        runs = self.found.runs if self.found else ()
        return next((run for run in runs if not run.trained), None)

    def await_decision(self, run: TrainingRun) -> None:
        """A run is trained."""
        self.run = run
        self.trace = replace(self.trace, epochs=run.epochs, history=run.history)

    def decided(self, note: str) -> None:
        """It was kept or discarded."""
        self.run, self.trace, self.note = None, Trace(), note

    def views(self, viewer: napari.Viewer) -> Views:
        """The layers that nobody has removed."""
        return {key: layer for key, layer in self.layers.items() if layer in viewer.layers}

    def sides(self, viewer: napari.Viewer) -> set[str]:
        """Which of before and after there is something of."""
        return {side for side, _ in self.views(viewer)}

    def add_cells(self, viewer: napari.Viewer, found: Comparand) -> None:
        """Show what a model has found, and nothing that was found before."""
        self._cover(viewer)
        title = f"{CELLS} {found.title}"
        self.layers[found.title, CELLS] = show_cells(viewer, self.entry.slide, found.detection, title)

    def add_maps(self, viewer: napari.Viewer, seen: AttentionMaps) -> None:
        """Show where a MIL model looks, as times the average: colours mean the same before and after."""
        self._cover(viewer)
        if seen.maps:
            shown = Overlay.of(seen.maps, "times")
            self.layers[seen.when, ATTENTION] = show_overlay(viewer, self.entry.slide, shown, seen.when)

    def show_side(self, viewer: napari.Viewer, side: str, asked: bool = False) -> None:
        """Bring before or after in sight and the other out of it.

        What the user has hidden stays so, unless all of it is and it was ``asked`` for.
        """
        views, sight = self.views(viewer), sight_of(viewer)
        asked = asked and not any(layer.visible for layer in views.values())
        for what in {what for _, what in views}:
            pair = {one: layer for (one, other), layer in views.items() if other == what}
            seen = asked or any(layer.visible for layer in pair.values())
            for one, layer in pair.items() if side in pair else ():
                if seen:
                    sight.forget(layer)
                layer.visible = seen and one == side

    def remove_views(self, viewer: napari.Viewer) -> None:
        """Take both away; what they covered comes back with its slide, or by the key that put it away."""
        sight = sight_of(viewer)
        with sight.held_still():
            remove_layers(viewer.layers, list(self.views(viewer).values()))
        for layer, put_away in self.covered.items():
            if layer not in viewer.layers:
                continue
            if put_away:
                sight.keep_away(layer)
                continue
            layer.visible = True
            if sight.slide is not slide_of(layer):
                sight.hide(layer)
        self.layers.clear()
        self.covered.clear()

    def _cover(self, viewer: napari.Viewer) -> None:
        sight = sight_of(viewer)
        others = [
            layer
            for layer in viewer.layers
            if layer not in self.layers.values()
            and (is_map_of(layer, self.entry.slide) or is_cells_of(layer, self.entry.slide))
        ]
        for layer in others:
            put_away = sight.is_put_away(layer)
            if layer.visible or sight.is_hidden(layer) or put_away:
                sight.forget(layer)
                layer.visible = False
                self.covered[layer] = put_away
