"""The second derivative in time of the supplement's §1, against gradient flow that is really run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_zoommil.cells.losses import CrossEntropy, ExclusiveCrossEntropy, Focal
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.cells.losses.learning_speed import second_derivative_curves, second_derivatives
from napari_zoommil.cells.losses.schedules import constant

P = torch.tensor([0.1, 0.25, 0.4, 0.49, 0.6, 0.75, 0.9], dtype=torch.float64)
KEPT = ExclusiveCrossEntropy(sampling=constant(1))


def flow(loss: Loss, features: Tensor, weights: Tensor, target: int, rate: float) -> tuple[float, Tensor]:
    """d²ℓ/dt² of a linear layer (C, D) on one element (D,), differentiated along dW/dt; its logits."""

    def value(weights: Tensor) -> Tensor:
        return loss((weights @ features)[None], torch.tensor([target]), 1.0)

    def first(weights: Tensor) -> Tensor:
        slope = torch.func.grad(value)(weights)
        return -rate * (slope * slope).sum()

    step = -rate * torch.func.grad(value)(weights)
    return float(torch.func.jvp(first, (weights,), (step,))[1]), (weights @ features)[None]


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(), KEPT])
def test_is_the_second_derivative_of_gradient_flow(loss: Loss, target: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    features = torch.randn(5, generator=generator, dtype=torch.float64)
    weights = 0.3 * torch.randn(channels, 5, generator=generator, dtype=torch.float64)
    weights[0] += 0.5 * (1 if channels > 1 else -1) * features  # below the gate
    rate = 0.3
    expected, logits = flow(loss, features, weights, target, rate)
    speed = second_derivatives(loss, logits, torch.tensor([target]), 1.0)
    assert expected != 0
    assert rate**2 * float(features @ features) ** 2 * float(speed) == pytest.approx(expected, rel=1e-9)


def test_cross_entropy_gives_equation_9() -> None:
    logits = torch.logit(P)[:, None]
    background = second_derivatives(CrossEntropy(), logits, torch.zeros(len(P)), 0.5)
    torch.testing.assert_close(background, 2 * P**3 * (1 - P))
    objects = second_derivatives(CrossEntropy(), logits, torch.ones(len(P)), 0.5)
    torch.testing.assert_close(objects, 2 * P * (1 - P) ** 3)


def test_exclusive_cross_entropy_stands_still_where_it_is_gated() -> None:
    logits, targets = torch.logit(P)[:, None], torch.zeros(len(P))
    speed = second_derivatives(KEPT, logits, targets, 1.0)
    assert (speed[P > 0.5] == 0).all() and (speed[P < 0.5] > 0).all()
    # Its slope is about a fifth of cross-entropy's (and the slope counts twice, its change once).
    assert (speed[P < 0.5] < 0.2**3 * 2 * P[P < 0.5] ** 3).all()


def test_curves_split_into_objects_and_background() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 6, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (2, 6, 7), generator=generator)
    snapshots = [(progress, logits * (1 + progress), targets) for progress in (0.0, 0.5, 1.0)]
    curves = second_derivative_curves(CrossEntropy(), snapshots)
    np.testing.assert_array_equal(curves.progress, [0, 0.5, 1])
    for row, (_, scores, _) in enumerate(snapshots):
        p = torch.sigmoid(scores[:, 0])
        objects = torch.where(targets > 0, 2 * p * (1 - p) ** 3, 0).mean()
        background = torch.where(targets > 0, 0, 2 * p**3 * (1 - p)).mean()
        np.testing.assert_allclose(curves.objects[row], objects, rtol=1e-12)
        np.testing.assert_allclose(curves.background[row], background, rtol=1e-12)
    assert len(second_derivative_curves(CrossEntropy(), []).objects) == 0


def test_exclusive_cross_entropy_slows_the_background_and_not_the_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4, 1, 50, generator=generator)
    targets = (torch.rand(4, 50, generator=generator) < 0.3).long()
    plain, exclusive = (
        second_derivative_curves(loss, [(0.5, logits, targets)])
        for loss in (CrossEntropy(), ExclusiveCrossEntropy(generator=generator))
    )
    assert exclusive.background < 0.1 * plain.background
    np.testing.assert_allclose(exclusive.objects, plain.objects)


def test_works_without_gradients_and_with_running_targets() -> None:
    loss = EarlyLearning(beta=0.7, strength=3)
    logits, targets = torch.randn(2, 3, 8, requires_grad=True), torch.ones(2, 8, dtype=torch.long)
    with torch.no_grad():
        speed = second_derivatives(loss, logits, targets, 0.5, ensemble=loss.updated(None, logits))
    assert speed.shape == targets.shape and torch.isfinite(speed).all()
    assert logits.grad is None
