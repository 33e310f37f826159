from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_zoommil.bags.subgrid import TensorBag, without
from napari_zoommil.errors import ModelError
from napari_zoommil.maps import occlusion
from napari_zoommil.maps.evidence import leave_one_out

from .test_methods import drained


def test_leaving_a_patch_out_is_what_evidence_says(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    """Where nothing is zoomed into, the closed form and a pass for each patch are the same number."""
    recorded = record(pooled, bag_at(10.0))
    told, found = drained(occlusion.left_out(recorded))
    step = recorded.output.steps[0]
    expected = leave_one_out(step.scores[:, 0].numpy(), step.evidence.T.numpy())
    np.testing.assert_allclose(found.patches[0].values, expected, rtol=1e-4, atol=1e-7)
    assert np.abs(expected).max() > 1e-3
    assert told[-1][0] == told[-1][1] - 1 == len(step.rows) - 1


def test_a_patch_goes_with_all_inside_it(
    zooming: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    bag = bag_at(5.0, 10.0)
    recorded = record(zooming, bag)
    _, found = drained(occlusion.left_out(recorded))
    features = tuple(bag.features(level, np.arange(len(one))) for level, one in enumerate(bag.grid.levels))
    for level, place in ((0, 0), (0, 10), (1, 3)):
        row = int(found.patches[level].rows[place])
        part, rows = without(bag.grid, level, np.array([row]))
        left = zooming(
            TensorBag(part, tuple(f[torch.from_numpy(r)] for f, r in zip(features, rows, strict=True)))
        )
        fall = (recorded.output.logits - left.logits).numpy()
        np.testing.assert_allclose(found.patches[level].values[:, place], fall, atol=1e-6)


def test_glass_is_what_the_encoder_makes_of_the_background(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    bag = bag_at(10.0)
    recorded = record(pooled, bag)
    _, found = drained(occlusion.as_glass(recorded))
    features = bag.features(0, np.arange(len(bag.grid.levels[0]))).clone()
    features[5] = bag.encoder(np.full((1, 32, 32, 3), 255, np.uint8))[0]
    fall = recorded.output.logits - pooled(TensorBag(bag.grid, (features,))).logits
    np.testing.assert_allclose(found.patches[0].values[:, 5], fall, atol=1e-6)
    torch.testing.assert_close(bag.features(0, np.array([5]))[0], recorded.answers[0][5])


def test_the_only_patch_cannot_be_left_out(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    from napari_zoommil.bags.view import PartBag

    part = PartBag.of_trees(bag_at(10.0), np.array([3]))
    _, found = drained(occlusion.left_out(record(pooled, part)))
    assert np.isnan(found.patches[0].values).all()


def test_a_model_of_no_patches_is_refused(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    from dataclasses import replace

    recorded = replace(record(pooled, bag_at(10.0)), needs=(), answers=())
    with pytest.raises(ModelError, match="reads no patches: none can be left out"):
        next(occlusion.left_out(recorded))
