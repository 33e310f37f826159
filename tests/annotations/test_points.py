from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations import CLASS_CYCLE, CellClass, Changed, Points
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.errors import AnnotationError

MIXED = [
    {
        "type": "Feature",
        "id": str(number),
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": of, "classification": {"name": name}, "kept": number},
    }
    for number, (kind, of, name, coordinates) in enumerate(
        [
            ("Point", "annotation", "tumour", [1, 2]),
            ("MultiPoint", "annotation", "stroma", [[3, 4], [5, 6], [7, 8], [9, 10]]),
            ("Polygon", "cell", "tumour", [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]),
            ("Polygon", "annotation", "lesion", [[[0, 0], [90, 0], [90, 90], [0, 0]]]),
        ]
    )
]


@pytest.fixture
def points() -> Points:
    return Points("me", [CellClass("tumour", (0, 114, 178)), CellClass("lymphocyte", (213, 94, 0), 8)])


def mixed() -> Points:
    points = Points("me")
    points.adopt(loads(json.dumps(MIXED).encode(), "a.geojson"))
    return points


def state(points: Points) -> tuple[Any, ...]:
    arrays = points.coordinates.tolist(), points.labels.tolist(), points.ids, points.annotators
    return points.to_bytes(), points.classes, points.counts, *arrays, str(points.complete)


