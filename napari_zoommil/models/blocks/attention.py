"""Gated attention (Ilse 2018; ZoomMIL, eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Raw attention logits w(tanh(V h) ⊙ σ(U h)), one per instance and head.

    Parameters
    ----------
    features, hidden : int
    dropout : float
        Dropout rate after each of V and U.
    heads : int
        Number of attention columns; 1 for a single bag representation.
    """

    def __init__(self, features: int = 512, hidden: int = 256, dropout: float = 0.25, heads: int = 1) -> None:
        super().__init__()
        self.value = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(features, hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.score = nn.Linear(hidden, heads)

    def forward(self, instances: Tensor) -> Tensor:
        """(N, features) → (N, heads)."""
        return self.score(self.value(instances) * self.gate(instances))


def attention_pool(instances: Tensor, logits: Tensor) -> Tensor:
    """Σ softmax(logits) · instances (eq. 2).

    Parameters
    ----------
    instances : (N, F)
    logits : (N,)

    Returns
    -------
    (F,)
    """
    return torch.softmax(logits, 0) @ instances


def evidence(instances: Tensor, logits: Tensor, classifier: nn.Module) -> Tensor | None:
    """Contribution of each instance to each output of a linear classifier on :func:`attention_pool`.

    For instance i and output c it is a_i · (w_c · h_i), with a = softmax(logits). The sum over all instances
    is the output without its bias.

    Parameters
    ----------
    instances : (N, F)
    logits : (N,)
    classifier : Module

    Returns
    -------
    (N, C) or None
        None if the classifier is not a linear layer, because there is no such sum.
    """
    if not isinstance(classifier, nn.Linear):
        return None
    return torch.softmax(logits, 0)[:, None] * (instances @ classifier.weight.T)
