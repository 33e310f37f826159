"""The layer of regions shows the document, whoever edits which of the two; without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from napari.components import ViewerModel

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.annotations.feature_text import ENCODER
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import encloses_area
from napari_zoommil.viewer.layers.overlays import find_layer
from napari_zoommil.viewer.layers.regions import REGIONS, RegionsView

MPP = 0.25
SQUARE = np.array([(0.0, 0), (0, 90), (90, 90), (90, 0)])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Iterator[Slide]:
    with Slide.open(make_slide(tmp_path_factory.mktemp("slides") / "a.tif", None), MPP) as opened:
        yield opened


@pytest.fixture
def points() -> Points:
    return Points("me")


@pytest.fixture
def view(model: ViewerModel, slide: Slide, points: Points) -> RegionsView:
    return RegionsView(model, slide, points)


@pytest.fixture
def steps(points: Points) -> list[Changed]:
    heard: list[Changed] = []
    points.changed.connect(heard.append)
    return heard


def same(view: RegionsView, points: Points) -> bool:
    """Whether the layer has each ring of the document once, closed, in the colour of its class."""
    colours = {one.name: one.colour for one in points.classes}
    expected = [
        (shapely.get_coordinates(ring).tolist(), colours.get(region.class_name))
        for region in points.regions.values()
        for polygon in region.polygons
        for ring in (polygon.exterior, *polygon.interiors)
        if encloses_area(shapely.get_coordinates(ring))
    ]
    edges = np.rint(view.layer.edge_color * 255).astype(int)[:, :3].tolist()
    known = set(colours.values())
    shown = [
        (ring.tolist(), tuple(edge) if tuple(edge) in known else None)
        for ring, edge in zip(view.layer.data, edges, strict=True)
    ]
    return sorted(expected, key=str) == sorted(shown, key=str)


def closed(outline: np.ndarray) -> np.ndarray:
    return np.vstack([outline, outline[:1]])


def test_a_documents_regions_are_shown(model: ViewerModel, slide: Slide, points: Points) -> None:
    points.add_complete(SQUARE)
    view = RegionsView(model, slide, points)
    assert same(view, points) and find_layer(model, slide, REGIONS) is view.layer
    assert tuple(view.layer.scale) == (MPP, MPP)
    # a document's px 0 begins where the first pixel does, which napari has the centre of at 0
    np.testing.assert_allclose(view.layer.data_to_world((0, 0)), (-MPP / 2, -MPP / 2))


def test_every_edit_of_the_document_is_followed(view: RegionsView, points: Points) -> None:
    a, b = points.add_complete(SQUARE), points.add_complete(SQUARE + 200)
    assert same(view, points)
    points.redraw_regions({a: SQUARE + 7})
    assert same(view, points)
    points.remove_regions([b])
    assert same(view, points) and len(view.layer.data) == 1
    for back, count in ((points.undo, 2), (points.undo, 2), (points.redo, 2), (points.redo, 1)):
        back()
        assert same(view, points) and len(view.layer.data) == count


def test_points_alone_leave_the_layer_as_it_is(view: RegionsView, points: Points, monkeypatch) -> None:
    points.add_complete(SQUARE)
    points.add_class("cell")
    monkeypatch.setattr(view, "fill", lambda: pytest.fail("the layer was filled anew"))
    points.add([[1, 1]], 1)


def test_a_region_of_a_file_that_encloses_nothing_is_not_shown_and_kept(
    view: RegionsView, points: Points, qtbot
) -> None:
    ring = [[0, 0], [10, 10], [20, 20], [0, 0]]
    flat = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "complete region"},
    }
    points.adopt(loads(ENCODER.encode([flat]).encode(), "a"))
    good = points.add_complete(SQUARE)
    assert len(view.layer.data) == 1 and len(points.complete) == 2
    view.layer.selected_data = {0}
    view.layer.remove_selected()
    qtbot.waitUntil(lambda: good not in points.complete)
    assert len(points.complete) == 1, "the row is that of the region in sight"


# From napari's tools to the document


def test_a_new_shape_is_a_new_region(view: RegionsView, points: Points, steps: list, qtbot) -> None:
    drawn: list[int] = []
    view.drawn.connect(lambda: drawn.append(len(points.regions)))
    view.layer.add_polygons(SQUARE)
    qtbot.waitUntil(lambda: drawn == [1])
    view.layer.add_rectangles(SQUARE + 100)
    qtbot.waitUntil(lambda: drawn == [1, 2])
    assert same(view, points) and len(steps) == 2
    points.undo()
    assert same(view, points) and drawn == [1, 2]


def test_removed_shapes_are_removed_in_one_step(view: RegionsView, points: Points, steps, qtbot) -> None:
    ids = [points.add_complete(SQUARE + 100 * n) for n in range(3)]
    view.layer.selected_data = {0, 2}
    view.layer.remove_selected()
    qtbot.waitUntil(lambda: len(points.complete) == 1)
    assert list(points.complete) == ids[1:2] and same(view, points) and len(steps) == 4
    points.undo()
    assert list(points.complete) == ids and same(view, points)


def test_a_changed_shape_redraws_its_region_alone(view: RegionsView, points: Points, steps, qtbot) -> None:
    a, b = points.add_complete(SQUARE), points.add_complete(SQUARE + 200)
    kept = points.features[b]
    changed(view, 0, closed(SQUARE + 5))
    qtbot.waitUntil(lambda: len(steps) == 3)
    np.testing.assert_array_equal(points.complete[a], SQUARE + 5)
    assert points.features[b] is kept and same(view, points)
    points.undo()
    assert same(view, points)


def test_a_shape_that_loses_its_area_removes_its_region(view: RegionsView, points: Points, qtbot) -> None:
    points.add_complete(SQUARE)
    id = points.add_complete(SQUARE + 200)
    changed(view, 0, closed(SQUARE[[0, 1, 1, 0]]))
    qtbot.waitUntil(lambda: len(points.complete) == 1)
    assert list(points.complete) == [id] and same(view, points)


def test_an_edit_that_the_document_refuses_is_taken_back(view: RegionsView, points: Points, qtbot) -> None:
    id = points.add_complete(SQUARE)
    heard: list[ZoomMILError] = []
    view.refused.connect(heard.append)
    changed(view, 0, closed(SQUARE + 5))
    points.changed.block()
    points.remove_regions([id])  # by somebody of whom the layer has not heard
    points.changed.unblock()
    qtbot.waitUntil(lambda: bool(heard))
    assert "no longer there" in str(heard[0]) and same(view, points) and not view.layer.data


def changed(view: RegionsView, row: int, outline: np.ndarray) -> None:
    """As napari's tools change one shape: the others are not touched."""
    layer = view.layer
    with layer.events.data.blocker():
        layer._data_view.edit(row, outline)
    layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))


