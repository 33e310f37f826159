"""Attention against a known region, in numbers, and the files of the experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.zoom_maps.numbers import SlideMaps, average_precision, outline_beside
from napari_zoommil.jobs import run

SQUARE = np.array([[0, 0], [0, 16], [16, 16], [16, 0]], float)


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


def test_maps_of_a_trained_model(coloured: Path, tmp_path: Path) -> None:
    assert outline_beside(coloured / "pink0.tif") == ()
    (ring,) = outline_beside(coloured / "violet1.tif")
    assert (*ring.min(0), *ring.max(0)) == (128, 128, 256, 384), "y and x; the file has x and y"
    result = run(reproduce("zoom-maps", out=tmp_path, data=coloured, only=["zoommil/0"], device="cpu"))
    slides = result.results["slides"]["0"]
    assert len(slides) == 2 and [len(one["maps"]) for one in slides.values()] == [0, 5]
    pictures = [path for path in result.files if path.suffix == ".png"]
    assert len(pictures) == 2 and all(Image.open(path).width > 1000 for path in pictures)
    table = (tmp_path / "zoom-maps" / "table.md").read_text()
    assert "| 5x | pooling |" in table and "| 10x | zooming |" in table and "| 20x | zooming |" not in table