def test_points_are_added_in_order_and_signed(points: Points) -> None:
    ids = points.add([[1, 2], [3, 4]], 2) + points.add((5, 6), 1)
    assert points.ids == ids and len(points) == 3
    np.testing.assert_array_equal(points.coordinates, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(points.labels, [2, 2, 1])
    assert points.annotators == ["me"] * 3 and points.counts == {"tumour": 1, "lymphocyte": 2}


def test_arrays_handed_out_are_copies(points: Points) -> None:
    points.add((1, 2), 1)
    points.coordinates[:] = 9
    points.labels[:] = 9
    np.testing.assert_array_equal(points.coordinates, [[1, 2]])
    np.testing.assert_array_equal(points.labels, [1])


def test_moving_and_changing_class_of_many_is_one_step(points: Points) -> None:
    ids = points.add(np.arange(400).reshape(200, 2), 1)
    before = state(points)
    points.move(ids[:150], np.zeros((150, 2)))
    points.set_class(ids, 2)
    assert points.counts == {"tumour": 0, "lymphocyte": 200}
    points.undo()
    points.undo()
    assert state(points) == before
    points.undo()
    assert len(points) == 0 and not points.can_undo


def test_removed_points_return_to_their_places(points: Points) -> None:
    ids = points.add(np.arange(20).reshape(10, 2), 1)
    before = state(points)
    points.remove([ids[2], ids[7]])
    assert points.ids == [id for id in ids if id not in (ids[2], ids[7])]
    points.undo()
    assert state(points) == before


def test_an_edit_after_undo_ends_the_redo(points: Points) -> None:
    points.add((1, 1), 1)
    points.undo()
    assert points.can_redo
    points.add((2, 2), 1)
    assert not points.can_redo
    points.redo()
    np.testing.assert_array_equal(points.coordinates, [[2, 2]])


def test_classes_are_edited(points: Points) -> None:
    points.add([[0, 0], [1, 1]], 1)
    points.add((2, 2), 2)
    assert points.add_class("mitosis") == 3
    assert points.classes[2].colour == CLASS_CYCLE[2]
    points.rename_class(1, "cancer")
    points.recolour_class(1, (1, 2, 3))
    points.resize_class(1, 20)
    assert points.classes[0] == CellClass("cancer", (1, 2, 3), 20)
    before = state(points)
    points.remove_class(1)
    assert points.counts == {"lymphocyte": 1, "mitosis": 0} and points.labels.tolist() == [1]
    points.undo()
    assert state(points) == before


def test_complete_regions_come_and_go(points: Points) -> None:
    id = points.add_complete([[0, 0], [0, 9.5], [9, 9]])
    np.testing.assert_array_equal(points.complete[id], [[0, 0], [0, 9.5], [9, 9]])
    points.remove_regions([id])
    assert not points.complete
    points.undo()
    assert list(points.complete) == [id]


def test_regions_are_redrawn_and_removed_in_one_step(points: Points) -> None:
    first, second = [[0, 0], [0, 9], [9, 9]], [[20, 20], [20, 29], [29, 29]]
    a, b = points.add_complete(first), points.add_complete(second)
    before = state(points)
    points.redraw_regions({a: [[1, 1], [0, 9], [9, 9]], b: [*second, [29, 20]]})
    assert [outline.tolist() for outline in points.complete.values()] == [
        [[1, 1], [0, 9], [9, 9]],
        [*second, [29, 20]],
    ]
    assert list(points.complete) == [a, b]
    points.undo()
    assert state(points) == before
    points.remove_regions([a, b, a])
    assert not points.complete
    points.undo()
    assert state(points) == before


def test_a_redrawn_region_keeps_what_else_its_file_says(tmp_path: Path) -> None:
    theirs = Points("other")
    id = theirs.add_complete([[0, 0], [0, 9], [9, 9]])
    document = json.loads(theirs.to_bytes())
    document["features"][0]["properties"]["isLocked"] = True
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    points = Points.read(tmp_path / "a.geojson", "me")
    points.redraw_regions({id: [[5, 5], [0, 9], [9, 9]]})
    (found,) = json.loads(points.to_bytes())["features"]
    assert found["properties"] == document["features"][0]["properties"]
    assert found["geometry"]["coordinates"] == [[[5, 5], [9, 0], [9, 9], [5, 5]]]


def test_listeners_are_told_what_changed(points: Points) -> None:
    heard: list[Changed] = []
    points.changed.connect(heard.append)
    (one,) = points.add((1, 2), 1)
    points.move([one], (3, 4))
    points.undo()
    points.remove([one])
    region = points.add_complete([[0, 0], [0, 9], [9, 9]])
    points.add_class("x")
    points.move([], np.empty((0, 2)))
    assert region and heard == [
        Changed(added=(one,)),
        Changed(altered=(one,)),
        Changed(altered=(one,)),
        Changed(removed=(one,)),
        Changed(regions=True),
        Changed(classes=True),
    ]


def test_points_outside_the_slide_are_told(points: Points) -> None:
    points.add([[0, 0], [-1, 5], [5, 100], [99, 99]], 1)
    assert points.outside((100, 100)).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p.add((1, 2), 0),
        lambda p: p.add((1, 2), 3),
        lambda p: p.add((1, np.nan), 1),
        lambda p: p.add((np.inf, 1), 1),
        lambda p: p.add([[1, 2, 3]], 1),
        lambda p: p.add([1, 2, 3, 4], 1),
        lambda p: p.add("xy", 1),
        lambda p: p.move(["nobody"], (1, 2)),
        lambda p: p.move(p.ids, [[1, 2], [3, 4]]),
        lambda p: p.remove(["nobody"]),
        lambda p: p.set_class(p.ids, 7),
        lambda p: p.add_class("tumour"),
        lambda p: p.add_class(" "),
        lambda p: p.add_class("x", (0, 0, 256)),
        lambda p: p.add_class("x", diameter_um=0),
        lambda p: p.rename_class(1, "lymphocyte"),
        lambda p: p.resize_class(1, float("nan")),
        lambda p: p.add_complete([[0, 0], [1, 1], [0, 0]]),
        lambda p: p.remove_regions(["nobody"]),
        lambda p: p.set_region_class(["nobody"], 1),
        lambda p: p.add_region([[0, 0], [0, 9], [9, 9]], 7),
        lambda p: p.add_region(shapely.Point(1, 2)),
        lambda p: p.add_region([[0, 0], [0, 9], [9, np.nan]]),
        lambda p: p.redraw_regions({"nobody": [[0, 0], [0, 9], [9, 9]]}),
    ],
)
def test_an_edit_that_makes_no_sense_changes_nothing(points: Points, edit: Any) -> None:
    points.add((1, 2), 1)
    before = state(points)
    with pytest.raises(AnnotationError):
        edit(points)
    assert state(points) == before
    points.undo()
    assert len(points) == 0


