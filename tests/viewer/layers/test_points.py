"""The layer of points shows the document, whoever edits which of the two; without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Points as PointsLayer
from napari.utils.key_bindings import KeyBinding

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.annotations.classes import UNCLASSIFIED_COLOUR, CellClass
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.errors import AnnotationError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import KindOfPoints
from napari_zoommil.viewer.layers.point_looks import FACE_ALPHA, looks
from napari_zoommil.viewer.layers.points import (
    CLICK_PX,
    FIRST_CLASS,
    MANY,
    PointsView,
    rows_of,
)
from napari_zoommil.viewer.layers.points_in_sight import FEW
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.session import session_of

MPP = 0.25
RED, BLUE = CellClass("red", (255, 0, 0), 10.0), CellClass("blue", (0, 0, 255), 5.0)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Iterator[Slide]:
    """512 px wide and high, 0.25 µm/px."""
    with Slide.open(make_slide(tmp_path_factory.mktemp("slides") / "a.tif", None), MPP) as opened:
        yield opened


def shown(view: PointsView) -> dict[str, tuple]:
    """What each row of the layer shows, by the id of its point."""
    layer = view.layer
    chosen = set(layer.selected_data)
    layer.selected_data = set(range(len(layer.data)))
    ids = view.selected
    layer.selected_data = chosen
    assert len(ids) == len(set(ids)) == len(layer.data) == len(layer.size) == len(layer.face_color)
    columns = (layer.data, layer.size, layer.face_color, layer.border_color)
    return {id: tuple(np.round(one[row], 4).tolist() for one in columns) for row, id in enumerate(ids)}


def told(points: Points) -> dict[str, tuple]:
    """What the document says should be shown."""
    styles = [CellClass("none", UNCLASSIFIED_COLOUR), *points.classes]
    rows = zip(points.ids, points.coordinates, points.labels, strict=True)
    return {
        id: (
            np.round(place, 4).tolist(),
            round(styles[label].diameter_um / MPP, 4),
            np.round([*(c / 255 for c in styles[label].colour), FACE_ALPHA], 4).tolist(),
            np.round([*(c / 255 for c in styles[label].colour), 1], 4).tolist(),
        )
        for id, place, label in rows
    }


@pytest.fixture
def view(model: ViewerModel, slide: Slide) -> PointsView:
    return PointsView(model, slide, Points("me", (RED, BLUE)))


@pytest.fixture
def points(view: PointsView) -> Points:
    return view._points


@pytest.fixture
def refusals(view: PointsView) -> list[AnnotationError]:
    heard: list[AnnotationError] = []
    view.refused.connect(heard.append)
    return heard


@pytest.fixture
def steps(points: Points) -> list[Changed]:
    heard: list[Changed] = []
    points.changed.connect(heard.append)
    return heard


# From the document to the layer


def test_a_document_is_shown_as_it_is(model: ViewerModel, slide: Slide) -> None:
    points = Points(classes=(RED, BLUE))
    points.add([[1, 2], [3, 4]], 2)
    points.add((5, 6), 1)
    view = PointsView(model, slide, points)
    assert shown(view) == told(points)
    assert model.layers[-1] is view.layer and slide_of(view.layer) is slide
    assert view.layer.units == ("micrometer", "micrometer") and tuple(view.layer.scale) == (MPP, MPP)
    # a document's px 0 begins where the first pixel does, which napari has the centre of at 0
    np.testing.assert_allclose(view.layer.data_to_world((0, 0)), (-MPP / 2, -MPP / 2))


def test_every_edit_of_the_document_is_followed(view: PointsView, points: Points) -> None:
    a, b, _ = points.add([[1, 1], [2, 2], [3, 3]], 1)
    assert shown(view) == told(points)
    for edit in (
        lambda: points.move([a, b], [[10, 11], [20, 21]]),
        lambda: points.set_class([b], 2),
        lambda: points.add([[7, 7]], 2),
        lambda: points.remove([a]),
        lambda: points.recolour_class(1, (9, 99, 199)),
        lambda: points.resize_class(2, 31.0),
        lambda: points.rename_class(1, "other"),
        lambda: points.remove_class(1),
    ):
        edit()
        assert shown(view) == told(points)
    for back in (points.undo, points.redo):
        while points.can_undo if back == points.undo else points.can_redo:
            back()
            assert shown(view) == told(points)


def test_points_without_a_class_are_grey(view: PointsView, points: Points) -> None:
    bare = b'[{"type":"Feature","geometry":{"type":"Point","coordinates":[5,6]},"properties":{}}]'
    points.adopt(loads(bare, "a.geojson"))
    assert shown(view) == told(points)
    np.testing.assert_allclose(view.layer.face_color[0][:3] * 255, UNCLASSIFIED_COLOUR)
    style = looks((RED, BLUE), None)
    np.testing.assert_allclose(style.sizes, [10, 20, 10])  # no class is as small as the smallest; 0.5 µm/px
    assert style.faces.shape == style.borders.shape == (3, 4)


def test_a_single_new_point_costs_a_row_and_not_the_layer(
    view: PointsView, points: Points, monkeypatch
) -> None:
    points.add(np.random.default_rng(0).uniform(0, 512, (5000, 2)), 1)
    monkeypatch.setattr(view, "fill", lambda: pytest.fail("the layer was filled anew"))
    (id,) = points.add((1, 1), 2)
    points.move([id], (2, 2))
    points.remove([id, points.ids[10]])
    points.undo()
    monkeypatch.undo()
    assert shown(view) == told(points)


def test_thousands_of_points_come_and_go(view: PointsView, points: Points) -> None:
    ids = points.add(np.random.default_rng(0).uniform(0, 512, (5000, 2)), 1)
    points.set_class(ids[::2], 2)
    assert len(view.layer.data) == 5000 and shown(view) == told(points)
    points.remove(ids[: MANY + 1])
    points.move(ids[-MANY - 1 :], np.zeros((MANY + 1, 2)))
    assert shown(view) == told(points)
    for _ in range(4):
        points.undo()
    assert len(view.layer.data) == 0


# From napari's tools to the document


def drag_rows(layer: PointsLayer, rows: set[int], by: tuple[float, float]) -> None:
    """As napari's tool for selecting ends a drag."""
    centre = layer.data[sorted(rows)].mean(0)
    layer._set_drag_start(rows, centre)
    layer._move(rows, centre + by)
    layer._drag_start = None


