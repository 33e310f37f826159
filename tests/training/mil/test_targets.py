from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.bags.subgrid import roots, tree_sizes
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.training.mil.targets import choose_trees, marks_of, patch_targets

MAGNIFICATIONS = (5.0, 10.0, 20.0)
NAMES = ("normal", "tumour")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(-20, 150), st.floats(-20, 150)), max_size=12))
def test_annotated_is_what_holds_a_point(make_grid: Callable, places: list[tuple[float, float]]) -> None:
    grid = make_grid(3, 4, MAGNIFICATIONS, 0.7)
    for level, found in enumerate(patch_targets(grid, places)):
        expected = {grid.row_at(level, y, x) for y, x in places} - {None}
        assert set(np.flatnonzero(found == 1)) == expected
        assert set(found) <= {0, 1}


def test_only_what_lies_wholly_in_a_complete_region_is_background(make_grid: Callable) -> None:
    grid = make_grid(2, 2, (5.0, 10.0))  # patches of 16 and 8 px
    region = [(0, 0), (0, 32), (15, 32), (15, 0)]
    coarse, fine = patch_targets(grid, [(4, 4)], [region], others=[(4, 20)])
    assert coarse.tolist() == [1, 0, 0, 0]
    top = [fine[grid.row_at(1, 4, x)] for x in (4, 12, 20, 28)]
    assert top == [1, -1, 0, -1], "a patch with another class's point is not known to be background"
    assert (fine < 0).sum() == 2


def test_regions_that_meet_are_one(make_grid: Callable) -> None:
    grid = make_grid(2, 2, (5.0, 10.0))
    halves = [[(0, 0), (0, 7), (16, 7), (16, 0)], [(0, 7), (0, 16), (16, 16), (16, 7)]]
    assert patch_targets(grid, [], halves)[0].tolist() == [-1, 0, 0, 0]


def document(*names: str) -> Points:
    points = Points(classes=[CellClass(name, (1, 2, 3)) for name in names])
    for label in range(1, len(names) + 1):
        points.add([[label, label]], label)
    return points


def test_points_of_a_class_of_the_model_tell_what_the_slide_is() -> None:
    marks = marks_of(document("Tumour", "lymphocyte"), NAMES, None)
    assert (marks.label, marks.classes) == ("tumour", ("Tumour",))
    assert marks.coordinates.tolist() == [[1, 1]] and marks.others.tolist() == [[2, 2]]


def test_points_of_no_class_of_the_model_all_count() -> None:
    marks = marks_of(document("here", "there"), NAMES, None)
    assert (marks.label, len(marks.coordinates), len(marks.others)) == (None, 2, 0)
    assert marks_of(document("here"), NAMES, "TUMOUR").label == "tumour"


def test_the_label_decides_between_classes() -> None:
    with pytest.raises(AnnotationError, match="several classes of the model"):
        marks_of(document("normal", "tumour"), NAMES, None)
    assert marks_of(document("normal", "tumour"), NAMES, "tumour").coordinates.tolist() == [[2, 2]]


def test_what_cannot_teach_is_refused() -> None:
    with pytest.raises(ModelError, match="has no class benign; choose one of normal, tumour"):
        marks_of(document("here"), NAMES, "benign")
    with pytest.raises(AnnotationError, match="add a few first"):
        marks_of(Points(), NAMES, None)


def test_a_lesson_has_all_points_and_stays_bounded(make_grid: Callable) -> None:
    grid = make_grid(10, 10, MAGNIFICATIONS)
    targets = patch_targets(grid, [(1, 1), (200, 200)], [[(32, 0), (32, 320), (320, 320), (320, 0)]])
    pointed = roots(grid, 2, np.flatnonzero(targets[2] == 1))
    looked_at = np.array([3, 4])
    for patches in (84, 210, 1050, 10_000):
        trees = choose_trees(grid, targets, looked_at, patches, np.random.default_rng(0))
        assert set(pointed) <= set(trees) and len(set(trees)) == len(trees)
        assert len(trees) == min(100, max(patches // 21, 4))
    trees = choose_trees(grid, targets, looked_at, 1050, np.random.default_rng(0))
    assert len(np.setdiff1d(trees, pointed)) == 48
    assert (np.diff(trees) > 0).all()


def test_a_lesson_prefers_what_is_known_and_looked_at(make_grid: Callable) -> None:
    grid = make_grid(10, 10, (5.0, 10.0))
    targets = patch_targets(grid, [(1, 1)])
    chosen = [choose_trees(grid, targets, np.array([97, 98]), 50, np.random.default_rng(n)) for n in range(5)]
    assert all({0, 97, 98} <= set(trees) for trees in chosen)
    assert len({tuple(trees) for trees in chosen}) == 5, "the rest is drawn"


def test_many_points_have_as_much_beside_them(make_grid: Callable) -> None:
    grid = make_grid(6, 6, (5.0, 10.0))
    targets = patch_targets(grid, [(16 * n + 1, 1) for n in range(6)])
    trees = choose_trees(grid, targets, np.empty(0, np.int64), 10, np.random.default_rng(0))
    assert len(trees) == 12 and tree_sizes(grid)[trees].sum() == 60
