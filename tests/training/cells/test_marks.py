from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells.marks import Before, threshold_by_count, with_known_sizes
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


def scored(scores: Sequence[float], marked: int = 0, complete: bool = False) -> WindowFinds:
    """Detections with some scores, of which the first ``marked`` are of annotated cells."""
    places = [(10.0 + 20 * (at % 11), 10.0 + 20 * (at // 11)) for at in range(len(scores))]
    found = seen(places[:marked], places, scores)
    region = np.full(SHAPE, complete)
    return replace(found, window=replace(found.window, complete=region))


OLD = replace(SPEC, threshold=0.7)
MANY = np.linspace(0.999, 0.5, 100)


def test_it_finds_as_many_as_before() -> None:
    before = [scored([0.9] * 30 + [0.6] * 60, marked=20)]
    assert threshold_by_count(before, [scored(MANY)], OLD) == 0.85, "the score of the 30th, in hundredths"


def test_it_finds_more_if_too_few_annotated_cells_were_found() -> None:
    before = [scored([0.9] * 12 + [0.1] * 8 + [0.9] * 18, marked=20)]
    wanted = round(30 * 0.9 / 0.7812)  # 12 of 20 were found: at most 78 % of all, with 95 % confidence
    assert threshold_by_count(before, [scored(MANY)], OLD) == np.floor(100 * MANY[wanted - 1]) / 100


def test_cells_are_counted_elsewhere_if_there_are_any() -> None:
    before, after = [scored([0.9] * 30, marked=20)], [scored(MANY)]
    assert (
        threshold_by_count([*before, scored([0.9] * 60)], after * 2, OLD, 1) == np.floor(100 * MANY[59]) / 100
    )
    assert threshold_by_count([*before, scored([0.2] * 60)], after * 2, OLD, 1) == 0.85, "glass says nothing"
    assert threshold_by_count(before, after, OLD, 1) == 0.85


def test_what_an_initial_model_found_decides_whether_it_is_trusted() -> None:
    found = Before.of([scored([0.9] * 12 + [0.1] * 8, marked=20)], OLD)
    assert found.annotated == 20 and 0.6 < found.possible < 0.9 and found.is_trusted
    assert not Before.of([scored([0.1] * 30, marked=30)], OLD).is_trusted
    assert not Before.of([], OLD).is_trusted, "of no annotated cell nothing is known"


def test_a_model_that_found_nothing_does_not_say_how_many_there_are() -> None:
    before = [scored([0.1] * 30 + [0.9] * 70, marked=30)]
    after = [scored([0.95] * 27 + [0.3] * 3 + [0.99] * 70, marked=30)]
    assert threshold_by_count(before, after, OLD) == 0.95, "nine in ten annotated cells are found from it on"


def test_complete_regions_say_how_many_there_are() -> None:
    before = [scored([0.9] * 80, marked=25)]
    after = [scored(MANY, marked=25, complete=True)]
    assert threshold_by_count(before, after, OLD) == np.floor(100 * MANY[24]) / 100
    few = [scored(MANY, marked=5, complete=True)]
    assert threshold_by_count(before, few, OLD) == np.floor(100 * MANY[79]) / 100, "five decide nothing"


def test_a_cell_in_several_windows_counts_once_by_the_best() -> None:
    shifted = [(y, x - 40) for y, x in PLACES]
    first = seen(PLACES, PLACES, [0.95, *[0.9] * 9])
    second = seen(shifted, shifted[:1], [0.4], origin=(0, 40))
    blind = seen(PLACES, [], [])
    assert threshold_by_count([blind], [first, second], SPEC) == 0.9


def test_without_anything_to_go_by_the_threshold_stays() -> None:
    assert threshold_by_count([seen(PLACES, [], [])], [seen(PLACES, PLACES[:8], [0.9] * 8)], OLD) == 0.7
    assert threshold_by_count([seen([], [], [])], [seen([], [], [])], OLD) == 0.7
    assert threshold_by_count([], [], OLD) == 0.7


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
