from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imread

from napari_zoommil.cells.boxes import instance_boxes, point_boxes
from napari_zoommil.cells.metrics import (
    DetectionScore,
    aji,
    best_threshold,
    box_score,
    centre_score,
    dice,
    exclusive_recall,
    match_boxes,
    match_centres,
)

masks = arrays(bool, (6, 5))
label_maps = arrays(np.uint16, (6, 5), elements=st.integers(0, 4))


@pytest.mark.parametrize(
    ("known", "predicted", "value"),
    [
        ([1, 1, 0, 0], [1, 0, 1, 0], 2 * 1 / (2 + 2)),
        ([1, 1, 1, 0], [1, 0, 0, 0], 2 * 1 / (3 + 1)),
        ([1, 0, 0, 0], [0, 1, 1, 0], 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1),
        ([0, 0, 0, 0], [1, 0, 0, 0], 0),
    ],
)
def test_dice_by_hand(known: list, predicted: list, value: float) -> None:
    assert dice(np.array(known), np.array(predicted)) == value


@given(masks, masks)
def test_dice_is_symmetric_and_1_only_for_equal_masks(a: NDArray, b: NDArray) -> None:
    assert dice(a, b) == dice(b, a)
    assert (dice(a, b) == 1) == bool((a == b).all())
    assert 0 <= dice(a, b) <= 1


def slow_aji(known: NDArray, predicted: NDArray) -> float:
    """Kumar's algorithm 1, cell by cell on sets of pixels."""
    cells = {n: set(np.flatnonzero(known == n)) for n in np.unique(known[known > 0])}
    others = {n: set(np.flatnonzero(predicted == n)) for n in np.unique(predicted[predicted > 0])}
    used, above, below = set(), 0, 0
    for cell in cells.values():
        best = max(others, key=lambda n: len(cell & others[n]) / len(cell | others[n]), default=None)
        if best is None or not cell & others[best]:
            below += len(cell)
            continue
        above += len(cell & others[best])
        below += len(cell | others[best])
        used.add(best)
    below += sum(len(others[n]) for n in others if n not in used)
    return above / below if below else 1.0


def test_aji_by_hand() -> None:
    known = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 0, 0, 3]])
    predicted = np.array([[7, 7, 0, 9, 0], [7, 0, 0, 9, 0], [4, 0, 0, 0, 0]])
    # 1–7: 3 / 4; 2–9: 2 / 4; 3 is missed: + 1; 4 is invented: + 1
    assert aji(known, predicted) == (3 + 2) / (4 + 4 + 1 + 1)
    merged = np.array([[5, 5, 5, 5, 5], [5, 5, 5, 5, 5], [0, 0, 0, 0, 0]])
    # One prediction serves both: 4 / 10 twice; 3 is missed.
    assert aji(known, merged) == (4 + 4) / (10 + 10 + 1)
    empty = np.zeros((3, 5), int)
    assert aji(empty, empty) == 1 and aji(known, empty) == aji(empty, known) == 0


@given(label_maps, label_maps)
def test_aji_is_that_of_the_slow_algorithm(known: NDArray, predicted: NDArray) -> None:
    assert aji(known, predicted) == pytest.approx(slow_aji(known, predicted))
    assert 0 <= aji(known, predicted) <= 1


@given(label_maps, label_maps, st.permutations([3, 70, 500, 65_535]))
def test_aji_does_not_ask_how_cells_are_numbered(known: NDArray, predicted: NDArray, numbers: list) -> None:
    assert aji(known, known) == 1
    renamed, spread = (np.array([0, *order], np.uint16) for order in (numbers, sorted(numbers)))
    assert aji(renamed[known], predicted) == pytest.approx(aji(known, predicted))
    # Of predictions that overlap a cell alike, the lowest number is taken: their order must stay.
    assert aji(known, spread[predicted]) == aji(known, predicted)


def test_aji_of_real_nuclei_falls_as_they_are_worn_away(data: Path) -> None:
    known = imread(sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[0])
    values = [
        aji(known, np.where(ndimage.binary_erosion(known > 0, iterations=n), known, 0)) for n in (1, 2, 3)
    ]
    assert 1 > values[0] > values[1] > values[2] > 0
    assert aji(known, known) == 1


def test_scores_by_hand() -> None:
    score = DetectionScore(6, 2, 4)
    assert (score.precision, score.recall, score.f1) == (6 / 8, 6 / 10, 12 / 18)
    assert score + DetectionScore(1, 1, 0) == DetectionScore(7, 3, 4)
    nothing = DetectionScore(0, 0, 0)
    assert nothing.f1 == nothing.precision == nothing.recall == 1
    assert DetectionScore(0, 3, 0).f1 == 0 == DetectionScore(0, 0, 3).f1


def test_the_highest_score_chooses_first_and_each_known_box_is_found_once() -> None:
    known = [(0, 0, 10, 10), (0, 20, 10, 30)]
    predicted = [(0, 1, 10, 11), (0, 0, 10, 10), (0, 21, 10, 31), (0, 25, 10, 35)]
    assert match_boxes(known, predicted, [0.9, 0.8, 0.7, 0.6]).tolist() == [0, -1, 1, -1]
    assert match_boxes(known, predicted, [0.7, 0.8, 0.6, 0.9]).tolist() == [-1, 0, 1, -1]  # the last: IoU 1/3
    assert match_boxes([], predicted, [1] * 4).tolist() == [-1] * 4