KINDS = (
    "add",
    "move",
    "remove",
    "class",
    "new",
    "rename",
    "colour",
    "size",
    "drop",
    "region",
    "redraw",
    "forget",
    "area",
    "paint",
)
ACTIONS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 99)), max_size=25)


def ring(n: int) -> shapely.Geometry:
    """Two parts, one of them with a hole."""
    outer = shapely.box(0, 0, n + 9, n + 9)
    return shapely.MultiPolygon([outer - shapely.box(2, 2, 4, 5), shapely.box(500, 500, 501 + n, 502)])


def act(points: Points, action: str, n: int) -> None:
    """One edit that makes sense in the state the document is in."""
    ids, label = points.ids, n % len(points.classes) + 1 if points.classes else 0
    chosen = [id for index, id in enumerate(ids) if (index * 7 + n) % 3 == 0]
    regions = list(points.regions)
    if action == "add" and label:
        points.add(np.full((n % 3 + 1, 2), n), label)
    elif action == "move":
        points.move(chosen, np.random.default_rng(n).random((len(chosen), 2)))
    elif action == "remove":
        points.remove(chosen)
    elif action == "class" and label:
        points.set_class(chosen, label)
    elif action == "new":
        taken = {one.name for one in points.classes}
        points.add_class(next(name for k in count() if (name := f"new {n} {k}") not in taken))
    elif action == "rename" and label:
        points.rename_class(label, f"name {n} {label}")
    elif action == "colour" and label:
        points.recolour_class(label, (n, n, n))
    elif action == "size" and label:
        points.resize_class(label, n + 1)
    elif action == "drop" and label and n % 4 == 0:
        points.remove_class(label)
    elif action == "region":
        points.add_complete([[0, 0], [n + 1, 0], [0, n + 1]])
    elif action == "area":
        points.add_region(ring(n) if n % 2 else [[0, 0], [n + 1, 0], [0, n + 1]], label)
    elif action == "paint" and regions:
        points.set_region_class(regions[n % len(regions) :], label if n % 3 else 0)
    elif action == "redraw" and regions:
        points.redraw_regions({regions[n % len(regions)]: [[0, 0], [0, n + 2], [n + 2, 0]]})
    elif action == "forget" and regions:
        points.remove_regions([regions[n % len(regions)]])


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_undoing_everything_gives_the_beginning_and_redoing_the_end(actions: list[tuple[str, int]]) -> None:
    points = mixed()
    states = [state(points)]
    steps: list[Changed] = []
    points.changed.connect(steps.append)
    for action, n in actions:
        try:
            act(points, action, n)
        except AnnotationError:
            continue
        if len(steps) == len(states):
            states.append(state(points))
    assert len(steps) == len(states) - 1
    for expected in states[-2::-1]:
        points.undo()
        assert state(points) == expected
    assert not points.can_undo
    for expected in states[1:]:
        points.redo()
        assert state(points) == expected
    assert not points.can_redo


