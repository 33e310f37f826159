"""How fast a loss drives a model: the second derivative in time of the supplement's §1 and Fig. 1.

Let one element have the loss ℓ(z) of a linear layer z = W x. Gradient flow dW/dt = −ε ∇ℓ xᵀ moves the
logits by dz/dt = −ε ‖x‖² ∇ℓ, so that dℓ/dt = −ε ‖x‖² ‖∇ℓ‖² (eq. 6) and d²ℓ/dt² = 2 ε² ‖x‖⁴ ∇ℓᵀ H ∇ℓ.

A sigmoid output has ∇ℓᵀ H ∇ℓ = ℓ′² ℓ″. Cross-entropy towards background (ℓ′ = p, ℓ″ = p (1 − p)) gives
p³ (1 − p), which is eq. 9 but for its sign, that of a log-likelihood, and an ε lost after eq. 8; an
annotated element gives p (1 − p)³. Exclusive cross-entropy has speed 0 where an element is gated off or
not drawn, and elsewhere that of weight · p^exponent · CE; the gate itself has no slope. As in the paper
every element is taken alone: products between elements that share weights are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.cells.losses.base import Loss, precise
from napari_zoommil.cells.losses.elr import EarlyLearning


@dataclass(frozen=True)
class LearningSpeed:
    """Second derivatives in time over a training, at ε = 1 and ‖x‖ = 1: the curves of Fig. 1.

    Parameters
    ----------
    progress : (n,) float64
    objects, background : (n,) float64
        Terms of the annotated elements, and of all others, each summed and divided by the number of all
        elements, as the losses are reduced.
    """

    progress: NDArray[np.float64]
    objects: NDArray[np.float64]
    background: NDArray[np.float64]


def second_derivatives(
    loss: Loss | EarlyLearning, logits: Tensor, targets: Tensor, progress: float, **call: Any
) -> Tensor:
    """d²ℓ/dt² of each element, at ε = 1 and ‖x‖ = 1.

    Parameters
    ----------
    loss : Loss or EarlyLearning
        Its reduction does not matter.
    logits : (B, C, ...)
    targets : (B, ...)
    progress : float
    **call
        What else the loss is called with: ``generator``, ``ensemble``.

    Returns
    -------
    The shape of the targets; negative where the loss bends down.
    """
    with torch.enable_grad():
        scores = precise(logits.detach()).requires_grad_()
        terms = replace(loss, reduction="none")(scores, targets, progress, **call)
        (slope,) = torch.autograd.grad(terms.sum(), scores, create_graph=True)
        along = slope.detach()
        (bend,) = torch.autograd.grad((slope * along).sum(), scores)
    products = 2 * along * bend
    return products if products.shape == targets.shape else products.sum(1)


def second_derivative_curves(
    loss: Loss | EarlyLearning, snapshots: Iterable[tuple[float, Tensor, Tensor]], **call: Any
) -> LearningSpeed:
    """The measure of a batch in the course of a training, split into objects and background.

    Parameters
    ----------
    loss : Loss or EarlyLearning
    snapshots : iterable of (progress, logits (B, C, ...), targets (B, ...))
        What a model said of a batch at each progress.
    **call
        As for :func:`second_derivatives`.
    """
    rows = []
    for progress, logits, targets in snapshots:
        speed = second_derivatives(loss, logits, targets, progress, **call).double()
        objects = float(speed[targets > 0].sum())
        count = max(1, speed.numel())
        rows.append((progress, objects / count, (float(speed.sum()) - objects) / count))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return LearningSpeed(*columns)