def test_naparis_tools_edit_the_document_a_step_each(
    view: PointsView, points: Points, steps: list[Changed]
) -> None:
    layer = view.layer
    view.label = 2
    layer.add([[100, 100], [200, 200], [300, 300]])
    assert points.coordinates.tolist() == [[100, 100], [200, 200], [300, 300]]
    assert points.labels.tolist() == [2, 2, 2] and points.annotators == ["me"] * 3
    layer.selected_data = {0, 2}
    layer.remove_selected()
    assert points.coordinates.tolist() == [[200, 200]]
    points.undo()
    drag_rows(layer, {0, 1}, (5, -5))
    assert len(steps) == 4 and shown(view) == told(points)
    before = [[100, 100], [200, 200], [300, 300]]
    assert sum(place not in before for place in points.coordinates.tolist()) == 2
    points.undo()
    assert sorted(points.coordinates.tolist()) == before and shown(view) == told(points)


def test_data_of_another_count_are_taken_back(view: PointsView, points: Points, steps: list[Changed]) -> None:
    points.add([[1, 1], [2, 2]], 1)
    for data in (np.zeros((5, 2)), np.empty((0, 2))):
        view.layer.data = data
        assert shown(view) == told(points)
    assert len(steps) == 1 and len(points) == 2


def test_an_edit_that_the_document_refuses_is_taken_back(
    view: PointsView, points: Points, refusals: list[AnnotationError]
) -> None:
    points.add((1, 1), 1)
    view.label = 7
    view.layer.add([[5, 5]])
    (refusal,) = refusals
    assert "no class 7" in str(refusal) and len(points) == 1 and shown(view) == told(points)