# Drawing, and the end


def test_drawing_starts_and_stops(view: RegionsView, points: Points, qtbot) -> None:
    view.start()
    assert view.drawing and view._viewer.layers.selection.active is view.layer
    points.add_complete(SQUARE)
    assert view.layer.mode == "add_polygon", "the document does not take the tool away"
    view.stop()
    assert not view.drawing and view.layer.mode == "pan_zoom"
    view.start()
    view.layer.add_polygons(SQUARE + 300)
    qtbot.waitUntil(lambda: len(points.regions) == 2 and not view.drawing)


def test_a_closed_view_follows_nothing(view: RegionsView, points: Points, qtbot) -> None:
    points.add_complete(SQUARE)
    view.layer.add_polygons(SQUARE + 100)  # heard of, and not yet taken over
    view.close()
    points.add_complete(SQUARE + 200)
    qtbot.wait(20)
    assert view.layer not in view._viewer.layers
    assert len(points.complete) == 2 and len(view.layer.data) == 2


# Regions of classes, with holes and several parts

HOLE = np.array([(30.0, 30), (30, 60), (60, 60), (60, 30)])
RING = shapely.Polygon(SQUARE, [HOLE])
PARTS = shapely.MultiPolygon([RING, shapely.Polygon(SQUARE + 200)])


def test_regions_have_the_colour_of_their_class(view: RegionsView, points: Points) -> None:
    tumour = points.add_class("tumour", (200, 0, 0))
    id = points.add_region(SQUARE, tumour)
    points.add_region(SQUARE + 100)
    assert same(view, points)
    points.recolour_class(tumour, (0, 0, 200))
    assert same(view, points)
    points.set_region_class([id], points.add_class("stroma", (0, 200, 0)))
    assert same(view, points)
    points.remove_class(2)
    assert same(view, points) and len(view.layer.data) == 1
    points.undo()
    assert same(view, points) and len(view.layer.data) == 2


