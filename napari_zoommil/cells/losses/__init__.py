"""Losses for sparse annotations, for dense outputs (pixels) and for boxes.

Each is called as ``loss(logits, targets, progress)``:

- logits (B, C, ...): one sigmoid output (C = 1), or background and K classes under a softmax (C = K + 1);
- targets (B, ...): 0 = not annotated, 1, 2, … = annotated class, −1 = known background (inside a
  complete region). With one output, every annotated class is foreground;
- progress: 0 at the start of training, 1 at its end.

The loss is the mean over *all* elements, including those that contribute 0, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from napari_zoommil.cells.losses.base import Elements, Loss, require
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.cells.losses.schedules import PAPER_SAMPLING, PAPER_THRESHOLD, Schedule
from napari_zoommil.errors import ModelError

Gate = Literal["foreground", "margin"]
GATES = ("foreground", "margin")

SMALLEST_BASE = 1e-7
"""Lower bound of 1 − exp(−CE) before the power, because exponents below 1 have an infinite slope at 0."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy in which elements that are not annotated are background."""

    def terms(self, elements: Elements, progress: float, generator: torch.Generator | None) -> Tensor:
        return elements.cross_entropy()


@dataclass(frozen=True, kw_only=True)
class WeightedCrossEntropy(Loss):
    """Cross-entropy with down-weighted negatives: the control for the effect of exclusivity.

    Parameters
    ----------
    unannotated_weight : float
        Weight of elements that are not annotated; all others have 1.
    """

    unannotated_weight: float = 0.1

    def terms(self, elements: Elements, progress: float, generator: torch.Generator | None) -> Tensor:
        terms = elements.cross_entropy()
        return torch.where(elements.targets == 0, self.unannotated_weight * terms, terms)


@dataclass(frozen=True, kw_only=True)
class Focal(Loss):
    """α_t (1 − p_t)^γ CE with p_t = exp(−CE) (Lin et al. 2017, eq. 5; their best setting by default).

    Elements that are not annotated and known background are both negatives.

    Parameters
    ----------
    alpha : float or None
        Weight of annotated elements; negatives have 1 − alpha. With None both have 1 (eq. 4).
    gamma : float
        Focusing exponent.
    """

    alpha: float | None = 0.25
    gamma: float = 2.0

    def terms(self, elements: Elements, progress: float, generator: torch.Generator | None) -> Tensor:
        terms = focused(elements.cross_entropy(), self.gamma)
        if self.alpha is None:
            return terms
        return torch.where(elements.targets > 0, self.alpha * terms, (1 - self.alpha) * terms)


@dataclass(frozen=True, kw_only=True)
class ExclusiveCrossEntropy(Loss):
    """Exclusive cross-entropy (Panteli et al. 2021): doubtful elements do not count as background.

    An element that is not annotated counts if it is drawn, with probability ``sampling(progress)``, and
    if the model's confidence in it is at most ``threshold(progress)``. It then contributes
    weight · (1 − exp(−CE))^exponent · CE, else 0. Annotated elements and known background contribute
    their cross-entropy. Constants and schedules are those of the authors' code.

    Parameters
    ----------
    gate : {"foreground", "margin"}
        Confidence: the probability of foreground, which excludes likely cells; or the difference
        between the two largest probabilities, which excludes confident background too.
    threshold, sampling : callable of the progress
        :func:`napari_zoommil.cells.losses.schedules.constant` disables a schedule.
    weight, exponent : float
        For elements that are not annotated and count.
    """

    gate: Gate = "foreground"
    threshold: Schedule = PAPER_THRESHOLD
    sampling: Schedule = PAPER_SAMPLING
    weight: float = 0.2
    exponent: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gate, GATES, "gate")

    def terms(self, elements: Elements, progress: float, generator: torch.Generator | None) -> Tensor:
        terms = elements.cross_entropy()
        kept = confidence(elements, self.gate) <= self.threshold(progress)
        probability = self.sampling(progress)
        if probability < 1:
            kept &= _uniform_like(terms, generator) <= probability
        weak = kept * focused(terms, self.exponent) * self.weight
        return torch.where(elements.targets == 0, weak, terms)


def focused(cross_entropy: Tensor, exponent: float) -> Tensor:
    """(1 − p_t)^exponent · CE with p_t = exp(−CE), with finite values and gradients."""
    if exponent == 0:
        return cross_entropy
    base = torch.expm1(-cross_entropy).neg().clamp(min=SMALLEST_BASE)
    return base.log().mul(exponent).exp() * cross_entropy  # faster than pow, forward and backward


def confidence(elements: Elements, gate: Gate) -> Tensor:
    """(B, ...) confidence that a gate compares with its threshold, in [0, 1], without gradient."""
    logits = elements.logits.detach()
    if elements.single:
        foreground = torch.sigmoid(logits)
        return foreground if gate == "foreground" else (2 * foreground - 1).abs()
    probabilities = logits.softmax(1)
    return 1 - probabilities[:, 0] if gate == "foreground" else _margin(probabilities)


def _margin(probabilities: Tensor) -> Tensor:
    """(B, ...) difference of the two largest along axis 1; much faster than top-k for few classes."""
    largest, second = probabilities[:, 0], torch.zeros_like(probabilities[:, 0])
    for other in probabilities[:, 1:].unbind(1):
        second = torch.maximum(second, torch.minimum(largest, other))
        largest = torch.maximum(largest, other)
    return largest - second


def _uniform_like(terms: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform samples in [0, 1), drawn on the generator's device: equal on GPU and CPU for one seed."""
    source = terms.device if generator is None else generator.device
    return torch.rand(terms.shape, generator=generator, device=source).to(terms.device)


LOSSES: dict[str, Callable[..., Loss | EarlyLearning]] = {
    "ce": CrossEntropy,
    "weighted-ce": WeightedCrossEntropy,
    "focal": Focal,
    "ece": ExclusiveCrossEntropy,
    "ece-margin": partial(ExclusiveCrossEntropy, gate="margin"),
    "elr-cifar10": partial(EarlyLearning, beta=0.7, strength=3.0),
    "elr-cifar100": partial(EarlyLearning, beta=0.9, strength=7.0),
    "elr-asymmetric": partial(EarlyLearning, beta=0.9, strength=1.0),
}
"""The three settings of :class:`EarlyLearning` are published ones (CIFAR-10, CIFAR-100 and CIFAR-10 with
asymmetric noise), used for comparison in the supplement, Table 3."""


def create_loss(name: str, **options: Any) -> Loss | EarlyLearning:
    """Build a loss.

    Parameters
    ----------
    name : str
        One of :data:`LOSSES`.
    **options
        Parameters of its class.

    Raises
    ------
    ModelError
        If there is no such loss or option.
    """
    require(name, tuple(LOSSES), "loss")
    try:
        return LOSSES[name](**options)
    except TypeError as error:
        raise ModelError(f"the loss {name} cannot be built: {error}") from error
