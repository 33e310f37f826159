"""Methods that need gradients, beside captum's own and autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LayerGradientXActivation

from napari_zoommil.maps import gradcam, saliency
from napari_zoommil.maps.recorded import Replay

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
