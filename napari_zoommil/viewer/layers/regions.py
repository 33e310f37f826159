"""The regions of a document as a napari Shapes layer, for display and editing.

Each ring of a region, outer or hole, is one row of the layer, a closed path: napari (0.9.2) needs 20 ms to
triangulate a polygon of 100 corners that nobody fills, and cannot edit holes. The rings of a region are
selected together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple
from weakref import ref

import napari
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.annotations.classes import UNCLASSIFIED_COLOUR, Colour
from napari_zoommil.annotations.feature import Feature
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import add_region_layer, encloses_area, rings, tool_of
from napari_zoommil.viewer.layers.writing import Writing
from napari_zoommil.viewer.metadata import DOCUMENT, per_pixel

REGIONS = "regions"
COMPLETE_COLOUR: Colour = (32, 32, 32)
"""Of a complete region without class."""

WIDTH_UM, WIDTH_ON_SCREEN_PX = 1.0, 2.0
"""Least width of an outline, on the slide and on screen."""

WIDER = 1.5
"""Change of the width, as a ratio, from which the layer is drawn anew."""

CLICK_PX = 5.0
"""Largest movement on screen that is not a drag."""

Ring = NDArray[np.float64]


class Row(NamedTuple):
    """A ring of a region: the outer one of its polygon is 0, then come the holes."""

    id: str
    polygon: int
    ring: int


class Asked(NamedTuple):
    """What the next region is to be: its class, 0 for none, and whether it is a complete one."""

    label: int = 0
    complete: bool = False


class RegionsView:
    """The layer of regions of one slide; see :class:`PointsView`.

    Attributes
    ----------
    layer : napari.layers.Shapes
    """

    refused = Signal(ZoomMILError)
    drawn = Signal()
    """A region was drawn and added to the document."""

    picked = Signal()
    """Regions were selected with the mouse, or none."""

    def __init__(self, viewer: napari.Viewer, slide: Slide, points: Points) -> None:
        self._viewer, self._points = viewer, points
        self._rows: list[Row] = []
        self._shown: dict[str, Feature] = {}
        self._writing, self._closed = Writing(), False
        self._asked = Asked()
        self._um_per_px = per_pixel(slide)[1]
        self.layer = add_region_layer(viewer, slide, REGIONS, "black")
        self.layer.metadata[DOCUMENT] = ref(points)
        self._tool = tool_of(viewer, self.layer)
        self._width = self._wanted_width
        self.fill()
        self.layer.events.data.connect(self._edited)
        self.layer.events.mode.connect(self._mode_changed)
        self.layer.mouse_drag_callbacks.append(self._pressed)
        viewer.scene.camera.events.zoom.connect(self._zoomed)
        points.changed.connect(self._follow)

    def close(self) -> None:
        """Disconnect from the document, and remove the layer."""
        self._closed = True
        self._points.changed.disconnect(self._follow)
        self._viewer.scene.camera.events.zoom.disconnect(self._zoomed)
        self.layer.events.data.disconnect(self._edited)
        self.layer.events.mode.disconnect(self._mode_changed)
        self.layer.mouse_drag_callbacks.remove(self._pressed)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    # Drawing and selecting

    @property
    def drawing(self) -> bool:
        return self._tool.drawing

    @property
    def drawing_complete(self) -> bool:
        """Whether the region that is being drawn will be a complete one."""
        return self.drawing and self._asked.complete

    def start(self, label: int = 0, complete: bool = False) -> None:
        """Let the user draw a region of a class, 0 for none, or a complete one."""
        self._tool.start()
        self._asked = Asked(label, complete)

    def _mode_changed(self, _event: object) -> None:
        if not self._writing and not self.drawing:
            self._asked = Asked()  # what is drawn with napari's own tools is a region without class

    def stop(self) -> None:
        """Stop drawing; an unfinished region is dropped."""
        self._tool.stop()

    @property
    def selected(self) -> list[str]:
        """Ids of the selected regions."""
        rows = [row for row in sorted(self.layer.selected_data) if row < len(self._rows)]
        return list(dict.fromkeys(self._rows[row].id for row in rows))

    def select(self, ids: Collection[str]) -> None:
        """Select regions with all their rings."""
        self.layer.selected_data = {row for row, one in enumerate(self._rows) if one.id in ids}

    @property
    def at_cursor(self) -> list[str]:
        """Ids for an action: the region at the cursor, or the selected ones if it is selected or missing."""
        there, chosen = self.at(self.layer.world_to_data(self._viewer.cursor.position)), self.selected
        return chosen if there is None or there in chosen else [there]

    def at(self, place: ArrayLike) -> str | None:
        """The smallest region around (y, x) level-0 px, holes excepted."""
        y, x = np.asarray(place, np.float64)[-2:]
        around = [one for one in self._shown.values() if shapely.contains_xy(one.polygons, y, x).any()]
        return min(around, key=lambda one: one.area_px).id if around else None

    def _pressed(self, layer: Any, event: Any) -> Iterator[None]:
        """Select whole regions; a click inside one selects it, as one on its outline does."""
        if layer.mode != "select" or event.button != 1:
            return
        start, place = np.array(event.pos), layer.world_to_data(event.position)
        yield
        moved = False
        while event.type == "mouse_move":
            if not moved and np.linalg.norm(event.pos - start) >= CLICK_PX:
                moved = True
                self.select(self.selected)  # the other rings move too
            yield
        QTimer.singleShot(0, lambda: self._pick(None if moved else place))  # napari has its turn first

    def _pick(self, place: ArrayLike | None) -> None:
        if self._closed:
            return
        inside = None if place is None or self.layer.selected_data else self.at(place)
        self.select([inside] if inside else self.selected)
        self.picked.emit()

    # From the document to the layer

    def fill(self) -> None:
        """Show the document's regions; rows of regions that have not changed stay."""
        layer, regions = self.layer, self._points.regions
        mode, chosen = layer.mode, self.selected
        gone = {id for id, one in self._shown.items() if regions.get(id) is not one}
        if len(layer.data) < len(self._rows):  # rows were removed, which has not been taken over yet
            gone, self._rows = set(self._shown), []
        new = [one for id, one in regions.items() if id in gone or id not in self._shown]
        with self._writing():
            layer.mode = "pan_zoom"  # finishes a shape that is being drawn
            stale = [row for row, one in enumerate(self._rows) if one.id in gone]
            self._remove([*stale, *range(len(self._rows), len(layer.data))])
            self._shown = regions
            self._add(new)
            self.select(chosen)
            layer.mode = mode

    def _remove(self, rows: Collection[int]) -> None:
        if rows:
            self.layer.selected_data = set()
            self.layer.remove(list(rows))
            left = set(range(len(self._rows))) - set(rows)
            self._rows = [self._rows[row] for row in sorted(left)]

    def _add(self, regions: Iterable[Feature]) -> None:
        found = [row for one in regions for row in _rings(one) if encloses_area(row[1])]
        if found:
            self.layer.add_paths([np.vstack([ring, ring[:1]]) for _, ring in found], edge_width=self._width)
            self._rows += [row for row, _ in found]
        self._recolour()

    def _recolour(self) -> None:
        # All of them: napari mixes up the colours of shapes when some are removed.
        if self._rows:
            colours = {one.name: one.colour for one in self._points.classes}
            edges = [(*_colour(self._shown[row.id], colours), 255) for row in self._rows]
            self.layer.edge_color = np.array(edges) / 255

    def _follow(self, changed: Changed) -> None:
        if changed.regions or changed.classes:
            self.fill()

    @property
    def _wanted_width(self) -> float:
        """Level-0 px."""
        return max(WIDTH_UM, WIDTH_ON_SCREEN_PX / self._viewer.scene.camera.zoom) / self._um_per_px

    def _zoomed(self, _event: object = None) -> None:
        wanted = self._wanted_width
        if not self.drawing and not 1 / WIDER < wanted / self._width < WIDER:
            self._width = wanted
            if self._rows:
                self.layer.edge_width = wanted
                self.layer.events.edge_width()  # napari 0.9 changes the mesh, and does not draw it

    # From napari's tools to the document

    def _edited(self, event: Any) -> None:
        if self._writing or event.action not in ("added", "removed", "changed"):
            return
        rows, asked = list(event.data_indices), self._asked
        # napari has not finished processing the shape.
        QTimer.singleShot(0, lambda: self._take_over(str(event.action), rows, asked))

    def _take_over(self, action: str, rows: list[int], asked: Asked) -> None:
        """Apply an edit of the layer to the document."""
        if self._closed:
            return
        found, count = rings(self.layer), len(self._rows)
        if action == "added" and len(found) > count:
            new = [one for one in found[count:] if encloses_area(one)]
            if new and self._edit(lambda: self._new(new, asked)):
                self.drawn.emit()
        elif action == "removed" and len(found) == count - len(rows):
            touched = {self._rows[row].id for row in rows}
            self._rows = [row for at, row in enumerate(self._rows) if at not in set(rows)]
            self._edit(lambda: self._redraw(touched, {}))
        elif action == "changed" and len(found) == count:
            drawn = {self._rows[row]: self._ring(row) for row in rows}
            self._edit(lambda: self._redraw({row.id for row in drawn}, drawn))

    def _ring(self, row: int) -> Ring:
        """A ring as it is now; its first corner is repeated, and only one of both may have been edited."""
        path, old = self.layer.data[row][:, -2:], dict(_rings(self._shown[self._rows[row].id]))
        first = old[self._rows[row]][0]
        if np.array_equal(path[0], path[-1]) or np.array_equal(path[-1], first):
            return path[:-1]
        if len(path) == len(old[self._rows[row]]):  # the repetition was removed, and with it the corner
            return path[1:]
        return np.vstack([path[-1:], path[1:-1]])

    def _new(self, outlines: Iterable[Ring], asked: Asked) -> None:
        """Add regions as they were asked for; the document has them shown."""
        for outline in outlines:
            if asked.complete:
                self._points.add_complete(outline)
            else:
                self._points.add_region(outline, asked.label)

    def _redraw(self, ids: Collection[str], drawn: dict[Row, Ring]) -> None:
        """Give regions the rings that the layer has of them; other rings keep what the document says."""
        new: dict[str, shapely.Geometry] = {}
        for id in ids:
            old = dict(_rings(self._shown[id]))
            kept = {row: drawn.get(row, old[row]) for row in self._rows if row.id == id}
            outer = [row for row in kept if row.ring == 0]
            polygons = [
                shapely.Polygon(kept[row], [ring for one, ring in kept.items() if _is_hole_of(one, row)])
                for row in outer
            ]
            if polygons:
                new[id] = shapely.MultiPolygon(polygons)
        if gone := set(ids) - set(new):
            self._points.remove_regions(gone)
        if new:
            self._points.redraw_regions(new)

    def _edit(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except ZoomMILError as error:
            self.refused.emit(error)
            return False
        finally:
            self.fill()  # also where the document has skipped the edit
        return True


def _rings(region: Feature) -> Iterator[tuple[Row, Ring]]:
    """The rings of a region, each (n, 2) (y, x), without the repetition of the first corner."""
    for number, polygon in enumerate(region.polygons):
        for ring, line in enumerate((polygon.exterior, *polygon.interiors)):
            yield Row(region.id, number, ring), shapely.get_coordinates(line)[:-1]


def _is_hole_of(row: Row, outer: Row) -> bool:
    return row.polygon == outer.polygon and row.ring > 0


def _colour(region: Feature, classes: dict[str, Colour]) -> Colour:
    if region.class_name:
        return classes[region.class_name]
    return COMPLETE_COLOUR if region.complete else region.colour or UNCLASSIFIED_COLOUR
