"""Detected cells as rings on the slide, in a layer without editing.

A 2-D layer ignores ``shown`` (napari 0.9.2), and the cost of drawing depends on the number of points. The
layer therefore holds only the cells that count, sorted by descending score: a new threshold truncates or
extends it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import napari
import numpy as np
from napari.layers import Layer, Points

from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.overlays import find_layer, overlay_name, put_in
from napari_zoommil.viewer.layers.points import POINTS
from napari_zoommil.viewer.layers.regions import REGIONS
from napari_zoommil.viewer.layers.tissue_regions import TITLES
from napari_zoommil.viewer.metadata import TITLE, on_level_0, overlay_metadata, slide_of
from napari_zoommil.viewer.sight import sight_of

CELLS = "napari_zoommil.cells"
"""Key of the whole detection, sorted by descending score, in its layer's metadata."""

DRAWN = (POINTS, REGIONS, *TITLES.values())
"""Titles of the layers on which a user draws; detected cells are below them."""

RING = 0.12  # of the diameter
SMALLEST_ON_SCREEN_PX = 4.0


def cells_layer(viewer: napari.Viewer, slide: Slide, title: str) -> Points | None:
    """The layer of a slide's detected cells by its title, which does not change when it is renamed."""
    layer = find_layer(viewer, slide, title)
    return layer if isinstance(layer, Points) else None


def is_cells_of(layer: Layer, slide: Slide) -> bool:
    """Whether a layer shows detected cells of a slide."""
    return CELLS in layer.metadata and slide_of(layer) is slide


def hide_other_cells(viewer: napari.Viewer, slide: Slide, title: str) -> None:
    """Hide all detected cells of a slide except those of one title.

    The colours are the same for all models, so that the cells of several models could not be told apart.
    """
    for layer in viewer.layers:
        if is_cells_of(layer, slide) and layer.metadata.get(TITLE) != title:
            sight_of(viewer).forget(layer)
            layer.visible = False


def show_cells(
    viewer: napari.Viewer, slide: Slide, detection: Detection, title: str, threshold: float | None = None
) -> Points:
    """Show detected cells as rings with their size and the colours of their classes.

    A layer with this title is updated or replaced; selection, visibility and the order of layers are kept.
    If the slide is not visible, the cells are hidden too.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : Slide
    detection : Detection
    title : str
        Such as ``cells (yollo)``.
    threshold : float, optional
        Least score of shown cells, that of the detection by default; see :func:`set_threshold`.

    Returns
    -------
    napari.layers.Points
        In µm like the slide; its data are centres in level-0 px, its features are class and score.
    """
    best_first = np.argsort(-detection.finds.scores, kind="stable")
    ranked = replace(detection, finds=detection.finds.chosen(best_first))
    count = _count(ranked, detection.threshold if threshold is None else threshold)
    old = cells_layer(viewer, slide, title)
    # With fewer rows, a slice that napari is still computing on a thread would have invalid indices.
    if old is not None and len(old.data) <= count:
        old.metadata[CELLS] = ranked
        _place(old, ranked, count)
        _paint(old, ranked, count)
        return old
    layer = Points(
        ranked.finds.centres[:count],
        ndim=2,
        name=old.name if old is not None else overlay_name(slide, title),
        face_color="transparent",
        border_width=RING,
        canvas_size_limits=(SMALLEST_ON_SCREEN_PX, 10_000),
        metadata=overlay_metadata(slide, title) | {CELLS: ranked},
        **_looks(ranked, count),
        **on_level_0(slide),
    )
    layer.events.editable.connect(_keep_from_editing)
    layer.editable = False
    _insert(viewer, slide, layer, old)
    return layer


def set_threshold(layer: Points, threshold: float) -> None:
    """Show the cells of a layer with at least a score of ``threshold``."""
    ranked: Detection = layer.metadata[CELLS]
    before, count = len(layer.data), _count(ranked, threshold)
    if count != before:
        _place(layer, ranked, count)
    if count > before:
        _paint(layer, ranked, count)


def _count(ranked: Detection, threshold: float) -> int:
    return int((ranked.finds.scores >= threshold).sum())


def _looks(ranked: Detection, count: int) -> dict[str, Any]:
    """Arguments of napari's Points for the ``count`` best cells."""
    finds = ranked.finds.chosen(np.arange(count))
    names = np.array([one.name for one in ranked.classes], object)
    colours = np.array([(*one.colour, 255) for one in ranked.classes]) / 255
    looks = {
        "size": (finds.boxes[:, 2:] - finds.boxes[:, :2]).mean(1),
        "features": {"class": names[finds.labels - 1], "score": finds.scores},
    }
    # napari needs at least one
    return looks | {"border_color": colours[finds.labels - 1]} if count else looks


def _place(layer: Points, ranked: Detection, count: int) -> None:
    layer.selected_data = set()
    layer.data = ranked.finds.centres[:count]
    # Colours are set by the rows of the last slice, and napari does not slice a hidden layer.
    layer.set_view_slice()


def _paint(layer: Points, ranked: Detection, count: int) -> None:
    for name, values in _looks(ranked, count).items():
        setattr(layer, name, values)


def _keep_from_editing(event: Any) -> None:
    """napari makes a layer editable with new data, and after a switch from 3-D."""
    event.source.editable = False


def _insert(viewer: napari.Viewer, slide: Slide, layer: Points, old: Points | None) -> None:
    """Insert a layer in place of ``old``, else above the slide and its maps and below the user's layers."""
    layers = viewer.layers
    drawn = [
        index
        for index, other in enumerate(layers)
        if slide_of(other) is slide and other.metadata.get(TITLE) in DRAWN
    ]
    put_in(
        viewer, slide, layer, old, layers.index(old) if old is not None else min(drawn, default=len(layers))
    )
