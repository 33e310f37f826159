"""What napari's *Save Layers* writes of slides and their annotations."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Points as PointsLayer

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.viewer.layers.points import PointsView
from napari_zoommil.viewer.layers.regions import RegionsView
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.writer import write_annotations, write_layers

TRIANGLE = np.array([[0, 0], [0, 90], [80, 90]])


@pytest.fixture
def annotated(model, small_slide, add_slide):
    """A viewer with a slide, two points of two classes, and a region; and its document."""
    slide = slide_of(add_slide(model, small_slide))
    points = Points("", [CellClass("tumour", (200, 0, 0)), CellClass("stroma", (0, 200, 0))])
    views = PointsView(model, slide, points), RegionsView(model, slide, points)
    points.add((100, 200), 1)
    points.add((300, 400), 2)
    points.add_region(TRIANGLE, 1)
    return model, points, views


def test_the_classes_are_features_of_the_layer(annotated) -> None:
    _, points, (view, _) = annotated
    assert list(view.layer.features["class"]) == ["tumour", "stroma"]
    points.add([(5, 5), (6, 6)], 2)
    points.set_class(points.ids[:1], 2)
    points.rename_class(2, "other")
    points.remove(points.ids[1:2])
    names = {1: "tumour", 2: "other"}
    assert list(view.layer.features["class"]) == [names[label] for label in points.labels]
    points.undo()
    assert len(view.layer.features) == len(points) == 4


def test_a_layer_of_annotations_is_their_geojson(annotated, tmp_path: Path) -> None:
    _, points, (view, regions) = annotated
    for layer in (view.layer, regions.layer):
        data, meta, _ = layer.as_layer_data_tuple()
        (written,) = write_annotations(str(tmp_path / "a"), data, meta)
        again = Points.read(written)
        assert written.endswith("a.geojson") and again.coordinates.tolist() == points.coordinates.tolist()
        assert len(again.regions) == 1 and again.classes == points.classes


def test_all_layers_go_into_one_folder(annotated, tmp_path: Path) -> None:
    viewer, _, _ = annotated
    viewer.add_points(np.zeros((3, 2)), name="mine")
    layers = [layer.as_layer_data_tuple() for layer in viewer.layers]
    written = write_layers(str(tmp_path / "all"), layers)
    assert sorted(Path(one).name for one in written) == [
        "mine.csv",
        "small.points.geojson",
        "small.slide.json",
    ]
    assert all(Path(one).is_file() for one in written)
    place = json.loads((tmp_path / "all" / "small.slide.json").read_text(encoding="utf-8"))
    assert place["slide"] == "small.tif" and place["mpp"] == [0.25, 0.25]


def test_points_of_others_are_tables_as_ever(tmp_path: Path) -> None:
    data, meta, _ = PointsLayer([[1, 2]]).as_layer_data_tuple()
    (written,) = write_annotations(str(tmp_path / "a.geojson"), data, meta)
    with open(written, encoding="utf-8") as file:
        assert written.endswith("a.csv") and len(list(csv.reader(file))) == 2


def test_layers_of_others_are_written_by_napari(model, tmp_path: Path) -> None:
    for name in ("one", "two"):
        model.add_image(np.zeros((4, 4), np.uint8), name=name)
    written = write_layers(str(tmp_path / "all"), [layer.as_layer_data_tuple() for layer in model.layers])
    assert sorted(Path(one).name for one in written) == ["one.tif", "two.tif"]


def test_the_manifest_offers_them(annotated, tmp_path: Path) -> None:
    viewer, _, (view, _) = annotated
    view.layer.save(str(tmp_path / "points.geojson"))
    assert len(Points.read(tmp_path / "points.geojson")) == 2
    view.layer.save(str(tmp_path / "points.csv"))
    with open(tmp_path / "points.csv", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["tumour", "stroma"]
    assert viewer.layers.save(str(tmp_path / "all"))
    assert (tmp_path / "all" / "small.points.geojson").is_file()