def test_what_is_drawn_is_what_was_asked_for(view: RegionsView, points: Points, qtbot) -> None:
    points.add_class("tumour", (200, 0, 0))
    for label, complete, name in ((1, False, "tumour"), (0, True, ""), (0, False, "")):
        view.start(label, complete)
        view.layer.add_polygons(SQUARE + 100 * len(points.regions))
        count = len(points.regions) + 1
        qtbot.waitUntil(lambda count=count: len(points.regions) == count and not view.drawing)
        found = list(points.regions.values())[-1]
        assert (found.class_name, found.complete) == (name, complete)
    view.start(1, True)
    view.stop()
    view.layer.add_polygons(SQUARE + 500)
    qtbot.waitUntil(lambda: len(points.regions) == 4)
    last = list(points.regions.values())[-1]
    assert not last.complete and not last.class_name, "napari's own tool draws a plain region"


def test_rings_of_a_region_are_selected_and_removed_together(
    view: RegionsView, points: Points, qtbot
) -> None:
    id, other = points.add_region(PARTS), points.add_region(SQUARE + 500)
    assert same(view, points) and len(view.layer.data) == 4
    view.select([id])
    assert view.selected == [id] and len(view.layer.selected_data) == 3
    view.layer.remove_selected()
    qtbot.waitUntil(lambda: list(points.regions) == [other])
    assert same(view, points)
    points.undo()
    assert same(view, points) and points.regions[id].area_px == PARTS.area


@pytest.mark.parametrize(("row", "area"), [(0, 90 * 90), (1, 90 * 90 * 2), (2, 90 * 90 - 30 * 30)])
def test_a_ring_alone_is_a_part_or_a_hole(view: RegionsView, points: Points, qtbot, row, area) -> None:
    id = points.add_region(PARTS)
    view.layer.selected_data = {row}
    view.layer.remove_selected()
    qtbot.waitUntil(lambda: points.regions[id].area_px == area)
    assert same(view, points)


@pytest.mark.parametrize("at", [0, 4, 2], ids=["the first", "its repetition", "another"])
def test_a_moved_corner_moves_on_a_closed_ring(view: RegionsView, points: Points, qtbot, at: int) -> None:
    id = points.add_region(RING)
    drawn = closed(SQUARE)
    drawn[at] += -9
    changed(view, 0, drawn)
    expected = SQUARE.copy()
    expected[at % 4] += -9
    qtbot.waitUntil(lambda: points.regions[id].area_px != RING.area)
    np.testing.assert_array_equal(points.regions[id].outline, expected)
    np.testing.assert_array_equal(
        shapely.get_coordinates(points.regions[id].polygons[0].interiors[0])[:-1], HOLE
    )
    assert same(view, points)


@pytest.mark.parametrize("at", range(5))
def test_a_removed_corner_is_gone(view: RegionsView, points: Points, qtbot, at: int) -> None:
    id = points.add_region(SQUARE)
    changed(view, 0, np.delete(closed(SQUARE), at, axis=0))
    qtbot.waitUntil(lambda: len(points.regions[id].outline) == 3)
    assert points.regions[id].area_px == 90 * 90 / 2 and same(view, points)


def test_the_smallest_region_around_a_place_is_found_and_holes_are_outside(
    view: RegionsView, points: Points
) -> None:
    ring, inner = points.add_region(RING), points.add_region(HOLE / 2)
    assert view.at((20, 20)) == inner and view.at((10, 80)) == ring
    assert view.at((45, 45)) is None and view.at((500, 500)) is None


def test_outlines_can_be_seen_at_every_zoom(view: RegionsView, points: Points, model: ViewerModel) -> None:
    points.add_region(SQUARE)
    drawn: list[float] = []
    view.layer.events.edge_width.connect(lambda _: drawn.append(view.layer.edge_width[0]))
    for zoom in (0.001, 0.1, 10.0, 0.01):
        model.scene.camera.zoom = zoom
        on_screen = view.layer.edge_width[0] * MPP * zoom
        assert on_screen >= 2 / 1.5 and (on_screen <= 3 or view.layer.edge_width[0] * MPP <= 1.5)
        assert drawn and drawn[-1] == view.layer.edge_width[0], "napari draws it where it is told"


def test_many_regions_are_shown_at_once(model: ViewerModel, slide: Slide, points: Points) -> None:
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.stack([np.sin(angle), np.cos(angle)], 1)
    many = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shapely.Polygon(circle * (9 + n % 7) + 30 * n)),
        }
        for n in range(300)
    ]
    points.adopt(loads(ENCODER.encode(many).encode(), "a"))
    view = RegionsView(model, slide, points)
    kept = view.layer._data_view.shapes[250]
    points.remove_regions([list(points.regions)[3]])
    assert len(view.layer.data) == 299 and view.layer._data_view.shapes[249] is kept, "the others stay"
