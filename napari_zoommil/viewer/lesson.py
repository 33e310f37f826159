"""What is known of the teaching on one slide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import napari
from napari.layers import Layer

from napari_zoommil.viewer.cells_layer import show_cells
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.teaching import Finding, Trace
from napari_zoommil.viewer.training_runs import TrainingRun
from napari_zoommil.viewer.training_set import TrainingSet

BEFORE, AFTER = "cells before", "cells after"
"""Titles of the layers with what the old and the new model find."""


@dataclass(eq=False)
class Lesson:
    """Teaching on one slide.

    Attributes
    ----------
    found : TrainingSet or None
        What there is to train on; None as long as nobody has looked.
    run : TrainingRun or None
        Trained, and waiting for a decision.
    trace : Trace
        Of the training under way, or of ``run``.
    note : str
        What happened last.
    layers : dict of str to Layer
        What the two models find, by title.
    """

    found: TrainingSet | None = None
    run: TrainingRun | None = None
    trace: Trace = field(default_factory=Trace)
    note: str = ""
    layers: dict[str, Layer] = field(default_factory=dict)

    @property
    def unfinished(self) -> TrainingRun | None:
        """The latest run that can be gone on with."""
        runs = self.found.runs if self.found else ()
        return next((run for run in runs if not run.trained), None)

    def await_decision(self, run: TrainingRun) -> None:
        """A run is trained."""
        self.run = run
        self.trace = replace(self.trace, epochs=run.epochs, history=run.history)

    def decided(self, note: str) -> None:
        """It was kept or discarded."""
        self.run, self.trace, self.note = None, Trace(), note

    def views(self, viewer: napari.Viewer) -> dict[str, Layer]:
        """The layers that nobody has removed."""
        return {title: layer for title, layer in self.layers.items() if layer in viewer.layers}

    def add_view(self, viewer: napari.Viewer, entry: OpenSlide, found: Finding) -> None:
        """Show what a model has found."""
        self.layers[found.title] = show_cells(viewer, entry.slide, found.detection, found.title)

    def show_view(self, viewer: napari.Viewer, title: str) -> None:
        """Bring one of the two in sight, the other out of it."""
        for name, layer in self.views(viewer).items():
            layer.visible = name == title

    def remove_views(self, viewer: napari.Viewer) -> None:
        """Take both away."""
        with session_of(viewer).keeping_active():
            for layer in self.views(viewer).values():
                viewer.layers.remove(layer)
        self.layers.clear()
