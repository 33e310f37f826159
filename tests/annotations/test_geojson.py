from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations import CellClass, Points, geojson
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.annotations.geojson_outlines import centroid_of
from napari_zoommil.errors import AnnotationError, FileError

UUID = "6423a977-ffff-48db-affc-cd1163201{:03d}"


def feature(geometry: Any, number: int = 0, /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": UUID.format(number),
        "geometry": geometry,
        "properties": {"objectType": "annotation", **properties},
    }


def shape(kind: str, coordinates: Any, **members: Any) -> dict[str, Any]:
    return {"type": kind, "coordinates": coordinates, **members}


def collection(*features: Any, **members: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), **members}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def square(y: float, x: float, edge: float = 10) -> list[list[list[float]]]:
    corners = [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]
    return [corners]


TUMOUR = {"name": "Tumour", "color": [200, 0, 0]}
IMMUNE = {"name": "Immune cells", "colorRGB": -6895466}

MIXED = collection(
    feature(
        shape("Point", [10.5, 20.25]), 1, classification=TUMOUR, isLocked=True, unknown={"deep": [1, None]}
    ),
    feature(
        shape("MultiPoint", [[1, 2], [3, 4], [5, 6, 7]], plane={"c": -1, "z": 2}), 2, classification=IMMUNE
    ),
    {
        **feature(shape("Polygon", square(100, 200)), 3, objectType="cell", classification=TUMOUR),
        "nucleusGeometry": shape("Polygon", square(104, 202, 4)),
    },
    feature(shape("MultiPolygon", [square(0, 0), square(0, 20)]), 4, objectType="detection"),
    feature(shape("Polygon", square(0, 0, 500)), 5, name="complete region"),
    feature(shape("Polygon", square(0, 0, 900)), 6, name="lesion", measurements={"Area µm²": 1.5}),
    feature(
        shape("Polygon", [*square(0, 0, 50), *square(9, 9)]), 9, name="complete region", classification=TUMOUR
    ),
    feature(shape("MultiPolygon", [square(0, 0), square(50, 0)]), 10, classification=IMMUNE, color=[1, 2, 3]),
    feature(None, 7),
    feature(shape("LineString", [[0, 0], [1, 1]]), 8),
    bbox=[0, 0, 1, 1],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """A valid document in which one value, anywhere, is another one or missing."""
    document = json.loads(json.dumps(MIXED))
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys))
        inner = at[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.integers(0, 5)) == 0:
            break
        at = inner
    if draw(st.booleans()):
        at[key] = draw(JSON)
    else:
        del at[key]
    return document


def opened(document: Any) -> Points:
    points = Points("me")
    points.adopt(loads(encoded(document), "a.geojson"))
    return points


def written(points: Points) -> Any:
    return json.loads(points.to_bytes())


def test_qupaths_file_goes_in_and_out_unchanged(data: Path, tmp_path: Path) -> None:
    source = data / "interop" / "qupath05.geojson"
    points = Points.read(source)
    assert len(points) == 0 and not points.complete and len(points.features) == 3
    assert [one.properties["name"] for one in points.regions.values()] == ["UT", "I", "I"]
    points.write(tmp_path / "out.geojson")
    assert json.loads((tmp_path / "out.geojson").read_bytes()) == json.loads(source.read_bytes())


def test_a_point_added_to_qupaths_file_leaves_the_rest_as_it_was(data: Path) -> None:
    source = data / "interop" / "qupath05.geojson"
    points = Points.read(source)
    points.add((1, 2), points.add_class("tumour"))
    assert written(points)["features"][:3] == json.loads(source.read_bytes())["features"]


