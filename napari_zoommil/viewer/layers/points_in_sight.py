"""Which points of many are drawn as markers: those near the view, if they are few; else a picture shows them.

A marker costs time in every frame, also out of view; a picture costs as much however many points it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Box
from napari_zoommil.maps.colours import Pixels
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.layers.canvas_picture import CanvasPicture
from napari_zoommil.viewer.metadata import stretched_pixel

FEW = 2_000
"""Points that are drawn as markers."""

MARGIN = 0.25
"""Of the view, on each side: so far it moves before points are chosen or painted anew."""

ZOOM = 1.5
"""By so much the view is enlarged or reduced before points are chosen or painted anew."""


class PointsInSight:
    """Chooses the points of a layer that are drawn as markers, and has the others painted.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : Slide
    picture : CanvasPicture
        In the layer's own pixels.
    paint : callable
        RGBA of pixels by level-0 y and x of their centres; called when the window is drawn.
    renew : callable
        Called when the view has changed so much that others are to be chosen.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        slide: Slide,
        picture: CanvasPicture,
        paint: Callable[[NDArray[np.float64], NDArray[np.float64]], Pixels],
        renew: Callable[[], None],
    ) -> None:
        self._viewer, self._slide, self._picture = viewer, slide, picture
        self._paint, self._renew = paint, renew
        self._near: Box | None = None
        self._zoom = 0.0
        for event in self._events:
            event.connect(self._moved)

    @property
    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.scene.camera.events
        return events.center, events.zoom, self._viewer.canvas.events.size

    @property
    def painted(self) -> bool:
        """Whether points are in a picture now."""
        return self._picture.shown

    def close(self) -> None:
        for event in self._events:
            event.disconnect(self._moved)
        self._picture.hide()

    def _moved(self) -> None:
        if self._near is None:
            return
        seen, near, zoom = self._seen(), self._near, self._viewer.scene.camera.zoom
        inside = (
            near.y <= seen.y
            and near.x <= seen.x
            and seen.y + seen.height <= near.y + near.height
            and seen.x + seen.width <= near.x + near.width
        )
        if not inside or not 1 / ZOOM < zoom / self._zoom < ZOOM:
            self._renew()

    def _seen(self) -> Box:
        return camera.field_of_view(self._viewer, self._slide)

    def rows(
        self, places: NDArray[np.float64], selected: NDArray[np.intp], all_near: bool
    ) -> NDArray[np.intp] | None:
        """Rows of the points to draw as markers, ascending; None for all.

        Parameters
        ----------
        places : (n, 2)
            Level-0 (y, x).
        selected : (k,)
            Rows that stay markers, if they are few.
        all_near : bool
            Whether all near the view must be markers.
        """
        if len(places) <= FEW or self._viewer.dims.ndisplay != 2:
            self._near = None
            self._picture.hide()
            return None
        seen, self._zoom = self._seen(), self._viewer.scene.camera.zoom
        wide = seen.height * MARGIN, seen.width * MARGIN
        self._near = near = Box(
            seen.y - wide[0], seen.x - wide[1], seen.height + 2 * wide[0], seen.width + 2 * wide[1]
        )
        low = np.array((near.y, near.x)) * self._slide.shape
        high = low + np.array((near.height, near.width)) * self._slide.shape
        inside = np.all((places >= low) & (places <= high), axis=1)
        rows = np.flatnonzero(inside)
        if all_near or len(rows) <= FEW or not self._show(low, high):
            self._picture.hide()
            return rows
        chosen = np.sort(selected[inside[selected]])
        return chosen if len(chosen) <= FEW else chosen[:0]

    def _show(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        """Have a picture painted of a box of level-0 px, a pixel of it to a pixel of the screen."""
        step = 1 / self._viewer.scene.camera.zoom / np.array(stretched_pixel(self._slide))
        low = np.maximum(low, -MARGIN * np.array(self._slide.shape))
        high = np.minimum(high, (1 + MARGIN) * np.array(self._slide.shape))
        count = np.maximum(np.ceil((high - low) / step), 1).astype(int)
        y, x = (start + (np.arange(n) + 0.5) * one for start, n, one in zip(low, count, step, strict=True))
        return self._picture.show(low, step, lambda: self._paint(y, x))
