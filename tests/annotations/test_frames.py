"""Coordinates of QuPath count from where the slide was scanned; ours count from its corner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.annotations import CellClass, Conflict, Points, Stranger
from napari_zoommil.annotations.autosave import Autosave
from napari_zoommil.annotations.feature import Kind
from napari_zoommil.annotations.geojson import in_frame, loads
from napari_zoommil.annotations.reading import read_content
from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.commands.comparing import Comparing
from napari_zoommil.experiments.zoom_maps.numbers import outline_beside
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.encoder_places import Annotated
from napari_zoommil.slides import Slide

ORIGIN = (224.0, 320.0)
SQUARE = [[10, 20], [40, 20], [40, 60], [10, 60], [10, 20]]
TUMOUR = CellClass("tumour", (200, 0, 0))


def feature(geometry: object, **properties: object) -> dict:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


DOCUMENT = {
    "type": "FeatureCollection",
    "features": [
        feature({"type": "Point", "coordinates": [1.25, 2.5]}, classification={"name": "tumour"}),
        feature({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        feature({"type": "Polygon", "coordinates": [SQUARE]}, objectType="annotation"),
        feature({"type": "Polygon", "coordinates": [SQUARE]}, objectType="detection"),
        feature({"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [SQUARE]}]}),
    ],
}


def bytes_of(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.fixture
def glass(data: Path, tmp_path: Path) -> Path:
    """A copy of a slide of which only a part was scanned."""
    return Path(shutil.copy(data / "cases" / "glass.scn", tmp_path))


def test_points_of_qupath_lie_on_nuclei(data: Path, glass: Path) -> None:
    with Slide.open(glass) as slide:
        assert slide.origin == ORIGIN
        points = Points.read(data / "cases" / "glass-qupath-points.geojson", origin=slide.origin)
        assert len(points) == 8 and not points.outside(slide.shape).any()
        for y, x in points.coordinates:
            assert slide.read_level(0, round(y) - 2, round(x) - 2, 5, 5).mean() < 130


def test_a_slide_that_was_scanned_whole_counts_from_its_corner(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        assert slide.origin == (0, 0)


def test_everything_in_a_document_is_moved_and_written_as_it_was() -> None:
    moved, still = loads(bytes_of(DOCUMENT), "a", ORIGIN), loads(bytes_of(DOCUMENT), "a")
    assert [one.raw for one in moved.features] == [one.raw for one in still.features]
    for one, two in zip(moved.features, still.features, strict=True):
        places = np.array([mark[1:] for mark in one.marks]), np.array([mark[1:] for mark in two.marks])
        np.testing.assert_allclose(places[0], places[1] + (ORIGIN if len(one.marks) else 0))
        for a, b in zip(one.polygons, two.polygons, strict=True):
            np.testing.assert_allclose(shapely.get_coordinates(a), shapely.get_coordinates(b) + ORIGIN)


PLACES = st.tuples(st.floats(0, 1e5), st.floats(0, 1e5))


@given(PLACES, PLACES)
def test_what_is_drawn_is_read_back_at_its_place(origin: Pair, place: Pair) -> None:
    points = Points("me", [TUMOUR], origin)
    points.add(place, 1)
    points.add_region(np.array([[0, 0], [0, 90], [80, 90]]) + place, 1)
    points.move(points.ids, np.array([place]) + 3)
    again = loads(points.to_bytes(), "a", origin)
    (mark,), polygons = again.features[0].marks, again.features[1].polygons
    np.testing.assert_allclose(mark[1:], np.add(place, 3), atol=1e-6)
    np.testing.assert_allclose(polygons[0].bounds[:2], place, atol=1e-6)
    unknown = loads(points.to_bytes(), "a")  # it says itself from where it counts
    np.testing.assert_allclose(unknown.features[0].marks[0][1:], np.add(place, 3), atol=1e-6)


def test_what_qupath_reads_counts_from_the_scan(tmp_path: Path) -> None:
    points = Points("", [TUMOUR], ORIGIN)
    points.add((300, 400), 1)
    points.write(tmp_path / "a.geojson")
    document = json.loads((tmp_path / "a.geojson").read_bytes())
    assert document["features"][0]["geometry"]["coordinates"] == [80, 76]


def test_an_older_document_of_ours_counts_from_the_corner() -> None:
    own = {**DOCUMENT, "napari_zoommil": {"classes": [{"name": "tumour", "color": [1, 2, 3]}]}}
    content = loads(bytes_of(own), "a", ORIGIN)
    assert content.envelope.origin == (0, 0) and content.features[0].marks[0][1:] == (2.5, 1.25)


def test_xml_counts_from_the_corner(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        '<ASAP_Annotations><Annotations><Annotation Type="Dot" PartOfGroup="tumour"><Coordinates>'
        '<Coordinate Order="0" X="400" Y="300"/></Coordinates></Annotation></Annotations></ASAP_Annotations>'
    )
    assert read_content(path, ORIGIN).features[0].marks[0][1:] == (300, 400)
    points = Points("", (), ORIGIN)
    points.take_in(Points.read(path, origin=ORIGIN))
    assert points.coordinates.tolist() == [[300, 400]]
    assert json.loads(points.to_bytes())["features"][0]["geometry"]["coordinates"] == [80, 76]


def test_regions_are_moved(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_bytes(bytes_of({"type": "Polygon", "coordinates": [SQUARE]}))
    (region,) = read_regions(tmp_path / "a.geojson", origin=ORIGIN)
    assert region.bounds == (244, 330, 284, 360)


@pytest.fixture
def square(glass: Path) -> Path:
    """A file beside the slide with one region, 100×100 px, at the corner of what was scanned."""
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    region = feature({"type": "Polygon", "coordinates": [ring]}, classification={"name": "tumour"})
    bad = feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]})
    path = glass.with_suffix(".geojson")
    path.write_bytes(bytes_of([region, bad]))
    return path


PLACE = (224, 320, 324, 420)


def test_maps_are_compared_with_regions_where_they_lie_on_the_slide(
    glass: Path, square: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[float, ...]] = []

    def compared(_found: object, regions: tuple[shapely.Polygon, ...], **_: object) -> None:
        seen.extend(one.bounds for one in regions)
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_zoommil.commands.comparing.slide_agreement", compared)
    for source in (square, square.parent):
        comparing = Comparing(source, "tumour", {})
        told = pytest.warns(UserWarning, match="1 of its 2 features")
        with Slide.open(glass) as slide, told, pytest.raises(KeyboardInterrupt):
            comparing.compare(glass, slide, Mock(focus=Mock(at=None)), tmp_path)
    assert seen == [PLACE, PLACE]


def test_patches_are_labelled_by_regions_where_they_lie_on_the_slide(glass: Path, square: Path) -> None:
    with Slide.open(glass) as slide, pytest.warns(UserWarning, match=r"^glass\.geojson: 1 of its 2 features"):
        areas = Annotated().regions(glass, slide.stem, slide.origin)
    assert {name: area.bounds for name, area in areas.items()} == {"tumour": PLACE}


def test_maps_of_experiments_know_where_regions_lie_on_the_slide(glass: Path, square: Path) -> None:
    with pytest.warns(UserWarning, match="1 of its 2 features"):
        (outline,) = outline_beside(glass)
    assert outline.bounds == PLACE


def test_nobody_forgets_from_where_coordinates_count(square: Path) -> None:
    for read in (read_content, read_regions):
        with pytest.raises(TypeError, match="origin"):
            read(square)


def test_a_document_read_without_its_slide_is_placed_later() -> None:
    points = Points()
    points.adopt(loads(bytes_of(DOCUMENT), "a"))
    placed = points.placed(ORIGIN)
    np.testing.assert_allclose(placed.coordinates, points.coordinates + ORIGIN)
    assert placed.placed((9, 9)) is placed and len(placed.regions) == 2


def test_a_document_in_another_frame_is_the_same_on_the_slide() -> None:
    content = loads(bytes_of(DOCUMENT), "a", ORIGIN)
    other = in_frame(content, (100.0, 50.0))
    assert [one.marks for one in other.features] == [one.marks for one in content.features]
    again = loads(bytes_of({**DOCUMENT, "features": [one.raw for one in other.features]}), "a", (100.0, 50.0))
    for one, two in zip(again.features, content.features, strict=True):
        places = [[mark[1:] for mark in each.marks] for each in (one, two)]
        np.testing.assert_allclose(*places)


ODD = (
    {"type": "LineString", "coordinates": [["1", "2"]]},
    {"type": "LineString", "coordinates": [[1], [2]]},
    {"type": "LineString", "coordinates": [[1, 2], None]},
    {"type": "LineString", "coordinates": [[1, 2], "ab", {"c": []}]},
    {"type": "LineString", "coordinates": [[1, 2], [True, 3]]},
)


@pytest.mark.parametrize(
    "geometry", [*ODD, *({"type": "GeometryCollection", "geometries": [one]} for one in ODD)]
)
def test_what_holds_no_positions_stays_as_it_is(geometry: dict) -> None:
    content = loads(bytes_of([feature(geometry, objectType="tile"), DOCUMENT["features"][0]]), "a", ORIGIN)
    odd, sound = in_frame(content, (100.0, 50.0)).features
    assert odd.raw["geometry"] == geometry and odd.kind is Kind.OTHER
    assert odd.fault in ("a position is not a list of x and y", "a coordinate is not a number of pixels")
    assert sound.raw["geometry"]["coordinates"] == [1.25 + 270, 2.5 + 124]


def test_a_region_beside_what_holds_no_positions_still_counts() -> None:
    sound = {"type": "Polygon", "coordinates": [SQUARE]}
    for other in (None, ODD[0], 3):
        both = feature({"type": "GeometryCollection", "geometries": [other, sound]})
        (region,) = in_frame(loads(bytes_of([both]), "a", ORIGIN), (100.0, 50.0)).features
        assert region.kind is Kind.REGION and not region.fault and len(region.polygons) == 1
        still, moved = region.raw["geometry"]["geometries"]
        assert still == other and moved["coordinates"][0][0] == [10 + 270, 20 + 124]


@pytest.fixture
def namesakes(data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two slides whose names differ in their ending only."""
    names = ("case1.tif", "case1.ome.tif")
    first, second = (Path(shutil.copy(data / "cases" / "same-stem" / name, tmp_path)) for name in names)
    return first, second


