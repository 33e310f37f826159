"""The points of a document as a napari layer, for display and editing.

Edits of the layer by napari's tools are applied to the document. Changes of the document, also by undo or
another program, are applied to the layer row by row, so that a new point costs one row and not the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from weakref import ref

import napari
import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.errors import AnnotationError, ZoomMILError
from napari_zoommil.maps.colours import Pixels
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import KindOfPoints
from napari_zoommil.viewer.layers.canvas_picture import CanvasPicture
from napari_zoommil.viewer.layers.overlays import overlay_name
from napari_zoommil.viewer.layers.point_looks import BORDER, SMALLEST_ON_SCREEN_PX, Looks, highlight, looks
from napari_zoommil.viewer.layers.points_in_sight import PointsInSight
from napari_zoommil.viewer.layers.points_picture import PointsPicture
from napari_zoommil.viewer.layers.writing import Writing
from napari_zoommil.viewer.metadata import (
    DOCUMENT,
    on_level_0,
    overlay_metadata,
    slide_of,
    stretched_pixel,
)
from napari_zoommil.viewer.sight import sight_of

POINTS = "points"
FIRST_CLASS = "cell"

MANY = 100
"""Number of changed points above which the layer is rebuilt instead of updated row by row."""

CLASS = "class"
"""Column of a layer's features."""

REACH = 0.25  # of the diameter: touching cells can still be annotated
REACH_ON_SCREEN_PX = 6.0
CLICK_PX = 5.0
"""Largest movement on screen that is not a drag."""


class PointsLayer(KindOfPoints):
    """The points of a document."""