def test_an_overlap_of_exactly_half_is_not_enough() -> None:
    assert match_boxes([(0, 0, 10, 10)], [(0, 0, 10, 5)], [1]).tolist() == [-1]
    assert match_boxes([(0, 0, 10, 10)], [(0, 0, 10, 5.1)], [1]).tolist() == [0]


def test_suppression_comes_before_counting() -> None:
    known = [(0, 0, 10, 10), (0, 20, 10, 30)]
    predicted = [(0, 1, 10, 11), (0, 0, 10, 10), (30, 30, 40, 40)]
    assert box_score(known, predicted, [0.9, 0.8, 0.7]) == DetectionScore(1, 1, 1)
    assert box_score(known, predicted, [0.9, 0.8, 0.7], nms_iou=1) == DetectionScore(1, 2, 1)
    assert box_score(known, [], []) == DetectionScore(0, 0, 2)
    assert box_score([], predicted, [0.9, 0.8, 0.7]) == DetectionScore(0, 2, 0)


def test_real_nuclei_find_themselves(data: Path) -> None:
    boxes, numbers = instance_boxes(imread(sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[0]))
    count = len(numbers)
    assert box_score(boxes, boxes, np.ones(count), nms_iou=1) == DetectionScore(count, 0, 0)
    shifted = boxes + np.array([0, 400, 0, 400])
    assert box_score(boxes, np.concatenate([boxes, shifted]), np.ones(2 * count), nms_iou=1).f1 == 2 / 3


def slow_pairs(known: NDArray, predicted: NDArray, radius: float) -> tuple[int, float]:
    """Every pairing there is: the most pairs, and the least sum of distances of so many."""
    swapped = len(known) > len(predicted)
    few, many = (predicted, known) if swapped else (known, predicted)
    best = (0, 0.0)
    for chosen in permutations(range(len(many)), len(few)):
        lengths = [np.hypot(*(few[i] - many[j])) for i, j in enumerate(chosen)]
        near = [length for length in lengths if length <= radius]
        best = min(best, (-len(near), sum(near)))
    return -best[0], best[1]


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 5), st.floats(0.5, 20))
def test_centres_are_paired_as_the_best_of_all_pairings(seed: int, k: int, p: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    known, predicted = rng.uniform(0, 20, (k, 2)), rng.uniform(0, 20, (p, 2))
    rows, columns = match_centres(known, predicted, radius)
    distances = np.hypot(*(known[rows] - predicted[columns]).T)
    assert len(set(rows)) == len(set(columns)) == len(rows) and (distances <= radius).all()
    count, total = slow_pairs(known, predicted, radius)
    assert len(rows) == count and distances.sum() == pytest.approx(total)
    assert centre_score(known, predicted, radius) == DetectionScore(count, p - count, k - count)


def test_nearness_is_not_greed() -> None:
    known, predicted = [(0, 0), (0, 3)], [(0, 2), (0, 5)]
    # The nearest pair alone, (0, 3) with (0, 2), would leave one of each behind.
    assert centre_score(known, predicted, 2) == DetectionScore(2, 0, 0)
    assert centre_score([(0, 0)], [(0, 0), (0, 0)], 2) == DetectionScore(1, 1, 0)  # distance 0 is near, too


def test_thousands_of_centres_are_paired_without_a_table_of_all_distances() -> None:
    rng = np.random.default_rng(0)
    known = np.indices((120, 120)).reshape(2, -1).T * 10.0
    predicted = rng.permutation(known + rng.uniform(-2, 2, known.shape))[:10_000]
    assert centre_score(known, predicted, 4).true_positives == 10_000


def test_exclusive_recall_never_comes_without_its_price() -> None:
    annotated = [(10, 10), (50, 50), (90, 90)]
    everywhere = np.indices((10, 10)).reshape(2, -1).T * 10.0
    modest = [(11, 10), (50, 49)]
    area = 0.05**2  # 100 px of 0.5 µm are 0.05 mm
    assert exclusive_recall(centre_score(annotated, modest, 5), area).recall == 2 / 3
    assert exclusive_recall(centre_score(annotated, modest, 5), area).predictions_per_mm2 == 2 / area
    greedy = exclusive_recall(centre_score(annotated, everywhere, 5), area)
    assert (greedy.recall, greedy.predictions_per_mm2) == (1, pytest.approx(100 / area))
    boxes = box_score(point_boxes(annotated, 10), point_boxes(modest, 10), [0.9, 0.8])
    assert exclusive_recall(boxes, area) == exclusive_recall(DetectionScore(2, 0, 1), area)


def test_the_best_threshold_undoes_a_shift_of_the_calibration() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((50, 50)) < 0.3
    shifted = np.where(known, rng.uniform(0.22, 0.4, known.shape), rng.uniform(0, 0.18, known.shape))
    best = best_threshold(lambda threshold: dice(known, shifted >= threshold))
    assert best.value == 1 and best.threshold == 0.2
    assert dice(known, shifted >= 0.5) == 0
    constant = best_threshold(lambda threshold: 0.5)
    assert (constant.value, constant.threshold) == (0.5, 0.05)