def test_slides_of_one_name_have_documents_of_their_own(namesakes: tuple[Path, Path]) -> None:
    for path, place in zip(namesakes, [(300.0, 400.0), (10.0, 20.0)], strict=True):
        with Slide.open(path) as slide:
            Autosave.of(slide, "", [TUMOUR]).points.add(place, 1)
    for path, place in zip(namesakes, [[300.0, 400.0], [10.0, 20.0]], strict=True):
        with Slide.open(path) as slide:
            kept = Autosave.of(slide)
            assert kept.points.coordinates.tolist() == [place]
            stated = json.loads(kept.path.read_bytes())["napari_zoommil"]
            assert stated["slide"] == slide.fingerprint and len(stated["document"]) == 32


def test_a_document_that_is_there_stays_with_its_slide(namesakes: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = namesakes
    away = second.rename(tmp_path / "away")
    with Slide.open(first) as slide:
        kept = Autosave.of(slide, "", [TUMOUR])
        kept.points.add((300, 400), 1)
        assert kept.path.name == "case1.points.geojson"
    away.rename(second)
    with Slide.open(second) as slide:
        other = Autosave.of(slide, "", [TUMOUR])
        assert not len(other.points) and other.path.name == "case1.ome.tif.points.geojson"
    with Slide.open(first) as slide:
        assert Autosave.of(slide).points.coordinates.tolist() == [[300, 400]]


def test_a_stranger_in_the_place_of_an_open_document_is_put_aside(glass: Path) -> None:
    told: list[str] = []
    with Slide.open(glass) as slide:
        kept = Autosave.of(slide, "", [TUMOUR])
        kept.merged.connect(lambda conflicts: told.extend(one.note for one in conflicts))
        kept.points.add([(300, 400), (310, 410)], 1)
        kept.path.write_bytes(bytes_of(DOCUMENT))
        assert kept.refresh()
        assert len(kept.points) == len(Points.read(kept.path, origin=slide.origin)) == 2
    (aside,) = glass.parent.glob("*.other-1.geojson")
    assert aside.read_bytes() == bytes_of(DOCUMENT)
    assert "share nothing" in told[0] and aside.name in told[0]


@pytest.fixture
def replaced(glass: Path) -> Iterator[tuple[Autosave, Stranger]]:
    """A document with 2 points, and the stranger that took its place."""
    told: list[Conflict] = []
    with Slide.open(glass) as slide:
        kept = Autosave.of(slide, "", [TUMOUR])
        kept.merged.connect(told.extend)
        kept.points.add([(300, 400), (310, 410)], 1)
        kept.path.write_bytes(bytes_of(DOCUMENT))
        assert kept.refresh()
    (stranger,) = told
    assert isinstance(stranger, Stranger)
    yield kept, stranger


def test_a_stranger_may_be_taken_and_ours_is_kept_aside(replaced: tuple[Autosave, Stranger]) -> None:
    kept, stranger = replaced
    before, classes = kept.points.coordinates.tolist(), kept.points.classes
    aside = kept.take(stranger)
    assert aside.name.endswith(".mine-1.geojson") and stranger.path.read_bytes() == bytes_of(DOCUMENT)
    assert Points.read(aside).coordinates.tolist() == before
    theirs = Points.read(stranger.path, origin=ORIGIN)
    for now in (kept.points, Points.read(kept.path)):
        assert set(now.features) == set(theirs.features) and now.classes == theirs.classes
        np.testing.assert_allclose(now.coordinates, theirs.coordinates)
    kept.points.undo()
    for now in (kept.points, Points.read(kept.path)):
        assert now.coordinates.tolist() == before and now.classes == classes
    kept.points.redo()
    assert set(kept.points.features) == set(theirs.features) and not kept.refresh()


def test_a_stranger_may_be_added_to_ours(replaced: tuple[Autosave, Stranger]) -> None:
    kept, stranger = replaced
    ours = set(kept.points.features)
    kept.take_in(stranger)
    assert set(Points.read(kept.path).features) == ours | {one.id for one in stranger.content.features}
    kept.points.undo()
    assert set(Points.read(kept.path).features) == ours and stranger.path.exists()


def test_the_file_beside_a_slide_is_qupaths(glass: Path) -> None:
    with Slide.open(glass) as slide:
        kept = Autosave.of(slide, "", [TUMOUR])
        kept.points.add((300, 400), 1)
        document = json.loads(kept.path.read_bytes())
        assert document["features"][0]["geometry"]["coordinates"] == [80, 76]
        # QuPath knows neither our member nor from where our places count
        theirs = {"type": "FeatureCollection", "features": [*document["features"], DOCUMENT["features"][0]]}
        kept.path.write_bytes(bytes_of(theirs))
        assert kept.refresh()
        assert kept.points.coordinates.tolist() == [[300, 400], [2.5 + 224, 1.25 + 320]]
        again = Autosave.of(slide)
        assert again.points.coordinates.tolist() == kept.points.coordinates.tolist()
