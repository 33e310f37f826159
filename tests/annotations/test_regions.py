from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.errors import AnnotationError

RING = [[1, 2], [30, 2], [30, 40], [1, 2]]
HOLE = [[20, 5], [25, 5], [25, 10], [20, 5]]
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
    ],
)
def test_polygons_are_regions_however_they_are_wrapped(document: object, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    assert [one.tolist() for one in read_regions(tmp_path / "a.geojson")] == [OUTLINE]


def test_parts_are_regions_of_their_own(tmp_path: Path) -> None:
    parts = {"type": "MultiPolygon", "coordinates": [[RING], [[[x + 50, y] for x, y in RING]]]}
    (tmp_path / "a.geojson").write_text(json.dumps(feature(parts)))
    assert len(read_regions(tmp_path / "a.geojson")) == 2


@pytest.mark.parametrize(
    ("rings", "said"),
    [([], "holds no polygon"), ([[[0, 0], [9, 0], [9, float("nan")], [0, 0]]], "no number")],
)
def test_polygons_without_a_shape_are_refused(rings: list, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps(feature({"type": "Polygon", "coordinates": rings})))
    with pytest.raises(AnnotationError, match=said):
        read_regions(tmp_path / "a.geojson")


def test_without_a_polygon_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps([feature(POINT)]))
    with pytest.raises(AnnotationError, match="holds no polygon; draw a region"):
        read_regions(tmp_path / "a.geojson")
    with pytest.raises(AnnotationError, match="is not GeoJSON with regions"):
        read_regions(tmp_path / "nowhere.geojson")


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
        for one in read_regions(tmp_path / "a.geojson"):
            assert len(one) > 2 and one.shape[1] == 2 and np.isfinite(one).all()
    except AnnotationError as error:
        assert "a.geojson" in str(error)