def test_the_first_point_makes_a_class(model: ViewerModel, slide: Slide) -> None:
    view = PointsView(model, slide, Points())
    view.layer.add([[5, 5]])
    assert [one.name for one in view._points.classes] == [FIRST_CLASS]
    assert shown(view) == told(view._points)


@pytest.mark.parametrize("place", [(-0.1, 5), (5, -0.1), (512, 5), (5, 512)])
def test_no_point_is_placed_outside_of_the_slide(
    view: PointsView, points: Points, refusals: list[AnnotationError], place: tuple[float, float]
) -> None:
    view.place(place)
    assert len(points) == 0 and "outside the slide" in str(refusals[0])
    view.place((0, 511.9))
    assert points.coordinates.tolist() == [[0, 511.9]] and len(refusals) == 1


OPERATIONS = st.lists(st.tuples(st.sampled_from(range(11)), st.integers(0, 99)), max_size=20)


def operate(view: PointsView, points: Points, kind: int, n: int) -> None:
    """One edit by the document, by the layer, or by somebody else."""
    layer, ids = view.layer, points.ids
    rows = {row for row in range(len(ids)) if (row * 7 + n) % 3 == 0}
    chosen, label = [ids[row] for row in sorted(rows)], n % len(points.classes) + 1
    if kind == 0:
        points.add(np.full((n % 4 + 1, 2), n), label)
    elif kind == 1:
        points.move(chosen, np.full((len(chosen), 2), n))
    elif kind == 2:
        points.remove(chosen)
    elif kind == 3:
        points.set_class(chosen, label)
    elif kind == 4:
        points.recolour_class(label, (n, 2 * n, 0))
    elif kind == 5:
        points.undo()
    elif kind == 6:
        points.redo()
    elif kind == 7:
        view.label = label
        layer.add(np.full((n % 3 + 1, 2), n))
    elif kind == 8:
        layer.selected_data = rows
        layer.remove_selected()
    elif kind == 9 and rows:
        drag_rows(layer, rows, (n, 1))
    elif kind == 10:
        other = Points(classes=points.classes)
        other.adopt(points.content)
        other.remove(chosen)
        other.add((n, n), label)
        points.adopt(other.content)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_whoever_edits_both_stay_the_same(qapp: Any, slide: Slide, operations: list[tuple[int, int]]) -> None:
    view = PointsView(ViewerModel(), slide, Points("me", (RED, BLUE)))
    for kind, n in operations:
        operate(view, view._points, kind, n)
        assert shown(view) == told(view._points)


# The mouse, while napari's tool for adding is on


def gesture(view: PointsView, *path: tuple[float, float], button: int = 1, modifiers: tuple = ()) -> None:
    """Press, move and release; places are level-0 px, of which one is 10 px on screen."""
    (callback,) = [one for one in view.layer.mouse_drag_callbacks if one == view._pressed]

    one = SimpleNamespace(type="mouse_press", button=button, modifiers=modifiers)

    def at(place: tuple[float, float]) -> None:
        one.position, one.pos = view.layer.data_to_world(place), np.multiply(place, 10)

    at(path[0])
    steps = callback(view.layer, one)
    next(steps, None)
    for place in path[1:]:
        one.type = "mouse_move"
        at(place)
        next(steps, None)
    one.type = "mouse_release"
    next(steps, None)


@pytest.fixture
def adding(view: PointsView) -> PointsView:
    view._viewer.scene.camera.zoom = 10 / MPP
    view.layer.mode = "add"
    return view


