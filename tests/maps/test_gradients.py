"""Methods that need gradients, beside captum's own and autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation

from napari_zoommil.errors import ModelError
from napari_zoommil.maps import gradcam, saliency
from napari_zoommil.maps.recorded import Replay
from napari_zoommil.models.mil import Need

from .conftest import Pooled
from .test_methods import drained


def test_a_replay_is_the_pass_again(zooming: torch.nn.Module, bag_at: Callable, record: Callable) -> None:
    recorded = record(zooming, bag_at(5.0, 10.0))
    replay = Replay(recorded)
    torch.testing.assert_close(replay(*replay.inputs)[0], recorded.output.logits)
    with torch.no_grad():
        assert replay(*replay.inputs).requires_grad, "whatever the caller's mode is"


def test_grad_cam_is_captums(zooming: torch.nn.Module, bag_at: Callable, record: Callable) -> None:
    recorded = record(zooming, bag_at(5.0, 10.0))
    _, found = drained(gradcam.run(recorded))
    replay = Replay(recorded)
    for level, one in enumerate(found.patches):
        for target in range(2):
            method = LayerGradientXActivation(replay, zooming.embed[level])
            expected = method.attribute(replay.inputs, target).sum(1)
            np.testing.assert_allclose(one.values[target], expected.detach(), atol=1e-6)


def test_saliency_is_the_size_of_the_slope(
    pooled: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    recorded = record(pooled, bag_at(10.0))
    _, found = drained(saliency.run(recorded))
    features = recorded.answers[0].double().requires_grad_()
    embeddings = pooled.embed(features)
    shares = (20 * pooled.attend(embeddings)[:, 0]).softmax(0)
    logits = pooled.classify(shares @ embeddings)
    for target in range(2):
        (slope,) = torch.autograd.grad(logits[target], features, retain_graph=True)
        np.testing.assert_allclose(found.patches[0].values[target], slope.abs().sum(1), rtol=1e-4)


def test_other_patches_than_in_the_recorded_pass_are_refused(
    zooming: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    recorded = record(zooming, bag_at(5.0, 10.0))
    for head in zooming.zoom:
        head.score.weight.neg_()  # it zooms into what it ranked last
    with pytest.raises(ModelError, match="asked for other patches when its pass was repeated"):
        next(gradcam.run(recorded))


def test_what_the_output_does_not_depend_on_has_no_slope(bag_at: Callable, record: Callable) -> None:
    class Glancing(Pooled):
        def steps(self, grid):  # type: ignore[no-untyped-def]
            yield Need(1, np.arange(2))
            return (yield from super().steps(grid))

    torch.manual_seed(0)
    model = Glancing(3, 2, (5.0, 10.0)).double().eval().requires_grad_(False)
    _, found = drained(saliency.run(record(model, bag_at(5.0, 10.0))))
    assert [one.level for one in found.patches] == [0, 1]
    assert found.patches[0].values.any() and not found.patches[1].values.any()
