"""Which points of many are drawn: those near the view, and where they lie denser than can be seen, some.

A marker costs time in every frame, also out of view. Far out, all points of a document are in view at once,
and markers have a least size on screen: one on another that hides it adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.geometry import Box
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.metadata import stretched_pixel

FEW = 2_000
"""Points of which all are drawn, wherever they are."""

MARGIN = 0.5
"""Of the view, on each side: so far it moves before other points are chosen."""

ZOOM = 1.5
"""By so much the view is enlarged or reduced before other points are chosen."""

MANY = 10_000
"""Points near the view above which those that others hide are left out."""

APART_PX = 6.0
"""On screen: of the points of one class in a square of this edge, one is drawn, and one of those selected."""


class PointsInSight:
    """Chooses the points of a layer that are drawn.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : Slide
    renew : callable
        Called when the view has changed so much that others are to be chosen.
    """

    def __init__(self, viewer: napari.Viewer, slide: Slide, renew: Callable[[], None]) -> None:
        self._viewer, self._slide, self._renew = viewer, slide, renew
        self._near: Box | None = None
        self._zoom = 0.0
        for event in self._events:
            event.connect(self._moved)

    @property
    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.scene.camera.events
        return events.center, events.zoom, self._viewer.canvas.events.size

    def close(self) -> None:
        for event in self._events:
            event.disconnect(self._moved)

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
        self, places: NDArray[np.float64], labels: NDArray[np.int64], selected: ArrayLike, thin: bool
    ) -> NDArray[np.intp] | None:
        """Rows of the points to draw, ascending; None for all.

        Parameters
        ----------
        places : (n, 2)
            Level-0 (y, x).
        labels : (n,)
            Of their classes.
        selected : (k,) of int
            Rows that the others do not hide.
        thin : bool
            Whether those that others hide may be left out.
        """
        if len(places) <= FEW or self._viewer.dims.ndisplay != 2:
            self._near = None
            return None
        seen, self._zoom = self._seen(), self._viewer.scene.camera.zoom
        wide = seen.height * MARGIN, seen.width * MARGIN
        self._near = near = Box(
            seen.y - wide[0], seen.x - wide[1], seen.height + 2 * wide[0], seen.width + 2 * wide[1]
        )
        low = np.array((near.y, near.x)) * self._slide.shape
        high = low + np.array((near.height, near.width)) * self._slide.shape
        y, x = places.T
        rows = np.flatnonzero((y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[1]))
        if thin and len(rows) > MANY:
            groups = 2 * labels
            groups[np.asarray(selected, np.intp)] += 1
            rows = rows[_on_top(places[rows], groups[rows], low, self._apart())]
        return rows

    def _apart(self) -> NDArray[np.float64]:
        return APART_PX / self._viewer.scene.camera.zoom / np.array(stretched_pixel(self._slide))


def _on_top(
    places: NDArray[np.float64],
    groups: NDArray[np.int64],
    low: NDArray[np.float64],
    apart: NDArray[np.float64],
) -> NDArray[np.intp]:
    """The last point of each group in each square."""
    squares = ((places - low) / apart).astype(np.int64)
    keys = (squares[:, 0] * (squares[:, 1].max() + 1) + squares[:, 1]) * (groups.max() + 1) + groups
    return len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