def test_a_click_places_and_a_click_on_a_point_selects(adding: PointsView, points: Points) -> None:
    gesture(adding, (100, 100))
    gesture(adding, (200, 200), (200 + CLICK_PX / 30, 200))
    np.testing.assert_allclose(points.coordinates, [[100, 100], [200, 200]], atol=CLICK_PX / 10)
    gesture(adding, (101, 100))
    assert len(points) == 2 and adding.selected == points.ids[:1]
    gesture(adding, (300, 300), (300, 330))  # a drag of the view
    gesture(adding, (300, 300), button=2)
    gesture(adding, (300, 300), modifiers=("Shift",))
    assert len(points) == 2


def test_a_drag_moves_what_is_selected_in_one_step(
    adding: PointsView, points: Points, steps: list[Changed]
) -> None:
    a, b, c = points.add([[100, 100], [200, 200], [300, 300]], 1)
    adding.layer.selected_data = {0, 1}
    gesture(adding, (100, 100), (110, 100), (120, 130))
    assert points.coordinates.tolist() == [[120, 130], [220, 230], [300, 300]] and len(steps) == 2
    gesture(adding, (300, 300), (310, 300))
    assert points.coordinates[2].tolist() == [310, 300] and adding.selected == [c]
    points.undo()
    points.undo()
    assert points.coordinates.tolist() == [[100, 100], [200, 200], [300, 300]]
    assert shown(adding) == told(points) and adding.layer.mouse_pan
    assert [a, b] == points.ids[:2]


def test_a_point_that_goes_while_it_is_dragged_is_refused(
    adding: PointsView, points: Points, refusals: list[AnnotationError]
) -> None:
    (id,) = points.add((100, 100), 1)
    event = SimpleNamespace(
        type="mouse_press", pos=np.array((0, 0)), position=adding.layer.data_to_world((100, 100))
    )
    steps = adding._drag(event, 0)
    next(steps)
    points.remove([id])
    event.type, event.pos, event.position = (
        "mouse_move",
        np.array((90, 0)),
        adding.layer.data_to_world((9, 9)),
    )
    next(steps)
    event.type = "mouse_release"
    next(steps, None)
    assert "no longer there" in str(refusals[0]) and shown(adding) == told(points) == {}


def test_only_in_the_mode_for_adding_the_mouse_is_ours(view: PointsView) -> None:
    def names() -> list[str]:
        return [getattr(one, "__name__", "") for one in view.layer.mouse_drag_callbacks]

    view.layer.mode = "add"
    assert names().count("_pressed") == 1 and "add" not in names()
    view.layer.mode = "select"
    assert "_pressed" not in names()
    view.layer.mode = "add"
    view.close()
    assert "_pressed" not in names() and view.layer not in view._viewer.layers


def test_what_is_at_the_cursor(adding: PointsView, points: Points) -> None:
    a, b, c = points.add([[100, 100], [200, 200], [300, 300]], 1)
    adding.layer.selected_data = {0, 1}
    cursor = adding._viewer.cursor
    for place, ids in (((300, 301), [c]), ((200, 200), [a, b]), ((400, 400), [a, b])):
        cursor.position = tuple(adding.layer.data_to_world(place))
        assert adding.at_cursor == ids


def test_a_click_reaches_a_quarter_of_a_cell_and_some_pixels_on_screen(
    adding: PointsView, points: Points
) -> None:
    points.add((100, 100), 1)  # 40 px wide
    assert adding.near((109.9, 100)) == 0 and adding.near((110.1, 100)) is None
    adding._viewer.scene.camera.zoom = 0.25 / MPP  # a cell is 10 px on screen
    assert adding.near((123.9, 100)) == 0 and adding.near((124.1, 100)) is None
    points.remove(points.ids)
    assert adding.near((100, 100)) is None


# The end


def test_a_closed_view_follows_nothing(view: PointsView, points: Points, steps: list[Changed]) -> None:
    points.add((1, 1), 1)
    view.close()
    points.add((2, 2), 1)
    assert len(view.layer.data) == 1
    view.layer.add([[3, 3]])
    assert len(points) == 2 and len(steps) == 2
    view.close()  # the layer is gone already