class PointsView:
    """The points layer of one slide.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : Slide
    points : Points
        The document.

    Attributes
    ----------
    layer : napari.layers.Points
        In µm like the slide; its data are the document's coordinates, level-0 px.
    label : int
        The class of new points.
    """

    editing = Signal()
    """The user begins to edit the document."""

    refused = Signal(ZoomMILError)
    """An edit was invalid; nothing was changed."""

    def __init__(self, viewer: napari.Viewer, slide: Slide, points: Points) -> None:
        self._viewer, self._slide, self._points = viewer, slide, points
        self.label = 1
        self._ids: list[str] = []
        self._known: set[str] = set()
        self._labels = np.empty(0, np.int64)
        self._looks: Looks | None = None
        self._writing = Writing()
        self.layer = PointsLayer(
            ndim=2,
            name=overlay_name(slide, POINTS),
            border_width=BORDER,
            canvas_size_limits=(SMALLEST_ON_SCREEN_PX, 10_000),
            metadata=overlay_metadata(slide, POINTS) | {DOCUMENT: ref(points)},
            **on_level_0(slide),
        )
        self.fill()
        picture = CanvasPicture(viewer, self.layer)
        self._sight = PointsInSight(viewer, slide, picture, self._paint, self._look_again)
        self.layer.in_sight = self._in_sight
        self.layer.selected_data.events.items_changed.connect(self._selected)
        for key in ("A", "Shift-A"):  # napari's select those that are drawn
            self.layer.bind_key(key, select_all, overwrite=True)
        self.layer.events.data.connect(self._edited)
        self.layer.events.mode.connect(self._mode_changed)
        points.changed.connect(self._follow)
        insert_on_top(viewer, self.layer)

    def close(self) -> None:
        """Disconnect from the document, and remove the layer."""
        self._points.changed.disconnect(self._follow)
        self.layer.events.data.disconnect(self._edited)
        self.layer.events.mode.disconnect(self._mode_changed)
        self.layer.mode = "pan_zoom"
        self._take_over(False)
        self.layer.selected_data.events.items_changed.disconnect(self._selected)
        self._sight.close()
        self.layer.in_sight = None
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    @property
    def selected(self) -> list[str]:
        """Ids of the selected points."""
        return [self._ids[row] for row in sorted(self.layer.selected_data)]

    @property
    def at_cursor(self) -> list[str]:
        """Ids for an action: the point at the cursor, or the selected ones if it is selected or missing."""
        row = self.near(self.layer.world_to_data(self._viewer.cursor.position))
        if row is None or row in self.layer.selected_data:
            return self.selected
        return [self._ids[row]]

    def near(self, place: ArrayLike) -> int | None:
        """The row of the point that a click at (y, x) level-0 px selects; None for a new point."""
        if not self._ids:
            return None
        distances = np.linalg.norm(self.layer.data - np.asarray(place)[-2:], axis=1)
        row = int(distances.argmin())
        zoom = self._viewer.scene.camera.zoom * stretched_pixel(self._slide)[-1]
        reach = max(REACH * self.layer.size[row], REACH_ON_SCREEN_PX / zoom)
        return row if distances[row] <= reach else None

    def place(self, place: ArrayLike) -> None:
        """Add a point of the chosen class at (y, x) level-0 px."""
        y, x = np.asarray(place, np.float64)[-2:]
        if not (0 <= y < self._slide.shape[0] and 0 <= x < self._slide.shape[1]):
            self.refused.emit(AnnotationError("That is outside the slide; points must be on it"))
            return
        self.edit(lambda: self._add((y, x)))

    def _add(self, places: ArrayLike) -> None:
        if not self._points.classes:
            self._points.add_class(FIRST_CLASS)
        self._points.add(places, self.label)

    def edit(self, action: Callable[[], object]) -> None:
        """Edit the document; if the edit is invalid, the layer is restored."""
        self.editing.emit()
        try:
            action()
        except ZoomMILError as error:
            self.fill()
            self.refused.emit(error)

    # What is drawn of many

    def _in_sight(self) -> NDArray[np.intp] | None:
        """Rows of the markers; all of the view where a box around them selects them."""
        all_near = str(self.layer.mode) == "select"
        return self._sight.rows(self.layer.data, self._chosen(), all_near)

    def _chosen(self) -> NDArray[np.intp]:
        selected = np.fromiter(self.layer.selected_data, np.intp, len(self.layer.selected_data))
        return selected[selected < len(self.layer.data)]

    def _paint(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Pixels:
        shown, labels = looks(self._points.classes, self._slide.mpp), self._labels
        colours = shown.packed[labels]
        picture = PointsPicture(self.layer.data, shown.sizes[labels], colours, self._chosen(), highlight())
        return picture.paint(y, x)

    def _selected(self) -> None:
        if self._sight.painted:
            self._look_again()

    def _look_again(self) -> None:
        self.layer.refresh(extent=False, thumbnail=False)

    # From the document to the layer

    def fill(self) -> None:
        """Rebuild the layer from the document."""
        points, layer = self._points, self.layer
        ids, labels, places = points.ids, points.labels, points.coordinates
        same = ids == self._ids and np.array_equal(layer.data, places)
        shown = looks(points.classes, self._slide.mpp)
        alike = same and np.array_equal(labels, self._labels) and shown == self._looks
        self._ids, self._labels, self._known, self._looks = ids, labels, set(ids), shown
        with self._writing():
            layer.selected_data = set()
            if not same:
                layer.data = places
            layer.features = {CLASS: shown.names[labels]}  # what napari saves with places
            if self._ids and not alike:
                layer.size = shown.sizes[labels]
                layer.face_color = shown.faces[labels]
                layer.border_color = shown.borders[labels]

    def _follow(self, changed: Changed) -> None:
        """Update the layer after a change of the document."""
        touched = {*changed.added, *changed.removed, *changed.altered}
        if changed.classes or len(touched) > MANY:
            self.fill()
            return
        mine = rows_of(self._ids, touched & self._known)
        now = rows_of(self._points.ids, touched)
        both = [id for id in mine if id in now]
        labels = self._points.labels
        if any(labels[now[id]] != self._labels[mine[id]] for id in both):
            self.fill()
            return
        coordinates = self._points.coordinates
        self._move_rows([mine[id] for id in both], coordinates[[now[id] for id in both]])
        self._remove_rows([row for id, row in mine.items() if id not in now])
        new = [(id, row) for id, row in now.items() if id not in mine]
        for label in sorted({int(labels[row]) for _, row in new}):
            group = [(id, row) for id, row in new if labels[row] == label]
            self._add_rows([id for id, _ in group], coordinates[[row for _, row in group]], label)

    def _move_rows(self, rows: Sequence[int], places: NDArray[np.float64]) -> None:
        if len(rows) and not np.array_equal(self.layer.data[rows], places):
            self.layer.data[rows] = places
            self.layer.refresh()

    def _remove_rows(self, rows: Collection[int]) -> None:
        if rows:
            with self._writing():
                self.layer.remove(list(rows))
            self._forget(rows)
            self._look_again()  # while they were removed, the layer's rows had other labels

    def _forget(self, rows: Collection[int]) -> None:
        gone = set(rows)
        self._known -= {self._ids[row] for row in gone}
        self._ids = [id for row, id in enumerate(self._ids) if row not in gone]
        self._labels = np.delete(self._labels, sorted(gone))

    def _add_rows(self, ids: Sequence[str], places: NDArray[np.float64], label: int) -> None:
        shown, layer = looks(self._points.classes, self._slide.mpp), self.layer
        with self._writing(), layer.block_update_properties():
            layer.current_face_color = shown.faces[label]
            layer.current_border_color = shown.borders[label]
            layer.current_size = float(shown.sizes[label])
            layer.feature_defaults = {CLASS: shown.names[label]}
            layer.add(places)
        self._ids.extend(ids)
        self._known.update(ids)
        self._labels = np.append(self._labels, np.full(len(ids), label))

    # From napari's tools to the document

    def _edited(self, event: Any) -> None:
        if self._writing or event.action not in ("added", "removed", "changed"):
            return
        layer, count = self.layer, len(self.layer.data)
        rows = [int(row) % max(count, 1) for row in event.data_indices]
        if event.action == "added" and count == len(self._ids) + len(rows):
            places = layer.data[rows].copy()
            with self._writing():
                layer.remove(rows)  # they are added again by the document
            self.edit(lambda: self._add(places))
        elif event.action == "removed" and count == len(self._ids) - len(event.data_indices):
            ids = [self._ids[row] for row in event.data_indices]
            self._forget(event.data_indices)
            self.edit(lambda: self._points.remove(ids))
            self._look_again()
        elif event.action == "changed" and count == len(self._ids):
            ids, places = [self._ids[row] for row in rows], layer.data[rows].copy()
            self.edit(lambda: self._points.move(ids, places))
        else:
            self.fill()

    # The mouse

    def _mode_changed(self, event: Any) -> None:
        self._take_over(str(event.mode) == "add")
        self._look_again()

    def _take_over(self, adding: bool) -> None:
        """In napari's mode for adding, a click on a point selects it and a drag moves it."""
        callbacks = self.layer.mouse_drag_callbacks
        if self._pressed in callbacks:
            callbacks.remove(self._pressed)
        if adding:
            for one in [each for each in callbacks if getattr(each, "__name__", "") == "add"]:
                callbacks.remove(one)
            callbacks.append(self._pressed)

    def _pressed(self, layer: PointsLayer, event: Any) -> Iterator[None]:
        if event.button != 1 or event.modifiers:
            return
        row = self.near(layer.world_to_data(event.position))
        yield from self._click(event) if row is None else self._drag(event, row)

    def _click(self, event: Any) -> Iterator[None]:
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.linalg.norm(event.pos - start) < CLICK_PX:
            self.place(self.layer.world_to_data(event.position))

    def _drag(self, event: Any, row: int) -> Iterator[None]:
        layer = self.layer
        if row not in layer.selected_data:
            layer.selected_data = {row}
        ids = self.selected
        origins = layer.data[sorted(layer.selected_data)].copy()
        start, from_place = np.array(event.pos), np.asarray(layer.world_to_data(event.position))
        layer.mouse_pan = False  # else the view moves too
        yield
        moved = False
        while event.type == "mouse_move":
            moved = moved or bool(np.linalg.norm(event.pos - start) >= CLICK_PX)
            if moved:
                self._show_at(ids, origins + (np.asarray(layer.world_to_data(event.position)) - from_place))
            yield
        layer.mouse_pan = True
        if moved:
            places = origins + (np.asarray(layer.world_to_data(event.position)) - from_place)
            self.edit(lambda: self._points.move(ids, places))

    def _show_at(self, ids: Sequence[str], places: NDArray[np.float64]) -> None:
        """Show points at new positions while they are dragged; some may have been removed."""
        rows = rows_of(self._ids, set(ids))
        kept = [at for at, id in enumerate(ids) if id in rows]
        self._move_rows([rows[ids[at]] for at in kept], places[kept])


def select_all(layer: PointsLayer) -> None:
    """Select all points, or none if all are."""
    every = set(range(len(layer.data)))
    layer.selected_data = every - (every if layer.selected_data == every else set())


def rows_of(ids: Sequence[str], wanted: Collection[str]) -> dict[str, int]:
    """Row of each of the ``wanted`` ids in a list; fast for the last ones."""
    found: dict[str, int] = {}
    for row in range(len(ids) - 1, -1, -1):
        if len(found) == len(wanted):
            break
        if ids[row] in wanted:
            found[ids[row]] = row
    return dict(reversed(found.items()))


def insert_on_top(viewer: napari.Viewer, layer: Any) -> None:
    """Add a layer on top; the selection and the visible slide are kept."""
    selected, sight = set(viewer.layers.selection), sight_of(viewer)
    slide = slide_of(layer)
    if slide is not None and sight.is_away(slide):
        sight.hide(layer)
    with sight.held_still():
        viewer.add_layer(layer)
        viewer.layers.selection = selected
