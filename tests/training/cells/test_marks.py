from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells.marks import threshold_by_marks, with_known_sizes
from napari_zoommil.training.cells.scores import WindowFinds

SHAPE = (240, 240)
PLACES = [(20.0 * row, 100.0) for row in range(1, 11)]
SPEC = CellSpec("yollo", {}, 0.5, (CellClass("cell", (0, 0, 0), 10.0),))


def window(boxes: np.ndarray, origin: tuple[int, int] = (0, 0)) -> Window:
    nothing, image = np.zeros(SHAPE, np.int64), np.full((*SHAPE, 3), 200, np.uint8)
    return Window(image, nothing, boxes, np.ones(len(boxes), np.int64), nothing > 0, origin)


def around(centres: Sequence[tuple[float, float]]) -> np.ndarray:
    places = np.reshape(np.array(centres, float), (-1, 2))
    return np.concatenate([places - 8, places + 8], 1)


def seen(
    marked: Sequence[tuple[float, float]],
    found: Sequence[tuple[float, float]],
    scores: Sequence[float],
    origin: tuple[int, int] = (0, 0),
) -> WindowFinds:
    finds = Finds(around(found), np.array(scores, float), np.ones(len(scores), np.int64))
    return WindowFinds(window(around(marked), origin), finds)


def test_nine_in_ten_marked_cells_are_found_from_it_on() -> None:
    scores = [0.3, 0.828, *[0.9] * 8]
    elsewhere = [(20.0, 200.0), (60.0, 200.0)]
    found = seen(PLACES, PLACES + elsewhere, [*scores, 0.99, 0.2])
    assert threshold_by_marks([found], SPEC) == 0.82, "in hundredths"


def test_a_cell_in_several_windows_counts_once_by_the_best() -> None:
    shifted = [(y, x - 40) for y, x in PLACES]
    first = seen(PLACES, PLACES, [0.95, *[0.9] * 9])
    second = seen(shifted, shifted[:1], [0.4], origin=(0, 40))
    assert threshold_by_marks([first, second], SPEC) == 0.9


def test_where_too_few_are_found_the_threshold_stays() -> None:
    spec = replace(SPEC, threshold=0.7)
    assert threshold_by_marks([seen(PLACES, PLACES[:8], [0.9] * 8)], spec) == 0.7
    assert threshold_by_marks([seen([], [], [])], spec) == 0.7
    assert threshold_by_marks([], spec) == 0.7


def test_a_point_takes_the_box_of_the_find_it_lies_in() -> None:
    radius = SPEC.diameters_px.max() / 2
    near, far = (20.0, 20.0, 30.0, 30.0), (60.0, 60.0, 70.0, 70.0)
    known = np.array([(22, 21, 29, 30), (65 + radius, 65 + radius, 70 + radius, 70 + radius)], float)
    finds = Finds(known, np.array([0.9, 0.8]), np.ones(2, np.int64))
    (sized,) = with_known_sizes([WindowFinds(window(np.array([near, far])), finds)], SPEC)
    np.testing.assert_array_equal(sized.boxes, [known[0], far])


@pytest.mark.parametrize("marked", [[(25.0, 25.0)], []])
def test_windows_without_points_or_finds_stay(marked: list[tuple[float, float]]) -> None:
    (sized,) = with_known_sizes([seen(marked, [], [])], SPEC)
    np.testing.assert_array_equal(sized.boxes, around(marked))