def test_a_new_layer_leaves_the_selection_as_it_was(model: ViewerModel, slide: Slide) -> None:
    first = model.add_image(np.zeros((4, 4)))
    PointsView(model, slide, Points())
    assert set(model.layers.selection) == {first}


@given(st.lists(st.integers(0, 30), unique=True), st.sets(st.integers(0, 40)))
def test_rows_of_ids(ids: list[int], wanted: set[int]) -> None:
    names = [str(one) for one in ids]
    found = rows_of(names, {str(one) for one in wanted})
    assert found == {name: row for row, name in enumerate(names) if int(name) in wanted}
    assert list(found.values()) == sorted(found.values())


# Of many


def drawn(view: PointsView) -> np.ndarray:
    return np.asarray(view.layer._view_indices)


def near_view(view: PointsView, margin: float) -> np.ndarray:
    """Whether each point is in the view, enlarged by a part of it on each side."""
    camera, canvas = view._viewer.scene.camera, view._viewer.canvas.size
    half = np.array(canvas) / camera.zoom / MPP * (0.5 + margin)
    off = np.abs(view.layer.data - (np.array(camera.center[-2:]) / MPP + 0.5))
    return (off <= half).all(1)


@pytest.fixture
def many(view: PointsView, points: Points) -> PointsView:
    """2,000 points and 9,000 in a corner, at 16 screen px to a level-0 px."""
    rng = np.random.default_rng(0)
    points.add(rng.uniform(0, 512, (2_000, 2)), 1)
    points.add(rng.uniform(0, 40, (9_000, 2)), 2)
    view._viewer.scene.camera.center = (0, 64, 64)
    view._viewer.scene.camera.zoom = 16 / MPP
    return view


def test_of_many_points_those_near_the_view_are_drawn(many: PointsView, points: Points) -> None:
    camera = many._viewer.scene.camera
    for place in ((64, 64), (64, 64.9), (64, 80), (5, 5)):
        camera.center = (0, *place)
        rows = drawn(many)
        assert set(np.flatnonzero(near_view(many, 0))) <= set(rows) and 0 < len(rows) < 12_000
    before = many.layer._view_indices
    camera.center = (0, 5, 5.01)
    assert many.layer._view_indices is before  # not chosen again
    points.add((20, 20), 1)
    many.layer.selected_data = {7}
    camera.center = (0, 100, 100)
    assert 7 not in drawn(many), "what is selected far away is not drawn either"
    np.testing.assert_array_equal(many.layer.data, points.coordinates)


class FakeCanvas:
    """Paints at once what a window would paint."""

    def __init__(self, *_: object) -> None:
        self.shown = False

    def show(self, corner: np.ndarray, step: np.ndarray, paint: Callable[[], np.ndarray]) -> bool:
        self.shown, self.corner, self.step, self._paint = True, corner, step, paint
        return True

    def hide(self) -> None:
        self.shown = False

    def at(self, places: np.ndarray) -> np.ndarray:
        """Colours at level-0 (y, x); none beyond the picture."""
        pixels = self._paint()
        y, x = ((places - self.corner) / self.step).astype(int).T
        inside = (y >= 0) & (x >= 0) & (y < pixels.shape[0]) & (x < pixels.shape[1])
        colours = np.zeros((len(places), 4), np.uint8)
        colours[inside] = pixels[y[inside], x[inside]]
        return colours


@pytest.fixture
def canvas(monkeypatch: pytest.MonkeyPatch, model: ViewerModel, slide: Slide) -> FakeCanvas:
    found = FakeCanvas()
    monkeypatch.setattr("napari_zoommil.viewer.layers.points.CanvasPicture", lambda *_: found)
    return found


@pytest.fixture
def far(canvas: FakeCanvas, many: PointsView) -> PointsView:
    """The same from where all can be seen: 9 screen px are 9 level-0 px."""
    many._viewer.scene.camera.center, many._viewer.scene.camera.zoom = (0, 64, 64), 1 / MPP
    return many