def test_what_counts_as_a_cell_a_region_and_neither() -> None:
    points = opened(MIXED)
    expected = [(20.25, 10.5), (2, 1), (4, 3), (6, 5), (106, 204), (5, 15)]
    np.testing.assert_allclose(points.coordinates, expected)
    assert [one.name for one in points.classes] == ["Tumour", "Immune cells", "unclassified"]
    assert [one.colour for one in points.classes][:2] == [(200, 0, 0), (150, 200, 150)]
    np.testing.assert_array_equal(points.labels, [1, 2, 2, 2, 1, 3])
    (outline,) = points.complete.values()
    np.testing.assert_array_equal(outline, [[0, 0], [0, 500], [500, 500], [500, 0]])


@pytest.mark.parametrize("document", [MIXED, MIXED["features"], MIXED["features"][0], collection(), []])
def test_every_form_of_document_is_written_as_it_was_read(document: Any) -> None:
    assert written(opened(document)) == document


def test_a_region_with_a_hole_or_of_another_type_is_not_complete_but_kept() -> None:
    hole = feature(shape("Polygon", [*square(0, 0, 50), *square(9, 9)]), 1, name="complete region")
    detection = feature(shape("Polygon", square(0, 0)), 2, objectType="tile", name="complete region")
    points = opened(collection(hole, detection))
    assert not points.complete and written(points) == collection(hole, detection)


def test_objects_of_qupath_02_are_known_by_the_type_in_their_id() -> None:
    old = {**feature(shape("Polygon", square(0, 0))), "id": "PathDetectionObject", "properties": {}}
    points = opened([old, old])
    assert len(points) == 2 and len(set(points.ids)) == 2
    assert written(points) == [old, old]
    points.move(points.ids[:1], (50, 60))
    moved = opened(written(points))
    np.testing.assert_allclose(moved.coordinates, [[50, 60], [5, 5]])


def test_features_without_ids_get_the_same_ids_in_every_reader() -> None:
    bare = {key: value for key, value in feature(shape("Point", [1, 2])).items() if key != "id"}
    one, two = opened([bare, bare]), opened([bare, bare])
    assert one.ids == two.ids and len(set(one.ids)) == 2


def test_a_member_of_a_multipoint_leaves_the_others_where_they_are() -> None:
    points = opened(MIXED)
    points.remove([points.ids[2]])
    geometry = written(points)["features"][1]["geometry"]
    assert geometry == {"type": "MultiPoint", "coordinates": [[1, 2], [5, 6, 7]], "plane": {"c": -1, "z": 2}}
    points.remove(points.ids[1:3])
    assert [one["id"] for one in written(points)["features"]] == [
        one["id"] for index, one in enumerate(MIXED["features"]) if index != 1
    ]


def test_a_member_of_another_class_becomes_a_point_of_its_own() -> None:
    points = opened(MIXED)
    chosen = points.ids[2]
    points.set_class([chosen], 1)
    assert points.labels[points.ids.index(chosen)] == 1 and len(points) == 6
    again = opened(written(points))
    np.testing.assert_allclose(np.sort(again.coordinates, axis=0), np.sort(points.coordinates, axis=0))
    assert again.counts == points.counts == {"Tumour": 3, "Immune cells": 2, "unclassified": 1}


def test_a_cells_outline_moves_with_it_and_the_rest_of_the_feature_stays() -> None:
    points = opened(MIXED)
    points.move([points.ids[4]], (116, 224))
    cell = written(points)["features"][2]
    assert cell["geometry"]["coordinates"] == square(110, 220)
    assert cell["nucleusGeometry"]["coordinates"] == square(114, 222, 4)
    assert cell["properties"] == MIXED["features"][2]["properties"]


def through_qupath(document: Any) -> Any:
    """What QuPath 0.5 keeps of a document: the members it knows, and two decimals."""

    def rounded(part: Any) -> Any:
        return [rounded(one) for one in part] if isinstance(part, list) else round(part, 2)

    known = ("objectType", "name", "color", "classification", "isLocked", "measurements", "metadata")
    return collection(
        *(
            {
                "type": "Feature",
                "id": one["id"],
                "geometry": {**one["geometry"], "coordinates": rounded(one["geometry"]["coordinates"])},
                "properties": {key: one["properties"][key] for key in known if key in one["properties"]},
            }
            for one in document["features"]
        )
    )


