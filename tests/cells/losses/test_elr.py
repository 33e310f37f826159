"""Early-learning regularisation, against the published algorithm written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.cells.losses import CrossEntropy, create_loss
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.errors import ModelError

SHAPES = [(2, 6), (2, 4, 5)]
"""Of targets: boxes and pixels."""


def batch(channels: int, shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(shape[0], channels, *shape[1:], generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, max(2, channels), shape, generator=generator)


def shares_of(logits: Tensor) -> NDArray[np.float64]:
    """(B, C', ...) probabilities, a sigmoid output being a softmax against 0."""
    scores = logits.numpy()
    if scores.shape[1] == 1:
        scores = np.concatenate((np.zeros_like(scores), scores), 1)
    odds = np.exp(scores)
    return odds / odds.sum(1, keepdims=True)


def published(
    logits: Tensor, targets: Tensor, running: NDArray[np.float64], beta: float, strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step of the authors' code: terms and running targets."""
    shares = shares_of(logits)
    labels = np.maximum(targets.numpy(), 0)[:, None]
    nats = -np.log(np.take_along_axis(shares, labels, 1))[:, 0]
    clipped = np.clip(shares, 1e-4, 1 - 1e-4)
    running = beta * running + (1 - beta) * clipped / clipped.sum(1, keepdims=True)
    return nats + strength * np.log(1 - (running * clipped).sum(1)), running


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    ("name", "beta", "strength"),
    [("elr-cifar10", 0.7, 3), ("elr-cifar100", 0.9, 7), ("elr-asymmetric", 0.9, 1)],
)
def test_three_epochs_of_the_published_algorithm(
    name: str, beta: float, strength: float, channels: int, shape: tuple[int, ...]
) -> None:
    loss = create_loss(name, reduction="none")
    assert isinstance(loss, EarlyLearning)
    ensemble, running = None, np.zeros(())
    for epoch in range(3):
        logits, targets = batch(channels, shape, epoch)
        ensemble = loss.updated(ensemble, logits)
        expected, running = published(logits, targets, running, beta, strength)
        np.testing.assert_allclose(ensemble.numpy(), running, rtol=1e-12)
        terms = loss(logits, targets, epoch / 3, ensemble=ensemble)
        np.testing.assert_allclose(terms.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_slope_without_one_through_the_running_targets(channels: int) -> None:
    logits, targets = batch(channels, (2, 6))
    loss = EarlyLearning(beta=0.7, strength=3)
    logits.requires_grad_()
    ensemble = loss.updated(None, logits)
    assert not ensemble.requires_grad
    assert torch.autograd.gradcheck(lambda z: loss(z, targets, 0.5, ensemble=ensemble), logits)


def test_it_holds_on_to_what_the_model_believed() -> None:
    """Against a wrong label the slope is weaker, or turned, where the model was sure before."""
    logits = torch.tensor([[2.0]], requires_grad=True)
    target = torch.zeros(1, dtype=torch.long)
    loss = EarlyLearning(beta=0.7, strength=3)
    sure = loss.updated(loss.updated(None, torch.tensor([[5.0]])), torch.tensor([[5.0]]))
    (plain,) = torch.autograd.grad(CrossEntropy()(logits, target, 0.5), logits)
    (held,) = torch.autograd.grad(loss(logits, target, 0.5, ensemble=sure), logits)
    assert held < plain


def test_without_strength_it_is_cross_entropy() -> None:
    logits, targets = batch(3, (2, 4, 5))
    loss = EarlyLearning(beta=0.7, strength=0)
    value = loss(logits, targets, 0.5, ensemble=loss.updated(None, logits))
    torch.testing.assert_close(value, CrossEntropy()(logits, targets, 0.5))


def test_running_targets_may_be_flipped_with_the_batch() -> None:
    logits, targets = batch(3, (2, 4, 5))
    loss = EarlyLearning(beta=0.7, strength=3)
    ensemble = loss.updated(None, logits)
    torch.testing.assert_close(
        loss(logits.flip(-1), targets.flip(-1), 0.5, ensemble=ensemble.flip(-1)),
        loss(logits, targets, 0.5, ensemble=ensemble),
    )


def test_half_precision_store_of_a_sure_model_stays_finite() -> None:
    logits = torch.full((1, 2, 3), 50.0) * torch.tensor([1.0, -1.0])[None, :, None]
    logits.requires_grad_()
    loss = EarlyLearning(beta=0.9, strength=7)
    ensemble = torch.ones(1, 2, 3, dtype=torch.float16)
    value = loss(logits, torch.ones(1, 3, dtype=torch.long), 0.5, ensemble=ensemble)
    (slope,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value) and torch.isfinite(slope).all()


@pytest.mark.parametrize(
    ("logits", "targets", "ensemble"),
    [
        ((2, 3, 4), (2, 4), (2, 2, 4)),
        ((2, 1, 4), (2, 4), (2, 1, 4)),
        ((2, 3), (2, 3), (2, 3)),
        ((2, 3, 4), (2, 5), (2, 3, 4)),
    ],
)
def test_shapes_that_do_not_fit(
    logits: tuple[int, ...], targets: tuple[int, ...], ensemble: tuple[int, ...]
) -> None:
    loss = EarlyLearning(beta=0.7, strength=3)
    with pytest.raises(ModelError, match="do not fit"):
        loss(torch.zeros(logits), torch.zeros(targets), 0.5, ensemble=torch.zeros(ensemble))
