"""Curves beside passes made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_zoommil.bags.subgrid import TensorBag, without
from napari_zoommil.errors import ModelError
from napari_zoommil.maps import gradcam
from napari_zoommil.maps.faithfulness import curves

from .test_methods import drained


def test_each_point_is_the_output_of_the_patches_that_are_left(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    bag = bag_at(10.0)
    recorded = record(pooled, bag)
    _, found = drained(gradcam.run(recorded))
    scores = found.patches[0].values[1]
    told, drawn = drained(curves(recorded, found.maps[1], 1, steps=3, draws=1))
    count, order = len(scores), np.argsort(-scores, kind="stable")
    features = bag.features(0, np.arange(count))
    assert len(told) >= drawn.deletion.size * 4
    for share, deleted, inserted in zip(drawn.shares, drawn.deletion, drawn.insertion, strict=True):
        first = round(share * count)
        for rows, value in ((order[:first], deleted), (order[first:], inserted)):
            if len(rows) == count:
                rows = np.delete(rows, np.argmin(scores[rows]))
            grid, (kept,) = without(bag.grid, 0, np.sort(rows))
            logits = pooled(TensorBag(grid, (features[kept],))).logits
            assert value == pytest.approx(float(logits.softmax(0)[1]), abs=1e-6)


def test_patches_without_a_value_are_never_taken_away(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    bag = bag_at(10.0)
    recorded = record(pooled, bag)
    _, found = drained(gradcam.run(recorded))
    shown = found.maps[1]
    values = shown.values.copy()
    values[: values.shape[0] // 2] = np.nan
    _, drawn = drained(curves(recorded, replace(shown, values=values), 1, steps=3, draws=4))
    patches = bag.grid.levels[0]
    middles = patches.origins + np.asarray(patches.size) / 2
    limit = shown.origin[0] + values.shape[0] // 2 * shown.downsample[0]
    unknown = np.flatnonzero(middles[:, 0] < limit)
    assert 0 < len(unknown) == drawn.unknown < len(patches) and f"{len(unknown)} of which" in drawn.in_short
    grid, (kept,) = without(bag.grid, 0, np.setdiff1d(np.arange(len(patches)), unknown))
    features = bag.features(0, np.arange(len(patches)))
    alone = float(pooled(TensorBag(grid, (features[kept],))).logits.softmax(0)[1])
    ends = [
        drawn.deletion[-1],
        drawn.insertion[0],
        *drawn.random_deletion[:, -1],
        *drawn.random_insertion[:, 0],
    ]
    np.testing.assert_allclose(ends, alone, atol=1e-6)
    assert drawn.target == recorded.names[1]


def test_a_single_patch_has_no_order(pooled: torch.nn.Module, bag_at: Callable, record: Callable) -> None:
    from napari_zoommil.bags.view import PartBag

    recorded = record(pooled, PartBag.of_trees(bag_at(10.0), np.array([3])))
    _, found = drained(gradcam.run(recorded))
    with pytest.raises(ModelError, match="one patch has no order"):
        next(curves(recorded, found.maps[0], 0))
