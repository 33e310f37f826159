"""The camera in units of the slide: magnification and field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import napari
from napari.layers import Layer

from napari_zoommil.geometry import MICRONS_AT_1X, Box
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import in_world, level_0, per_pixel


def magnification(viewer: napari.Viewer, slide: Slide) -> float | None:
    """Magnification on screen (one screen px is 10 µm at 1x); None if the scale is unknown."""
    if slide.mpp is None:
        return None
    return MICRONS_AT_1X * viewer.scene.camera.zoom


def set_magnification(viewer: napari.Viewer, value: float) -> None:
    """Zoom to a magnification around the centre of the view."""
    viewer.scene.camera.zoom = value / MICRONS_AT_1X


def field_of_view(viewer: napari.Viewer, slide: Slide) -> Box:
    """The visible box, in fractions of the slide (0 to 1; may extend beyond)."""
    height, width = viewer.canvas.size
    unit = per_pixel(slide)
    extent = (slide.shape[0] * unit[0], slide.shape[1] * unit[1])
    zoom = viewer.scene.camera.zoom
    y, x = level_0(slide, viewer.scene.camera.center[-2:])
    h, w = height / zoom / extent[0], width / zoom / extent[1]
    return Box((y - 0.5) / slide.shape[0] - h / 2, (x - 0.5) / slide.shape[1] - w / 2, h, w)


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