def test_classes_annotator_and_complete_regions_survive_a_trip_through_qupath() -> None:
    points = Points("Dr A", [CellClass("lymphocyte", (1, 2, 3), 8.5), CellClass("tumour", (4, 5, 6), 15)])
    points.add([[1.236, 2], [3, 4]], 1)
    points.add([5, 6], 2)
    points.add_complete([[0, 0], [0, 9], [9, 9]])
    again = opened(through_qupath(written(points)))
    assert again.classes == points.classes and again.annotators == ["Dr A"] * 3
    np.testing.assert_allclose(again.coordinates, points.coordinates, atol=0.01)
    np.testing.assert_array_equal(*again.complete.values(), *points.complete.values())


def test_classes_without_cells_are_kept_with_their_order() -> None:
    points = Points(classes=[CellClass("b", (1, 2, 3)), CellClass("a", (4, 5, 6), 9.0)])
    points.add((0, 0), 2)
    assert opened(written(points)).classes == points.classes


def test_recolouring_replaces_older_spellings_of_a_colour() -> None:
    points = opened([feature(shape("Point", [1, 2]), classification={**IMMUNE, "extra": 1})])
    points.recolour_class(1, (9, 8, 7))
    (one,) = written(points)["features"]
    assert one["properties"]["classification"] == {"name": "Immune cells", "extra": 1, "color": [9, 8, 7]}


def test_numbers_that_are_none_are_kept_in_measurements_as_qupath_writes_them() -> None:
    text = b'[{"type":"Feature","geometry":null,"properties":{"measurements":{"a":NaN,"b":-Infinity}}}]'
    points = Points()
    points.adopt(loads(text, "a.geojson"))
    assert b'{"a":NaN,"b":-Infinity}' in points.to_bytes()


