"""Attention of instances, gated or not (Ilse 2018, eq. 8 and 9; ZoomMIL, eq. 2), and pooling by it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Raw attention logits w tanh(V h), one per instance and head (Ilse 2018, eq. 8).

    Parameters
    ----------
    features, hidden : int
    dropout : float
        Dropout rate after each of V and U.
    heads : int
        Number of attention columns; 1 for a single bag representation.
    gated : bool
        w(tanh(V h) ⊙ σ(U h)) (eq. 9).
    """

    def __init__(
        self,
        features: int = 512,
        hidden: int = 256,
        dropout: float = 0.25,
        heads: int = 1,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.value = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate: nn.Module | None = None
        if gated:
            self.gate = nn.Sequential(nn.Linear(features, hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.score = nn.Linear(hidden, heads)

    def forward(self, instances: Tensor) -> Tensor:
        """(N, features) → (N, heads)."""
        values = self.value(instances)
        return self.score(values if self.gate is None else values * self.gate(instances))


class GatedAttention(Attention):
    """:class:`Attention` that is gated."""

    def __init__(self, features: int = 512, hidden: int = 256, dropout: float = 0.25, heads: int = 1) -> None:
        super().__init__(features, hidden, dropout, heads, gated=True)


def attention_pool(instances: Tensor, logits: Tensor) -> Tensor:
    """Σ softmax(logits) · instances (ZoomMIL, eq. 2).

    Parameters
    ----------
    instances : (N, F)
    logits : (N,) or (N, H)

    Returns
    -------
    (F,) or (H, F)
    """
    return torch.softmax(logits, 0).movedim(0, -1) @ instances


def evidence(instances: Tensor, logits: Tensor, classifier: nn.Module) -> Tensor | None:
    """Contribution of each instance to each output of a linear classifier on :func:`attention_pool`.

    For instance i and output c it is a_i · (w_c · h_i), with a = softmax(logits). The sum over all instances
    is the output without its bias.

    Parameters
    ----------
    instances : (N, F)
    logits : (N,) or (N, C)
        One attention for all outputs, or one per output.
    classifier : Module

    Returns
    -------
    (N, C) or None
        None if the classifier is not a linear layer, because there is no such sum.
    """
    if not isinstance(classifier, nn.Linear):
        return None
    shares = torch.softmax(logits, 0)
    return (shares if shares.ndim == 2 else shares[:, None]) * (instances @ classifier.weight.T)