def test_many_points_in_view_are_painted(far: PointsView, points: Points, canvas: FakeCanvas) -> None:
    assert canvas.shown and not len(drawn(far))
    near = near_view(far, 0) & (points.labels == 1) & (points.coordinates.max(1) > 60)
    colours = canvas.at(points.coordinates[near])
    assert near.sum() > 1_000 and (colours[:, :3] == RED.colour).all() and (colours[:, 3] > 0).all()
    blue = canvas.at(points.coordinates[points.labels == 2])[:, :3] == BLUE.colour
    assert blue.all(1).mean() > 0.9, "the others are under red ones"
    assert not canvas.at(np.array([[40.0, 500.0]]))[:, 3].any() or near_view(far, 0).all()
    far.layer.mode = "select"
    assert len(drawn(far)) == len(points) and not canvas.shown
    far.layer.mode = "pan_zoom"
    assert canvas.shown and not len(drawn(far))
    far._viewer.scene.camera.zoom *= 16
    assert not canvas.shown and 0 < len(drawn(far)) <= FEW


def test_what_is_edited_is_painted(far: PointsView, points: Points, canvas: FakeCanvas) -> None:
    place, blue = np.array([[100.0, 100.0]]), (0, 0, 255)
    around = np.abs(points.coordinates - place).max(1) < 45
    points.remove(np.array(points.ids)[around].tolist())
    assert not canvas.at(place).any()
    (new,) = points.add(place[0], 2)
    far.layer.selected_data = set()
    assert (canvas.at(place)[0, :3] == blue).all()
    points.move([new], place + 9)
    assert canvas.at(place)[0, 3] < 9 and (canvas.at(place + 9)[0, :3] == blue).all()
    points.recolour_class(2, (0, 255, 0))
    assert (canvas.at(place + 9)[0, :3] == (0, 255, 0)).all()
    points.remove([new])
    assert not canvas.at(place + 9).any()


@pytest.mark.parametrize("by_user", [True, False])
def test_after_a_removal_the_others_keep_their_class(
    far: PointsView, points: Points, canvas: FakeCanvas, by_user: bool
) -> None:
    before = canvas._paint()
    if by_user:
        far.layer.selected_data = {11}
        far.layer.remove_selected()
    else:
        points.remove([points.ids[11]])
    assert 0 < (canvas._paint() != before).any(-1).sum() < 41**2, "but for the one"
    points.undo()
    assert (canvas._paint() != before).any(-1).sum() < 41**2


def test_selected_points_lie_above_the_others(far: PointsView, points: Points, canvas: FakeCanvas) -> None:
    few = np.flatnonzero(near_view(far, 0))[::300]
    far.layer.selected_data = set(few.tolist())
    assert drawn(far).tolist() == few.tolist(), "napari marks them"
    colours = canvas.at(points.coordinates[few])[:, :3]
    assert len(few) > 30 and len(np.unique(colours, axis=0)) == 1 and colours[0].tolist() != [0, 0, 255]
    far.layer.selected_data = set(range(11_000))
    assert not len(drawn(far))
    near = points.coordinates[near_view(far, 0)]
    assert (canvas.at(near)[:, :3] == colours[0]).all()