POINT = feature(shape("Point", [1, 2]))
MALFORMED = {
    "empty": b"",
    "not UTF-8": b'{"type": "\xff"}',
    "not JSON": b"<xml/>",
    "a number": b"3",
    "a geometry of no kind": encoded(shape("Circle", [1, 2])),
    "a geometry without coordinates": encoded({"type": "Point"}),
    "no list": encoded({"type": "FeatureCollection", "features": {}}),
    "a feature that is none": encoded([1]),
    "nesting": b"[" * 200_000,
    "nesting in a feature": encoded([{**POINT, "x": 1}]).replace(
        b'"x": 1', b'"x": ' + b"[" * 9000 + b"]" * 9000
    ),
    "NaN": encoded([feature(shape("Point", [1, float("nan")]))]),
    "infinity": b'[{"type":"Feature","geometry":{"type":"Point","coordinates":[1e999,1]}}]',
    "a huge number": b'[{"type":"Feature","geometry":{"type":"Point","coordinates":[1'
    + b"0" * 400
    + b",1]}}]",
    "a string": encoded([feature(shape("Point", ["1", 2]))]),
    "true": encoded([feature(shape("Point", [True, 2]))]),
    "one number": encoded([feature(shape("Point", [1]))]),
    "no coordinates": encoded([feature({"type": "MultiPoint"})]),
    "a point too deep": encoded([feature(shape("MultiPoint", [[[1, 2]]]))]),
    "properties": encoded([{**POINT, "properties": []}]),
    "classification": encoded([feature(POINT["geometry"], classification=7)]),
    "geometry": encoded([feature("Point")]),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused_in_one_sentence_that_names_the_file(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "broken.geojson"
    path.write_bytes(content)
    with pytest.raises(
        AnnotationError, match=r"^broken\.geojson cannot be read as annotations: .*; export"
    ) as raised:
        Points.read(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


FAULTY = {
    "an empty outline": (feature(shape("Polygon", []), objectType="cell"), "its outline is empty"),
    "an empty ring": (feature(shape("Polygon", [[]]), objectType="detection"), "its outline is empty"),
    "no polygon of several": (feature(shape("MultiPolygon", [])), "its outline is empty"),
    "a cell of two corners": (
        feature(shape("Polygon", [[[0, 0], [1, 1]]]), objectType="cell"),
        "three corners",
    ),
    "two corners and back": (feature(shape("Polygon", [[[0, 0], [1, 1], [0, 0], [0, 0]]])), "three corners"),
    "a complete region of two corners": (
        feature(shape("Polygon", [[[0, 0], [1, 1]]]), name="complete region"),
        "three corners",
    ),
    "NaN": (feature(shape("Point", [1, float("nan")])), "not a number of pixels"),
    "a string": (feature(shape("Point", ["1", 2])), "not a number of pixels"),
    "no coordinates": (feature({"type": "Point"}), "not a list of x and y"),
    "no class": (feature(POINT["geometry"], classification=7), "its classification has no name"),
    "no properties": ({**POINT, "properties": []}, "its properties are not an object"),
    "something else": ({"a": 1}, 'not an object of type "Feature"'),
}


@pytest.mark.parametrize(("faulty", "why"), FAULTY.values(), ids=FAULTY)
def test_a_feature_that_cannot_be_read_is_kept_and_told_and_the_others_are_read(
    faulty: dict, why: str
) -> None:
    points = opened([POINT, POINT, faulty, POINT])
    assert len(points) == 3 and why in points.faults
    assert points.faults.startswith("1 of its 4 features cannot be read") and "its feature 3" in points.faults
    assert json.dumps(written(points)[2]) == json.dumps(faulty)
    points.add((5, 5), 1)
    assert len(points) == 4 and not opened([POINT]).faults


def test_empty_outlines_alone_are_an_empty_document() -> None:
    points = opened([feature(shape("Polygon", []), objectType="cell")])
    assert not len(points) and not points.regions and points.faults


def test_holes_and_parts_that_enclose_nothing_are_left_out() -> None:
    ring, line = [[0, 0], [9, 0], [9, 9], [0, 0]], [[1, 1], [2, 2], [1, 1]]
    parts = shape("MultiPolygon", [[ring, line, []], [line], []])
    (region,) = opened([feature(parts)]).regions.values()
    (polygon,) = region.polygons
    assert polygon.area == 40.5 and not polygon.interiors


def test_nothing_is_wrong_with_what_has_no_place() -> None:
    points = opened([POINT, feature(None), {"type": "Feature", "properties": None, "geometry": None}])
    assert len(points) == 1 and not points.faults


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "document",
    [
        [
            {"type": "FeatureCollection", "features": [POINT]},
            {"type": "FeatureCollection", "features": [POINT]},
        ],
        {
            "type": "FeatureCollection",
            "features": [{"type": "FeatureCollection", "features": [POINT]}, POINT],
        },
        [POINT["geometry"], POINT],
        {"type": "FeatureCollection", "features": [POINT["geometry"], POINT["geometry"]]},
        shape("MultiPoint", [[1, 2], [1, 2]]),
    ],
    ids=["collections", "a collection in one", "a geometry", "geometries", "several points"],
)
def test_features_are_found_wherever_they_are(document: Any, mark: str) -> None:
    points = Points()
    points.adopt(loads(json.dumps(document).encode(mark), "a.geojson"))
    assert points.coordinates.tolist() == [[2, 1], [2, 1]] and not points.faults


def test_a_geometry_alone_counts_as_a_feature() -> None:
    points = Points()
    points.adopt(loads(b"\xef\xbb\xbf" + encoded(shape("MultiPoint", [[1, 2], [3, 4]])), "a.geojson"))
    np.testing.assert_array_equal(points.coordinates, [[2, 1], [4, 3]])
    alone = {"type": "Feature", "geometry": shape("MultiPoint", [[1, 2], [3, 4]]), "properties": {}}
    assert written(points) == alone


def test_a_classification_is_an_object_its_name_or_text() -> None:
    """GDAL, geopandas and R write objects as text."""
    of = {"name": "Tumor", "color": [200, 0, 0]}
    points = opened(
        [
            feature(POINT["geometry"], number, classification=one)
            for number, one in enumerate((of, json.dumps(of), "Tumor"))
        ]
    )
    assert [(one.name, one.colour) for one in points.classes] == [("Tumor", (200, 0, 0))]
    assert points.labels.tolist() == [1, 1, 1]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.geojson cannot be read"):
        Points.read(tmp_path / "gone.geojson")


def check(content: bytes) -> None:
    """Whatever is in a file: a typed error, or a document that is written as it was read."""
    points = opened(MIXED)
    before = points.to_bytes()
    try:
        found = loads(content, "a.geojson")
    except AnnotationError:
        assert points.to_bytes() == before
        return
    points.adopt(found)
    again = Points()
    again.adopt(loads(points.to_bytes(), "a.geojson"))
    assert again.to_bytes() == points.to_bytes()
    np.testing.assert_array_equal(again.coordinates, points.coordinates)
    assert np.isfinite(points.coordinates).all() and (points.labels >= 1).all()
    for region in points.regions.values():
        assert region.class_name in {"", *(one.name for one in points.classes)} and region.area_px >= 0
    for one in (points, again):
        one.undo()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken())
@example(collection({**POINT, "id": []}))
@example(collection({**POINT, "id": True}, {**POINT, "id": ""}, {**POINT, "id": 7}, {**POINT, "id": "7"}))
def test_a_document_with_one_wrong_value(document: Any) -> None:
    check(encoded(document))


@settings(max_examples=200, deadline=None)
@given(st.one_of(JSON.map(encoded), st.binary(max_size=60)))
def test_arbitrary_json_and_arbitrary_bytes(content: bytes) -> None:
    check(content)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(encoded(MIXED)) - 1), st.binary(max_size=3))
