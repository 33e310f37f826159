"""The layer of complete regions shows the document, whoever edits which of the two; without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.annotations.feature import ENCODER
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.complete_regions import COMPLETE, WIDTH_UM, CompleteView
from napari_zoommil.viewer.layers.overlays import find_layer

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
def view(model: ViewerModel, slide: Slide, points: Points) -> CompleteView:
    return CompleteView(model, slide, points)


@pytest.fixture
def steps(points: Points) -> list[Changed]:
    heard: list[Changed] = []
    points.changed.connect(heard.append)
    return heard


def same(view: CompleteView, points: Points) -> bool:
    outlines = list(points.complete.values())
    return len(outlines) == len(view.layer.data) and all(
        np.array_equal(*pair) for pair in zip(view.layer.data, outlines, strict=True)
    )


def test_a_documents_regions_are_shown(model: ViewerModel, slide: Slide, points: Points) -> None:
    points.add_complete(SQUARE)
    view = CompleteView(model, slide, points)
    assert same(view, points) and find_layer(model, slide, COMPLETE) is view.layer
    assert view.layer.edge_width == [WIDTH_UM / MPP] and tuple(view.layer.scale) == (MPP, MPP)
    # a document's px 0 begins where the first pixel does, which napari has the centre of at 0
    np.testing.assert_allclose(view.layer.data_to_world((0, 0)), (-MPP / 2, -MPP / 2))


def test_every_edit_of_the_document_is_followed(view: CompleteView, points: Points) -> None:
    a, b = points.add_complete(SQUARE), points.add_complete(SQUARE + 200)
    assert same(view, points)
    points.redraw_complete({a: SQUARE + 7})
    assert same(view, points)
    points.remove_complete(b)
    assert same(view, points) and len(view.layer.data) == 1
    for back, count in ((points.undo, 2), (points.undo, 2), (points.redo, 2), (points.redo, 1)):
        back()
        assert same(view, points) and len(view.layer.data) == count


def test_points_alone_leave_the_layer_as_it_is(view: CompleteView, points: Points, monkeypatch) -> None:
    points.add_complete(SQUARE)
    monkeypatch.setattr(view, "fill", lambda: pytest.fail("the layer was filled anew"))
    points.add_class("cell")
    points.add([[1, 1]], 1)


def test_a_region_of_a_file_that_encloses_nothing_is_not_shown_and_kept(
    view: CompleteView, points: Points, qtbot
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


def test_a_new_shape_is_a_new_region(view: CompleteView, points: Points, steps: list, qtbot) -> None:
    drawn: list[int] = []
    view.drawn.connect(lambda: drawn.append(len(points.complete)))
    view.layer.add_polygons(SQUARE)
    qtbot.waitUntil(lambda: drawn == [1])
    view.layer.add_rectangles(SQUARE + 100)
    qtbot.waitUntil(lambda: drawn == [1, 2])
    assert same(view, points) and len(steps) == 2
    points.undo()
    assert same(view, points) and drawn == [1, 2]


def test_removed_shapes_are_removed_in_one_step(view: CompleteView, points: Points, steps, qtbot) -> None:
    ids = [points.add_complete(SQUARE + 100 * n) for n in range(3)]
    view.layer.selected_data = {0, 2}
    view.layer.remove_selected()
    qtbot.waitUntil(lambda: len(points.complete) == 1)
    assert list(points.complete) == ids[1:2] and same(view, points) and len(steps) == 4
    points.undo()
    assert list(points.complete) == ids and same(view, points)


def test_a_changed_shape_redraws_its_region_alone(view: CompleteView, points: Points, steps, qtbot) -> None:
    a, b = points.add_complete(SQUARE), points.add_complete(SQUARE + 200)
    kept = points.features[b]
    changed(view, 0, SQUARE + 5)
    qtbot.waitUntil(lambda: len(steps) == 3)
    np.testing.assert_array_equal(points.complete[a], SQUARE + 5)
    assert points.features[b] is kept and same(view, points)
    points.undo()
    assert same(view, points) and np.array_equal(view.layer.data[0], SQUARE)


def test_a_shape_that_loses_its_area_removes_its_region(view: CompleteView, points: Points, qtbot) -> None:
    points.add_complete(SQUARE)
    id = points.add_complete(SQUARE + 200)
    changed(view, 0, SQUARE[[0, 1, 1, 0]])
    qtbot.waitUntil(lambda: len(points.complete) == 1)
    assert list(points.complete) == [id] and same(view, points)


def test_an_edit_that_the_document_refuses_is_taken_back(view: CompleteView, points: Points, qtbot) -> None:
    id = points.add_complete(SQUARE)
    heard: list[ZoomMILError] = []
    view.refused.connect(heard.append)
    changed(view, 0, SQUARE + 5)
    points.changed.block()
    points.remove_complete(id)  # by somebody of whom the layer has not heard
    points.changed.unblock()
    qtbot.waitUntil(lambda: bool(heard))
    assert "no longer there" in str(heard[0]) and same(view, points) and not view.layer.data


def changed(view: CompleteView, row: int, outline: np.ndarray) -> None:
    """As napari's tools change one shape: the others are not touched."""
    layer = view.layer
    with layer.events.data.blocker():
        layer._data_view.edit(row, outline)
    layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))


# Drawing, and the end


def test_drawing_starts_and_stops(view: CompleteView, points: Points, qtbot) -> None:
    view.start()
    assert view.drawing and view._viewer.layers.selection.active is view.layer
    points.add_complete(SQUARE)
    assert view.layer.mode == "add_polygon", "the document does not take the tool away"
    view.stop()
    assert not view.drawing and view.layer.mode == "pan_zoom"
    view.start()
    view.layer.add_polygons(SQUARE + 300)
    qtbot.waitUntil(lambda: len(points.complete) == 2 and not view.drawing)


def test_a_closed_view_follows_nothing(view: CompleteView, points: Points, qtbot) -> None:
    points.add_complete(SQUARE)
    view.layer.add_polygons(SQUARE + 100)  # heard of, and not yet taken over
    view.close()
    points.add_complete(SQUARE + 200)
    qtbot.wait(20)
    assert view.layer not in view._viewer.layers
    assert len(points.complete) == 2 and len(view.layer.data) == 2
