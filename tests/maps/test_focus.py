from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_zoommil.errors import ModelError
from napari_zoommil.maps.focus import Focus, MethodOptions
from napari_zoommil.maps.methods import METHODS

from .test_methods import COMPUTED, drained


@pytest.mark.parametrize("name", COMPUTED)
def test_a_window_holds_the_same_values_as_the_whole(
    name: str, zooming: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    recorded = record(zooming, bag_at(5.0, 10.0))
    _, whole = drained(METHODS[name].load()(recorded))
    level, rows = recorded.asked()[1]
    y, x = recorded.grid.levels[level].origins[rows[2]] - 8
    small = replace(recorded, focus=Focus(window=(y, x, 48.0, 96.0)))
    told, found = drained(METHODS[name].load()(small))
    for one, other in zip(found.patches, whole.patches, strict=True):
        kept = np.isin(other.rows, one.rows)
        origins, size = recorded.grid.levels[one.level].origins, recorded.grid.levels[one.level].size
        top, left = origins[other.rows].T
        touching = (top < y + 48) & (top + size[0] > y) & (left < x + 96) & (left + size[1] > x)
        np.testing.assert_array_equal(kept, touching)
        assert 0 < kept.sum() < len(kept)
        np.testing.assert_allclose(one.values, other.values[:, kept], atol=1e-6)
    if METHODS[name].needs == "passes":
        assert told[0][1] == sum(len(one.rows) for one in found.patches), "no other patch is left out"


def test_one_magnification(zooming: torch.nn.Module, bag_at: Callable, record: Callable) -> None:
    recorded = replace(record(zooming, bag_at(5.0, 10.0)), focus=Focus(only_magnification=10))
    for name in ("grad-cam", "occlusion"):
        _, found = drained(METHODS[name].load()(recorded))
        assert [one.level for one in found.patches] == [1]
        assert {one.magnification for one in found.maps} == {10}


def test_blocks_are_left_out_together(pooled: torch.nn.Module, bag_at: Callable, record: Callable) -> None:
    recorded = record(pooled, bag_at(10.0))
    told, found = drained(METHODS["occlusion"].load()(replace(recorded, options=MethodOptions(block=3))))
    lattice = recorded.grid.levels[0].lattice[found.patches[0].rows] // 3
    values = found.patches[0].values
    blocks = np.unique(lattice, axis=0)
    assert told[0][1] == len(blocks) < len(lattice)
    for block in blocks:
        of = values[:, (lattice == block).all(1)]
        np.testing.assert_array_equal(of, np.repeat(of[:, :1], of.shape[1], 1))
    assert len(np.unique(values[0])) == len(blocks)


def test_a_window_beside_what_was_read_and_a_window_of_nothing(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    recorded = replace(record(pooled, bag_at(10.0)), focus=Focus(window=(9000.0, 0.0, 5.0, 5.0)))
    with pytest.raises(ModelError, match="has read nothing in this window"):
        drained(METHODS["grad-cam"].load()(recorded))
    with pytest.raises(ModelError, match="neither of the last two is 0"):
        Focus(window=(0.0, 0.0, 0.0, 5.0))
    with pytest.raises(ModelError, match="a window or a place, not both"):
        Focus(window=(0.0, 0.0, 5.0, 5.0), at=(1.0, 1.0))