def test_a_document_cut_short_or_overwritten(at: int, junk: bytes) -> None:
    content = encoded(MIXED)
    check(content[:at])
    check(content[:at] + junk + content[at + len(junk) :])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2, st.sampled_from([TUMOUR, IMMUNE, None])), max_size=20),
    st.text(max_size=5),
)
def test_points_of_any_kind_go_in_and_out_unchanged(
    places: list[tuple[float, float, Any]], name: str
) -> None:
    features = [
        feature(shape("Point", [x, y]), number, name=name, **({"classification": of} if of else {}))
        for number, (y, x, of) in enumerate(places)
    ]
    points = opened(collection(*features))
    np.testing.assert_array_equal(
        points.coordinates, np.array([place[:2] for place in places]).reshape(-1, 2)
    )
    assert written(points) == collection(*features)


HEAD = '{"type":"Feature", "id":"a", "geometry":{"type":"Point","coordinates":[1.0, 2.50]}'
PLAIN = '"properties": {"objectType":"annotation", "classification":{"name":"tumour","color":[1,2,3]}}'
SPACED = PLAIN.replace(":", " :", 1)
ESCAPED = PLAIN.replace("properties", "propert\\u0069es")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{HEAD}, {PLAIN}}}", True),
        (f'{HEAD}, {PLAIN}, "more": 1e3}}', True),
        (f"{HEAD},\n {PLAIN}}}", False),
        (f"{HEAD}, {PLAIN.replace('tumour', 'Tumör')}}}", False),
        (f'{HEAD}, "x": {{"properties": {{"objectType":"annotation"}}}}, {PLAIN}}}', False),
        (f'{HEAD}, "propert\\u0069es": {{}}, {PLAIN}}}', True),  # the last one counts
        (f'{HEAD}, {ESCAPED}, "x": {{"properties": {{"a": 1}}, "y": 2}}}}', False),
        (f'{HEAD}, {PLAIN}, "x": "{{{{\\"properties\\": {{}}}}"}}', True),
        (f'{HEAD}, {PLAIN}, "deep": {"[" * 500}{"]" * 500}}}', False),
        (f'{HEAD.replace(" ", "")}, "properties": {{}}}}', True),
        (f'{HEAD}, "properties": null}}', False),
        (f'{HEAD[:-1]}, "properties": {{"a": 1}}}}, {SPACED}}}', False),
        (f'{HEAD}, "properties": {{"a": 1}}, {SPACED}}}', False),  # the last one counts
    ],
)
def test_the_text_of_a_feature_is_kept_and_only_what_is_edited_is_written_anew(text: str, kept: bool) -> None:
    other = HEAD.replace('"a"', '"b"') + f", {PLAIN}}}"
    points = Points()
    points.adopt(loads(f'{{"type":"FeatureCollection","features":[{other},{text}]}}'.encode(), "a"))
    assert (text.encode() in points.to_bytes()) == kept
    before = json.loads(text)
    assert json.loads(points.to_bytes())["features"][1] == before
    points.set_class(["a"], points.add_class("new", (9, 9, 9), 7.0))
    new = json.loads(points.to_bytes())["features"][1]
    assert new.pop("properties")["classification"] == {"name": "new", "color": [9, 9, 9]}
    assert new == {key: value for key, value in before.items() if key != "properties"}


