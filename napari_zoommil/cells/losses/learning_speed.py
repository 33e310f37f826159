"""Learning speed of a loss: its second derivative in time (supplement of ECE, sec. 1 and Fig. 1).

Let one element have the loss ℓ(z) of a linear layer z = W x. Gradient flow dW/dt = −ε ∇ℓ xᵀ moves the
logits by dz/dt = −ε ‖x‖² ∇ℓ, so that dℓ/dt = −ε ‖x‖² ‖∇ℓ‖² (eq. 6) and d²ℓ/dt² = 2 ε² ‖x‖⁴ ∇ℓᵀ H ∇ℓ.

A sigmoid output has ∇ℓᵀ H ∇ℓ = ℓ′² ℓ″. Cross-entropy with target background (ℓ′ = p, ℓ″ = p (1 − p)) gives
p³ (1 − p). This is eq. 9 except for its sign (that of a log-likelihood) and an ε that is missing after
eq. 8. An annotated element gives p (1 − p)³. Exclusive cross-entropy has speed 0 for elements that are
gated off or not drawn, and else that of weight · p^exponent · CE; the gate has no gradient. As in the
paper, each element is treated alone: products between elements that share weights are left out.
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
    """Second derivatives in time during a training, for ε = 1 and ‖x‖ = 1: the curves of Fig. 1.

    Parameters
    ----------
    progress : (n,) float64
    objects, background : (n,) float64
        Sums over the annotated elements and over all others, each divided by the number of all elements,
        as in the reduction of the losses.
    """

    progress: NDArray[np.float64]
    objects: NDArray[np.float64]
    background: NDArray[np.float64]


def second_derivatives(
    loss: Loss | EarlyLearning, logits: Tensor, targets: Tensor, progress: float, **call: Any
) -> Tensor:
    """d²ℓ/dt² of each element, for ε = 1 and ‖x‖ = 1.

    Parameters
    ----------
    loss : Loss or EarlyLearning
        Its reduction has no effect.
    logits : (B, C, ...)
    targets : (B, ...)
    progress : float
    **call
        Further arguments of the loss: ``generator``, ``ensemble``.

    Returns
    -------
    Array of the shape of the targets; negative where the loss is concave.
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
    """Learning speed of a batch during a training, for objects and for background.

    Parameters
    ----------
    loss : Loss or EarlyLearning
    snapshots : iterable of (progress, logits (B, C, ...), targets (B, ...))
        The model's outputs for a batch, at each progress.
    **call
        As in :func:`second_derivatives`.
    """
    rows = []
    for progress, logits, targets in snapshots:
        speed = second_derivatives(loss, logits, targets, progress, **call).double()
        objects = float(speed[targets > 0].sum())
        count = max(1, speed.numel())
        rows.append((progress, objects / count, (float(speed.sum()) - objects) / count))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return LearningSpeed(*columns)
