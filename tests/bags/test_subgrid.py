from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.bags.subgrid import TensorBag, roots, subtrees, tree_sizes

LADDERS = [(5.0,), (5.0, 10.0), (2.5, 5.0, 20.0)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("magnifications", LADDERS)
def test_a_part_is_the_same_patches_with_the_same_parents(
    make_grid: Callable, magnifications: tuple[float, ...], data: st.DataObject
) -> None:
    grid = make_grid(3, 4, magnifications, 0.7)
    trees = np.array(data.draw(st.sets(st.integers(0, 11), min_size=1).map(sorted)))
    part, rows = subtrees(grid, trees)
    assert part.magnifications == grid.magnifications and part.shape == grid.shape
    for level, (own, whole) in enumerate(zip(part.levels, grid.levels, strict=True)):
        np.testing.assert_array_equal(own.origins, whole.origins[rows[level]])
        np.testing.assert_array_equal(rows[level], np.flatnonzero(np.isin(_root(grid, level), trees)))
        if level:
            np.testing.assert_array_equal(rows[level - 1][own.parent], whole.parent[rows[level]])
    assert tree_sizes(grid)[trees].sum() == sum(len(level) for level in part.levels)


def _root(grid, level: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.array([roots(grid, level, np.array([row]))[0] for row in range(len(grid.levels[level]))])


def test_patches_of_one_tree_have_one_root(make_grid: Callable) -> None:
    grid = make_grid(2, 2, (5.0, 10.0, 20.0))
    assert roots(grid, 2, np.arange(16, 40)).tolist() == [1, 2]
    assert roots(grid, 0, np.array([3, 1, 3])).tolist() == [1, 3]


def test_a_tensor_bag_answers_from_memory(make_grid: Callable) -> None:
    grid = make_grid(1, 2, (5.0, 10.0))
    bag = TensorBag(grid, (torch.arange(4.0).view(2, 2), torch.arange(16.0).view(8, 2)))
    assert bag.features(1, np.array([7, 0])).tolist() == [[14, 15], [0, 1]]