def test_a_look_that_a_later_feature_states_counts() -> None:
    place = shape("Point", [1, 2])
    looks = ({"name": "a"}, {"name": "a", "colorRGB": 66051}, "a", {"name": "a", "color": [9, 9, 9]})
    features = [feature(place, at, classification=one) for at, one in enumerate(looks)]
    features[2]["properties"]["metadata"] = {"cell_diameter_um": "7"}
    (found,) = loads(encoded(features), "a").classes
    assert found == CellClass("a", (1, 2, 3), 7.0)


PLACE = st.tuples(*[st.floats(-1e5, 1e5)] * 2)
CORNER = st.tuples(*[st.floats(-25, 25)] * 2)


@given(st.lists(CORNER, min_size=3, max_size=9), PLACE, st.booleans())
@example([(0.0, 0.0), (0.0, 9.0), (9.0, 9.0)], (1e5, 1e5), True)
@example([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)], (0.0, 0.0), True)
@example([(1e13, 0.0), (0.0, 1.0), (2.0, 2.0)], (0.0, 0.0), True)
def test_the_centre_of_an_outline_is_that_of_shapely(
    corners: list[tuple[float, float]], offset: tuple[float, float], closed: bool
) -> None:
    ring = (np.array([*corners, *corners[:closed]]) + offset).tolist()
    twice = {"type": "MultiPolygon", "coordinates": [[ring]]}
    try:
        expected = centroid_of(twice)
    except ValueError:
        with pytest.raises(ValueError):
            centroid_of({"type": "Polygon", "coordinates": [ring]})
        return
    found = centroid_of({"type": "Polygon", "coordinates": [ring]})
    # The centre of parts that cancel each other is anywhere, in both.
    assume(not 0 < shapely.Polygon(ring).area < 1)
    assert found == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.floats(5, 50), min_size=3, max_size=12), PLACE)
def test_the_centre_of_a_cell_is_exact_wherever_it_is(radii: list[float], place: tuple[float, float]) -> None:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    ring = np.array(radii)[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    centre = shapely.Polygon(ring).centroid  # near zero, where nothing is rounded
    coordinates = [(np.vstack([ring, ring[:1]]) + place).tolist()]
    found = centroid_of({"type": "Polygon", "coordinates": coordinates})
    assert found == pytest.approx((place[1] + centre.y, place[0] + centre.x), abs=1e-6)


def test_garbage_is_collected_again_after_reading_or_giving_up() -> None:
    content = encoded([feature(shape("Point", [1, 2]))] * 600)
    steps = geojson.read_steps(content, "a", geojson.opened)
    assert next(steps) == (500, 600) and not gc.isenabled()
    steps.close()
    assert gc.isenabled()
    with pytest.raises(AnnotationError):
        loads(b"{", "a")
    assert gc.isenabled()
