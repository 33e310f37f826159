from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_zoommil.cells.boxes import (
    anchor_boxes,
    instance_boxes,
    iou_matrix,
    nms,
    point_boxes,
    size_iou,
)


def pixels(box: tuple[int, ...], edge: int = 40) -> NDArray[np.bool_]:
    canvas = np.zeros((edge, edge), bool)
    canvas[box[0] : box[2], box[1] : box[3]] = True
    return canvas


whole_boxes = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 19), st.integers(0, 19)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(st.lists(whole_boxes, max_size=5), st.lists(whole_boxes, max_size=5))
def test_iou_is_what_counting_pixels_gives(first: list, second: list) -> None:
    counted = np.zeros((len(first), len(second)))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            either = (pixels(a) | pixels(b)).sum()
            counted[i, j] = (pixels(a) & pixels(b)).sum() / either if either else 0
    np.testing.assert_allclose(iou_matrix(first, second), counted)


def test_sizes_are_compared_around_one_centre() -> None:
    # 2×4 within 4×4; 2×4 against 4×2 share 2×2 of 12.
    np.testing.assert_allclose(size_iou([(2, 4)], [(4, 4), (4, 2), (2, 4)]), [[1 / 2, 1 / 3, 1]])


def slow_nms(boxes: NDArray, scores: NDArray, iou: float, classes: NDArray) -> list[int]:
    """One at a time: take the best that is left, strike out what it covers."""
    left, kept = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda row: (scores[row], -row))
        kept.append(best)
        left = [
            row
            for row in left
            if row != best
            and (classes[row] != classes[best] or iou_matrix(boxes[row], boxes[best])[0, 0] <= iou)
        ]
    return kept


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.0, 0.2, 0.5]), st.integers(1, 3))
def test_suppression_is_the_greedy_one(seed: int, count: int, iou: float, classes: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = point_boxes(rng.uniform(0, 60, (count, 2)), rng.uniform(2, 30, count))
    scores = rng.integers(0, 10, count) / 10  # many are equal
    labels = rng.integers(1, classes + 1, count)
    assert nms(boxes, scores, iou, labels).tolist() == slow_nms(boxes, scores, iou, labels)


def test_suppression_drops_what_overlaps_by_more_than_the_limit_only() -> None:
    boxes = [
        (0, 0, 10, 10),
        (0, 5, 10, 15),
        (0, 8, 10, 18),
        (0, 40, 10, 50),
    ]  # IoU with the first: 1/3, 1/9, 0
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95]).tolist() == [3, 0, 2]
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95], iou=1 / 3).tolist() == [3, 0, 1]  # the second and third: 7/13
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95], classes=[1, 2, 2, 1]).tolist() == [3, 0, 1]
    assert nms(boxes, [0.9, 0.8, 0.7, 0.95], sources=[1, 1, 2, 1]).tolist() == [3, 0, 1]
    assert nms(np.zeros((0, 4)), []).tolist() == []


def test_anchors_go_row_by_row_column_by_column_anchor_by_anchor() -> None:
    boxes = anchor_boxes((9, 16), [(4, 6), (10, 10)], stride=8)
    assert boxes.shape == (2 * 2 * 2, 4)  # the ninth row of pixels begins a second row of cells
    np.testing.assert_array_equal(boxes[0], (2, 1, 6, 7))
    np.testing.assert_array_equal(boxes[1], (-1, -1, 9, 9))
    np.testing.assert_array_equal(boxes[2], (2, 9, 6, 15))
    np.testing.assert_array_equal(boxes[4], (10, 1, 14, 7))


def test_boxes_of_points_are_squares_around_them() -> None:
    np.testing.assert_array_equal(
        point_boxes([(10, 20), (3.5, 4)], [4, 1]), [(8, 18, 12, 22), (3, 3.5, 4, 4.5)]
    )
    assert point_boxes(np.zeros((0, 2)), 24).shape == (0, 4)


def test_boxes_of_instances_are_tight_and_numbers_may_be_missing() -> None:
    instances = np.zeros((8, 9), np.uint16)
    instances[2:5, 3:4] = 2
    instances[7, 0] = instances[6, 2] = 7
    boxes, numbers = instance_boxes(instances)
    assert numbers.tolist() == [2, 7]
    np.testing.assert_array_equal(boxes, [(2, 3, 5, 4), (6, 0, 8, 3)])
    assert instance_boxes(np.zeros((4, 4), np.uint16))[0].shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (17, 30)])
def test_every_pixel_has_a_grid_cell(shape: tuple[int, int]) -> None:
    cells = anchor_boxes(shape, [(8, 8)], stride=8)
    covered = np.zeros((40, 40), int)
    for y0, x0, y1, x1 in cells.astype(int):
        covered[y0:y1, x0:x1] += 1
    assert (covered[: shape[0], : shape[1]] == 1).all()
