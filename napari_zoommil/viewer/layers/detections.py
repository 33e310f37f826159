"""Detected cells as rings on the slide, in one layer however many they are; see :mod:`.cell_rings`."""

from __future__ import annotations

from typing import Any

import napari
from napari.layers import Layer

from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import KindOfImage
from napari_zoommil.viewer.layers.cell_rings import CellRings
from napari_zoommil.viewer.layers.overlays import (
    PICTURE,
    find_layer,
    painted_arguments,
    put_in,
    repaint,
)
from napari_zoommil.viewer.layers.painted import Picture, painted_levels
from napari_zoommil.viewer.layers.points import POINTS
from napari_zoommil.viewer.layers.regions import REGIONS
from napari_zoommil.viewer.layers.tissue_regions import TITLES
from napari_zoommil.viewer.metadata import TITLE, level_0, per_pixel, slide_of, world_scale
from napari_zoommil.viewer.sight import sight_of

CELLS = "napari_zoommil.cells"
"""Key of the whole detection in its layer's metadata."""

DRAWN = (POINTS, REGIONS, *TITLES.values())
"""Titles of the layers on which a user draws; detected cells are below them."""

FINER = 4
"""Pixels of the finest picture to a level-0 pixel: rings stay round beyond the resolution of the slide."""

APART = 2**0.5
"""Factor between two resolutions of the picture; the nearest one costs least to paint and to draw."""


class CellsLayer(KindOfImage):
    """Rings of the cells of a detection that count; in µm like the slide."""

    @property
    def rings(self) -> CellRings:
        """All cells, and the score from which they are painted."""
        rings: CellRings = self.metadata[PICTURE][0]
        return rings

    def get_value(self, position: Any, *, world: bool = False, **_: Any) -> str | None:
        """Class and score of the cell at a place, for the status bar."""
        slide = slide_of(self)
        if slide is None or not self.visible:
            return None
        place = position if world else self.data_to_world(position)
        row = self.rings.nearest(*level_0(slide, tuple(place)[-2:]))
        if row is None:
            return None
        return f"class: {self.rings.names[row]}, score: {self.rings.scores[row]:.3g}"


def cells_layer(viewer: napari.Viewer, slide: Slide, title: str) -> CellsLayer | None:
    """The layer of a slide's detected cells by its title, which does not change when it is renamed."""
    layer = find_layer(viewer, slide, title)
    return layer if isinstance(layer, CellsLayer) else None


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
) -> CellsLayer:
    """Show detected cells as rings with their size and the colours of their classes.

    The layer with this title is updated, if there is one; else a new one is inserted, and the selection kept.
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
    CellsLayer
    """
    rings = CellRings.of(detection, detection.threshold if threshold is None else threshold)
    layer = cells_layer(viewer, slide, title)
    if layer is not None:
        repaint(layer, rings, {CELLS: detection})
        return layer
    pictures: list[Picture] = [rings]
    unit = per_pixel(slide)
    layer = CellsLayer(
        painted_levels(slide.shape, pictures, FINER, APART),
        **painted_arguments(slide, title, pictures, {CELLS: detection}),
        **world_scale(slide) | {"scale": (unit[0] / FINER, unit[1] / FINER)},
        translate=tuple((1 / FINER - 1) / 2 * one for one in unit),
    )
    _insert(viewer, slide, layer)
    return layer


def set_threshold(layer: CellsLayer, threshold: float) -> None:
    """Show the cells of a layer with at least a score of ``threshold``."""
    if threshold != layer.rings.least:
        repaint(layer, layer.rings.counting(threshold))


def _insert(viewer: napari.Viewer, slide: Slide, layer: Layer) -> None:
    """Insert above the slide and its maps, and below the user's layers."""
    drawn = [
        index
        for index, other in enumerate(viewer.layers)
        if slide_of(other) is slide and other.metadata.get(TITLE) in DRAWN
    ]
    put_in(viewer, slide, layer, min(drawn, default=len(viewer.layers)))
