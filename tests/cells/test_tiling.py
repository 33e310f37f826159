from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.cells.model import Finds
from napari_zoommil.cells.tiling import (
    CORE_PX,
    OnTissue,
    Regions,
    in_core,
    merge_seams,
    read_tiles,
    tile_corners,
)
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue

SQUARE = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])


def finds_at(centres: np.ndarray, size: float = 10.0) -> Finds:
    half = size / 2
    boxes = np.concatenate([centres - half, centres + half], 1)
    return Finds(boxes, np.linspace(0.9, 0.5, len(centres)), np.ones(len(centres), np.int64))


@given(st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 1100)), max_size=40, unique=True))
def test_each_cell_counts_once(places: list[tuple[int, int]]) -> None:
    centres = np.array(places, float).reshape(-1, 2) + 0.25
    corners = np.indices((3, 3)).reshape(2, -1).T * CORE_PX
    margin = 40
    parts = []
    for corner in corners:
        near = ((centres >= corner - margin) & (centres < corner + CORE_PX + margin)).all(1)
        parts.append(in_core(finds_at(centres[near] - corner + margin, 0.5), margin))
    found = merge_seams(parts, corners)
    assert sorted(map(tuple, found.centres.tolist())) == sorted(map(tuple, centres.tolist()))


def test_of_two_halves_of_a_rounding_one_stays() -> None:
    left = finds_at(np.array([[100.0, CORE_PX - 0.1]]))
    right = finds_at(np.array([[100.0, 0.1]]))
    found = merge_seams([left, right], np.array([[0, 0], [0, CORE_PX]]))
    assert len(found) == 1 and found.scores[0] == 0.9


def test_close_cells_of_one_tile_stay_near_a_seam() -> None:
    close = finds_at(np.array([[100.0, CORE_PX - 3.0], [100.0, CORE_PX - 8.0]]))  # IoU 1/3
    other = finds_at(np.array([[300.0, 3.0]]))
    found = merge_seams([close, other], np.array([[0, 0], [0, CORE_PX]]))
    assert len(found) == 3
    twice = finds_at(np.array([[100.0, 0.5]]))  # the first of them, as the other tile sees it
    found = merge_seams([close, twice], np.array([[0, 0], [0, CORE_PX]]))
    assert sorted(found.centres[:, 1].tolist()) == [CORE_PX - 8.0, CORE_PX - 3.0]


def test_regions_are_touched_contained_and_measured_once() -> None:
    area = Regions([SQUARE, SQUARE + np.array([0, 5])], (100, 100))
    assert area.px == pytest.approx(150)
    np.testing.assert_array_equal(area.contains(np.array([[5.0, 12.0], [5.0, 16.0]])), [True, False])
    np.testing.assert_array_equal(area.touches(np.array([[8.0, 8.0], [20.0, 20.0]]), (4, 4)), [True, False])


def test_a_region_that_crosses_itself_is_taken_for_what_it_covers() -> None:
    bow = Regions([np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]])], (100, 100))
    assert bow.px == pytest.approx(50)
    assert bow.contains(np.array([[1.0, 5.0], [5.0, 1.0]])).tolist() == [True, False]


def test_a_hole_is_not_searched() -> None:
    ring = Regions([shapely.Polygon(SQUARE, [SQUARE / 2 + 2])], (100, 100))
    assert ring.px == pytest.approx(75)
    assert ring.contains(np.array([[1.0, 1.0], [5.0, 5.0]])).tolist() == [True, False]
    assert ring.touches(np.array([[3.0, 3.0], [0.0, 0.0]]), (2, 2)).tolist() == [False, True]


def test_what_lies_off_the_slide_is_no_area() -> None:
    area = Regions([SQUARE - (4, 0), SQUARE - (0, -95)], (100, 100))
    assert area.px == pytest.approx(6 * 10 + 10 * 5)
    np.testing.assert_array_equal(area.contains(np.array([[-1.0, 5.0], [1.0, 5.0], [5.0, 104.0]])), [0, 1, 0])
    assert Regions([SQUARE - (20, 0)], (100, 100)).covered.is_empty


def test_tissue_is_an_area_too() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:5] = True
    area = OnTissue(Tissue(mask, (16.0, 16.0)), (160, 150))
    assert area.px == 80 * 150, "as far as the slide"
    points = np.array([[10.0, 10.0], [100.0, 10.0], [10.0, 155.0], [-1.0, 5.0]])
    assert area.contains(points).tolist() == [True, False, False, False]
    assert area.touches(np.array([[0.0, 0.0], [100.0, 0.0]]), (20, 20)).tolist() == [True, False]


def test_only_tiles_that_show_the_area_are_read() -> None:
    edge = 5 * CORE_PX  # two and a half cores
    region = np.array([[0.0, 0.0], [0.0, 100.0], [edge, 100.0], [edge, 0.0]])
    corners = tile_corners((edge + 1000, 3000), (2.0, 2.0), Regions([region], (edge + 1000, 3000)))
    assert corners.tolist() == [[0, 0], [CORE_PX, 0], [2 * CORE_PX, 0]]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_tiles_come_in_order_with_their_margin(discs: tuple[Path, np.ndarray], batch: int) -> None:
    size, corners = CORE_PX + 80, np.array([[0, 0], [0, 384], [384, 0]])
    with Slide.open(discs[0]) as slide:
        read = list(read_tiles(slide, corners, 40, 0.5, batch, workers=2))
        np.testing.assert_array_equal(np.concatenate([some for some, _ in read]), corners)
        tiles = np.concatenate([pixels for _, pixels in read])
        for (y, x), tile in zip(corners, tiles, strict=True):
            np.testing.assert_array_equal(tile, slide.read(y - 40, x - 40, size, size, 0.5))


def test_closing_ends_the_readers(make_slide: Callable[..., Path], tmp_path: Path) -> None:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        tiles = read_tiles(slide, np.zeros((30, 2), np.int64), 8, 1.0, 2, workers=2)
        next(tiles)
        tiles.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("tile-reader")]


def test_tissue_in_regions_is_measured_to_the_edge() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:8, 3:9] = True
    tissue = Tissue(mask, (8.0, 16.0))  # from (16, 48) to (64, 144)
    square = np.array([(0.0, 0.0), (0.0, 160.0), (80.0, 160.0), (80.0, 0.0)])
    shape = (80, 160)
    assert Regions([square], shape).tissue_px(tissue) == pytest.approx(48 * 96)
    cut = Regions([square / 2 + (20.0, 50.0)], shape)  # y 20 to 60, x 50 to 130
    assert cut.tissue_px(tissue) == pytest.approx(40 * 80)
    triangle = np.array([(20.0, 60.0), (60.0, 60.0), (20.0, 100.0)])
    assert Regions([triangle], shape).tissue_px(tissue) == pytest.approx(800)
    assert Regions([square / 10], shape).tissue_px(tissue) == 0


def test_tissue_beyond_the_edge_of_the_slide_has_no_area() -> None:
    tissue = Tissue(np.ones((3, 4), bool), (10.0, 10.0))
    assert OnTissue(tissue, (25, 33)).px == pytest.approx(25 * 33)