@settings(max_examples=40, deadline=None)
@given(ACTIONS)
def test_whatever_was_edited_is_read_back(actions: list[tuple[str, int]]) -> None:
    points = mixed()
    for action, n in actions:
        act(points, action, n)
    again = Points("me")
    again.adopt(loads(points.to_bytes(), "a.geojson"))
    np.testing.assert_allclose(again.coordinates, points.coordinates, atol=1e-9)
    np.testing.assert_array_equal(again.labels, points.labels)
    assert again.classes == points.classes and again.annotators == points.annotators
    assert str(again.complete) == str(points.complete) and again.to_bytes() == points.to_bytes()
    for one, two in zip(again.regions.values(), points.regions.values(), strict=True):
        assert (one.id, one.class_name, one.complete) == (two.id, two.class_name, two.complete)
        assert shapely.equals_exact(one.polygons, two.polygons).all()


def test_a_written_file_is_read_back(points: Points, tmp_path: Path) -> None:
    points.add([[1.25, 2], [3, 1e-7]], 2)
    points.write(tmp_path / "a.geojson")
    again = Points.read(tmp_path / "a.geojson")
    np.testing.assert_array_equal(again.coordinates, points.coordinates)
    assert again.classes == points.classes and again.ids == points.ids


def test_classes_of_another_document_get_colours_that_are_free(tmp_path: Path) -> None:
    ours, theirs = Points("", [CellClass("cell", CLASS_CYCLE[0])]), Points()
    for place, name in enumerate(("stroma", "immune")):  # the first of them in the colour of ours
        theirs.add([[place, place]], theirs.add_class(name))
    ours.take_in(theirs)
    wanted = [("cell", CLASS_CYCLE[0]), ("stroma", CLASS_CYCLE[2]), ("immune", CLASS_CYCLE[1])]
    ours.write(tmp_path / "a.geojson")
    for document in (ours, Points.read(tmp_path / "a.geojson")):
        assert [(one.name, one.colour) for one in document.classes] == wanted
    colours = [one.raw["properties"]["classification"]["color"] for one in ours.features.values()]
    assert colours == [list(CLASS_CYCLE[2]), list(CLASS_CYCLE[1])]  # which is what QuPath reads
    ours.undo()
    assert [one.name for one in ours.classes] == ["cell"] and not len(ours)


def test_an_empty_document_is_a_document() -> None:
    assert Points() and len(Points()) == 0


def test_regions_have_classes_holes_and_parts_or_none() -> None:
    points = Points("me", [CellClass("tumour", (200, 0, 0))])
    one, two = points.add_region(ring(1), 1), points.add_region([[0, 0], [0, 9], [9, 9]])
    found = json.loads(points.to_bytes())["features"]
    assert found[0]["properties"] == {
        "objectType": "annotation",
        "metadata": {"annotator": "me"},
        "classification": {"name": "tumour", "color": [200, 0, 0]},
    }
    assert found[0]["geometry"]["type"] == "MultiPolygon" and len(found[0]["geometry"]["coordinates"][0]) == 2
    assert "classification" not in found[1]["properties"] and not points.complete
    assert [region.class_name for region in points.regions.values()] == ["tumour", ""]
    points.rename_class(1, "carcinoma")
    points.recolour_class(1, (0, 0, 200))
    stated = json.loads(points.to_bytes())["features"][0]["properties"]["classification"]
    assert stated == {"name": "carcinoma", "color": [0, 0, 200]}
    points.set_region_class([one, two], 0)
    assert not any(region.class_name for region in points.regions.values())
    points.undo()
    points.remove_class(1)
    assert list(points.regions) == [two]
    points.undo()
    assert list(points.regions) == [one, two] and points.regions[one].area_px == ring(1).area


def test_a_collection_of_geometries_keeps_what_is_no_area(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    area = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    document = {"type": "GeometryCollection", "geometries": [line, area]}
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    points = Points.read(tmp_path / "a.geojson")
    ((id, region),) = points.regions.items()
    assert region.area_px == 40.5
    points.redraw_regions({id: [[0, 0], [0, 5], [5, 5]]})
    parts = json.loads(points.to_bytes())["geometry"]["geometries"]
    assert parts[0] == line and parts[1]["coordinates"] == [[[0, 0], [5, 0], [5, 5], [0, 0]]]
