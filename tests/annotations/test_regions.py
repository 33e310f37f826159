from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations.regions import area_of, read_regions, union_of
from napari_zoommil.errors import AnnotationError, FileError

RING = [[1, 2], [30, 2], [30, 40], [1, 2]]
HOLE = [[20, 5], [25, 5], [25, 10], [20, 5]]
AREA = 29 * 38 / 2 - 5 * 5 / 2
OUTLINE = [[y, x] for x, y in RING]
POLYGON = {"type": "Polygon", "coordinates": [RING, HOLE]}
POINT = {"type": "Point", "coordinates": [1, 2]}


def feature(geometry: object) -> dict:
    return {"type": "Feature", "geometry": geometry, "properties": {}}


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [feature(POINT), feature(POLYGON), feature(None)]},
        [feature(POLYGON)],
        feature(POLYGON),
        POLYGON,
        {"type": "GeometryCollection", "geometries": [POINT, POLYGON]},
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "with a byte order mark"])
def test_polygons_are_regions_however_they_are_wrapped(document: object, mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_bytes(mark + json.dumps(document).encode())
    (found,) = read_regions(tmp_path / "a.geojson", origin=None)
    assert shapely.get_coordinates(found.exterior).tolist() == OUTLINE
    assert [shapely.get_coordinates(one).tolist() for one in found.interiors] == [[[y, x] for x, y in HOLE]]
    assert found.area == AREA


@pytest.mark.parametrize("name", ["one-empty-outline", "one-outline-of-two-corners"])
def test_an_outline_that_cannot_be_read_is_told_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    bad = {"one-empty-outline": [], "one-outline-of-two-corners": [[[1, 2], [3, 4], [1, 2]]]}[name]
    document = [feature(POLYGON), feature({"type": "Polygon", "coordinates": bad}), feature(POLYGON)]
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    with pytest.warns(UserWarning, match=r"^a\.geojson: 1 of its 3 features cannot be read .*its feature 2"):
        assert len(read_regions(tmp_path / "a.geojson", origin=None)) == 2


def test_parts_are_regions_of_their_own(tmp_path: Path) -> None:
    parts = {"type": "MultiPolygon", "coordinates": [[RING], [[[x + 50, y] for x, y in RING]]]}
    (tmp_path / "a.geojson").write_text(json.dumps(feature(parts)))
    assert len(read_regions(tmp_path / "a.geojson", origin=None)) == 2


@pytest.mark.parametrize(
    ("rings", "said"),
    [
        ([], "holds no polygon"),
        ([[]], "holds no polygon"),
        ([[[0, 0], [9, 0], [9, float("nan")], [0, 0]]], "its feature 1 is malformed: a coordinate is not"),
        ([[[0, 0], [9, 0]]], "its feature 1 is malformed"),
        ([3], "its feature 1 is malformed: its outline is not a list of positions"),
    ],
)
def test_polygons_without_a_shape_are_refused(rings: list, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps(feature({"type": "Polygon", "coordinates": rings})))
    with pytest.raises(AnnotationError, match=said):
        read_regions(tmp_path / "a.geojson", origin=None)


def test_without_a_polygon_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps([feature(POINT)]))
    with pytest.raises(AnnotationError, match="holds no polygon; draw a region"):
        read_regions(tmp_path / "a.geojson", origin=None)
    with pytest.raises(FileError, match=r"nowhere\.geojson cannot be read"):
        read_regions(tmp_path / "nowhere.geojson", origin=None)


def test_outlines_and_polygons_cover_the_same() -> None:
    outline = np.array(OUTLINE, float)
    assert area_of(outline).equals(area_of(shapely.Polygon(OUTLINE)))
    twice = union_of([outline, shapely.Polygon(OUTLINE), outline + 100])
    assert twice.area == pytest.approx(29 * 38)
    bow = np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]])
    assert union_of([bow]).area == pytest.approx(50)
    assert union_of([]).is_empty


def test_what_is_cut_out_is_not_covered(data: Path) -> None:
    (whole,) = read_regions(data / "cases" / "region-with-bom.geojson", origin=None)
    (cut,) = read_regions(data / "cases" / "region-with-hole.geojson", origin=None)
    assert (whole.area, cut.area) == (400 * 300, 400 * 300 - 200 * 200)
    assert shapely.equals(whole.exterior, cut.exterior)
    assert not shapely.contains_xy(area_of(cut), 300, 350) and shapely.contains_xy(area_of(whole), 300, 350)


values = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["Polygon", "FeatureCollection"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "features", "geometry", "coordinates"]), inner)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values)
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    try:
        for one in read_regions(tmp_path / "a.geojson", origin=None):
            corners = shapely.get_coordinates(one)
            assert len(corners) > 2 and np.isfinite(corners).all()
    except AnnotationError as error:
        assert "a.geojson" in str(error)
