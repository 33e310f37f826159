"""Attention against a known region, in numbers, and the files of the experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from PIL import Image

from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.zoom_maps.numbers import SlideMaps, average_precision, outline_beside
from napari_zoommil.files import write_json
from napari_zoommil.jobs import run
from napari_zoommil.maps.agreement import coverage

SQUARE = shapely.box(0, 0, 16, 16)


def test_attention_on_the_region_and_off_it(make_grid: Callable) -> None:
    grid = make_grid(2, 2, (5.0, 10.0))
    inside = np.array([1, 0, 0, 0], bool)  # the first of four patches of 16 px is the region
    right, wrong = (np.where(inside == on, 4.0, -4.0).astype(np.float32)[:, None] for on in (True, False))
    rows, heads = (np.arange(4), np.arange(4)), ("attention", "zoom")
    scores = np.hstack([right, wrong]), right
    maps = SlideMaps(grid, "tumour", "tumour", rows, scores, heads, (SQUARE,))
    pooling, zoom, finer = maps.numbers()
    assert (pooling.magnification, pooling.head, pooling.patches) == (5.0, "attention", 4)
    assert pooling.inside > 0.99 and pooling.expected == pooling.chance == 0.25 and pooling.precision == 1
    assert zoom.inside < 0.01 and zoom.precision == pytest.approx(0.25)
    assert finer.magnification == 10.0 and finer.precision is None, "all that was read there is of the region"
    assert maps.right and maps.told()["maps"][0]["inside"] == pooling.inside
    assert SlideMaps(grid, "a", "b", maps.rows, maps.scores, maps.heads, ()).numbers() == []


def test_average_precision_is_undefined_without_both_kinds() -> None:
    scores = np.array([3, 2, 1], np.float32)
    assert average_precision(scores, np.array([True, True, False])) == 1
    assert average_precision(scores, np.array([False, False, True])) == pytest.approx(1 / 3)
    assert (
        average_precision(scores, np.ones(3, bool)) is None
        and average_precision(scores, np.zeros(3, bool)) is None
    )


def test_parts_and_holes_of_regions_count(make_grid: Callable, tmp_path: Path) -> None:
    """The first patch but for a hole of a quarter of it, and the last patch."""
    holed = shapely.Polygon(SQUARE.exterior.coords, [shapely.box(4, 4, 12, 12).exterior.coords])
    parts = shapely.MultiPolygon([holed, shapely.box(16, 16, 32, 32)])
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(parts)}
    write_json(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": [feature]})
    slide = tmp_path / "a.ome.tif"
    tifffile.imwrite(slide, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    outline = outline_beside(slide)
    assert [len(one.interiors) for one in outline] == [1, 0]
    grid = make_grid(2, 2, (5.0, 10.0))
    assert coverage(grid, 0, np.arange(4), outline).tolist() == [0.75, 0, 0, 1]
    point = {**feature, "geometry": {"type": "Point", "coordinates": [1, 2]}}
    for number, features in enumerate([[], [point]]):
        write_json(tmp_path / f"{number}.geojson", {"type": "FeatureCollection", "features": features})
        assert outline_beside(slide.rename(slide.with_name(f"{number}.tif"))) == ()
        slide = slide.with_name(f"{number}.tif")


def test_maps_of_a_trained_model(coloured: Path, tmp_path: Path) -> None:
    assert outline_beside(coloured / "pink0.tif") == ()
    (found,) = outline_beside(coloured / "violet1.tif")
    assert found.bounds == (128, 128, 256, 384), "y and x; the file has x and y"
    result = run(reproduce("zoom-maps", out=tmp_path, data=coloured, only=["zoommil/0"], device="cpu"))
    slides = result.results["slides"]["0"]
    assert len(slides) == 2 and [len(one["maps"]) for one in slides.values()] == [0, 5]
    pictures = [path for path in result.files if path.suffix == ".png"]
    assert len(pictures) == 2 and all(Image.open(path).width > 1000 for path in pictures)
    table = (tmp_path / "zoom-maps" / "table.md").read_text()
    assert "| 5x | pooling |" in table and "| 10x | zooming |" in table and "| 20x | zooming |" not in table