def test_a_picture_lies_where_markers_lie(window, add_slide, small_slide, qtbot, monkeypatch) -> None:
    slide = slide_of(add_slide(window, small_slide))
    window.scene.camera.zoom, window.scene.camera.center = 4, (0, 1012 * 0.25, 1012 * 0.25)
    points = Points("me", (RED, BLUE))
    view = PointsView(window, slide, points)
    points.add([(1012.5, 1012.5), (1030, 1080)], 1)
    view.layer.visible = False
    qtbot.wait(50)
    bare = window.screenshot(flash=False).astype(int)

    def differs() -> np.ndarray:
        return np.abs(window.screenshot(flash=False) - bare).max(-1) > 40

    view.layer.visible = True
    as_markers = np.argwhere(differs())
    monkeypatch.setattr("napari_zoommil.viewer.layers.points_in_sight.FEW", 0)
    view._look_again()
    as_picture = np.argwhere(differs())
    assert view._sight.painted and not len(drawn(view)) and len(as_markers) > 500
    assert 0.8 < len(as_picture) / len(as_markers) < 1.2
    for edge in (np.min, np.max, np.mean):
        np.testing.assert_allclose(edge(as_picture, 0), edge(as_markers, 0), atol=1.5)
    view.layer.opacity = 0.0
    assert not differs().any()
    view.layer.opacity = 1.0
    assert differs().any()
    view.layer.visible = False
    assert not differs().any()
    view.layer.visible = True
    window.layers.remove(view.layer)
    assert not differs().any()
    window.add_layer(view.layer)
    view._look_again()
    assert differs().any(), "napari draws it anew"
    view.close()
    assert not differs().any()


def test_all_points_are_selected_by_their_key(many: PointsView) -> None:
    for key in ("A", "Shift-A"):
        press = many.layer.keymap[KeyBinding.from_str(key)]
        press(many.layer)
        assert many.layer.selected_data == set(range(11_000))
        press(many.layer)
        assert not many.layer.selected_data


def test_the_points_in_view_are_chosen_again_when_the_slide_is_moved(
    model: ViewerModel, add_slide, small_slide: Path
) -> None:
    session_of(model)
    layer = add_slide(model, small_slide)
    slide = slide_of(layer)
    points = Points("me", (RED, BLUE))
    points.add(np.random.default_rng(0).uniform(0, 1, (9_000, 2)) * slide.shape, 1)
    view = PointsView(model, slide, points)
    camera, canvas = model.scene.camera, np.array(model.canvas.size)
    camera.zoom = float((canvas / np.multiply(slide.shape, layer.scale)).min())
    camera.center = (0, *(np.multiply(slide.shape, layer.scale) / 2))
    assert len(drawn(view)) == 9_000
    camera.zoom *= 4
    assert 0 < len(drawn(view)) < 6_000
    layer.scale = np.array(layer.scale) / 4
    camera.center = (0, *(np.multiply(slide.shape, layer.scale) / 2))
    assert len(drawn(view)) == 9_000
    layer.scale = np.array(layer.scale) * 16
    assert len(drawn(view)) < 3_000, "without a movement of the camera"


def test_without_naparis_way_to_slice_all_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = KindOfPoints(np.zeros((3, 2)))
    layer.in_sight = lambda: np.array([0])
    monkeypatch.setattr(PointsLayer, "_get_layer_slicing_state", lambda *_: SimpleNamespace())
    assert not vars(layer._get_layer_slicing_state(layer.data, False))


def test_symbols_are_those_of_napari() -> None:
    ours, naparis = (kind(np.zeros((3, 2)), symbol=["o", "x", "+"]) for kind in (KindOfPoints, PointsLayer))
    for layer in (ours, naparis):
        layer.current_symbol = "star"
        layer.add((1, 1))
        layer.remove([0])
    assert ours.symbol.tolist() == naparis.symbol.tolist() and ours.symbol.dtype == naparis.symbol.dtype
    assert set(map(type, ours.symbol)) == {type(ours.current_symbol)}
    for wrong in (["o"] * 7, np.array(["none such"] * 3)):
        with pytest.raises((ValueError, KeyError)):
            ours.symbol = wrong
    ours.symbol = "square"
    assert {str(one) for one in ours.symbol} == {"square"}


def test_few_points_are_all_drawn(view: PointsView, points: Points) -> None:
    view._viewer.scene.camera.zoom = 64 / MPP
    points.add(np.random.default_rng(0).uniform(0, 512, (FEW, 2)), 1)
    assert len(drawn(view)) == FEW
    points.add((1, 1), 1)
    assert len(drawn(view)) < FEW
