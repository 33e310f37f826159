"""Annotations of a slide, points and complete regions: the document, undo history, GeoJSON, autosave."""

from napari_zoommil.annotations.autosave import Autosave
from napari_zoommil.annotations.classes import CLASS_CYCLE, CellClass
from napari_zoommil.annotations.edits import Changed
from napari_zoommil.annotations.merge import Conflict, Stranger
from napari_zoommil.annotations.paths import annotations_path, current_path
from napari_zoommil.annotations.points import Points

__all__ = [
    "CLASS_CYCLE",
    "Autosave",
    "CellClass",
    "Changed",
    "Conflict",
    "Points",
    "Stranger",
    "annotations_path",
    "current_path",
]
