"""The camera in units of the slide: magnification and field of view."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import napari
import numpy as np
from napari.layers import Layer

from napari_zoommil.geometry import MICRONS_AT_1X, Box
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import in_world, level_0


def magnification(viewer: napari.Viewer, slide: Slide) -> float | None:
    """Magnification on screen (one screen px is 10 µm at 1x); None if the scale is unknown."""
    if slide.mpp is None:
        return None
    return MICRONS_AT_1X * viewer.scene.camera.zoom


def set_magnification(viewer: napari.Viewer, value: float) -> None:
    """Zoom to a magnification around the centre of the view."""
    viewer.scene.camera.zoom = value / MICRONS_AT_1X


def field_of_view(viewer: napari.Viewer, slide: Slide) -> Box:
    """The visible box, in fractions of the slide (0 to 1; may extend beyond).

    Where the layer of the slide was turned, it is the box round what is visible.
    """
    half = np.array(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    centre = viewer.scene.camera.center[-2:]
    corners = [level_0(slide, centre + half * side) for side in product((-1, 1), repeat=2)]
    shares = (np.array(corners) - 0.5) / slide.shape
    low, high = shares.min(axis=0), shares.max(axis=0)
    return Box(*low.tolist(), *(high - low).tolist())


def fit(viewer: Any, layer: Layer) -> None:
    """Show the whole of a slide."""
    viewer.reset_view(layers=[layer])


@dataclass(frozen=True)
class View:
    """Where the camera is: ``centre`` in world units, and screen px per world unit."""

    centre: tuple[float, ...]
    zoom: float

    @classmethod
    def of(cls, viewer: Any) -> View:
        """The present view."""
        return cls(tuple(viewer.scene.camera.center), viewer.scene.camera.zoom)

    def restore(self, viewer: Any) -> None:
        """Show the same again."""
        viewer.scene.camera.center, viewer.scene.camera.zoom = self.centre, self.zoom


def go_to(viewer: napari.Viewer, slide: Slide, y: float, x: float) -> None:
    """Centre the view on a position in fractions of the slide."""
    centre = in_world(slide, (y * slide.shape[0] + 0.5, x * slide.shape[1] + 0.5))
    viewer.scene.camera.center = (*viewer.scene.camera.center[:-2], *centre)
