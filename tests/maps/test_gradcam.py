from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_zoommil.maps.gradcam import grad_cam
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.mil import MILOutput, Step
from napari_zoommil.models.zoommil import ZoomMIL


def test_a_linear_model_gives_weight_times_embedding() -> None:
    """logit_c = Σ_i a_i w_c · e_i, so patch i speaks with a_i w_c · e_i, and all sum to the logit."""
    torch.manual_seed(0)
    embeddings = [torch.randn(count, 4, requires_grad=True) for count in (5, 3)]
    shares, weights = [torch.rand(5), torch.rand(3)], torch.randn(2, 4)
    logits = sum(weights @ (share @ e) for share, e in zip(shares, embeddings, strict=True))
    steps = tuple(Step(i, np.arange(len(e)), shares[i][:, None], e) for i, e in enumerate(embeddings))
    for target in (0, 1):
        scores = grad_cam(MILOutput(logits, steps), target).steps
        for score, share, embedding in zip(scores, shares, embeddings, strict=True):
            np.testing.assert_allclose(score, (share * (embedding @ weights[target])).detach(), rtol=1e-5)
        total = sum(float(score.sum()) for score in scores)
        assert total == pytest.approx(float(logits[target].detach()), rel=1e-5)


def test_a_patch_that_raises_the_class_is_positive(make_grid: Callable, make_bag: Callable) -> None:
    """One feature stands for class 1; attention is even, so patches with it raise class 1 alone."""
    model = ZoomMIL(2, 2, (5, 10), ZoomMILOptions(4, hidden=2, attention=2)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        for embed in model.embed:
            embed[0].weight.copy_(torch.eye(2))
        model.classifier.weight.copy_(torch.tensor([[1.0, -1], [-1, 1]]))
    bag = make_bag(make_grid(3, 3, (5.0, 10.0)), 2)
    bag.arrays[0][:], bag.arrays[0][:4] = (1, 0), (0, 1)
    output = model.requires_grad_(True)(bag)
    against, speaks = (grad_cam(output, target).steps[0] for target in (0, 1))
    assert (speaks[:4] > 0).all() and (speaks[4:] < 0).all()
    np.testing.assert_allclose(against, -speaks)
    np.testing.assert_allclose(np.abs(speaks), 1 / 9, rtol=1e-5)


def test_scores_come_in_the_order_of_the_steps(make_grid: Callable, make_bag: Callable) -> None:
    torch.manual_seed(0)
    model = ZoomMIL(6, 3, (5, 10, 20), ZoomMILOptions(2, hidden=8, attention=4)).eval()
    output = model(make_bag(make_grid(3, 3, (5.0, 10.0, 20.0)), 6))
    scores = grad_cam(output, 2).steps
    assert [len(score) for score in scores] == [len(step.rows) for step in output.steps] == [9, 8, 8]
    step = output.steps[1]
    (gradient,) = torch.autograd.grad(output.logits[2], step.embeddings)
    np.testing.assert_allclose(scores[1], (gradient * step.embeddings).sum(1).detach(), rtol=1e-5)
