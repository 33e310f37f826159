"""Embedding of instances, and classifier of a bag."""

from __future__ import annotations

from torch import nn


def embedding(in_features: int, hidden: int, dropout: float) -> nn.Sequential:
    """One linear layer with ReLU and dropout: (N, in_features) → (N, hidden)."""
    return nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(dropout))


def classifier(kind: str, hidden: int, classes: int, dropout: float) -> nn.Module:
    """One linear layer (``"linear"``), or a 2-layer ReLU network (``"mlp"``): (…, hidden) → (…, classes)."""
    if kind == "linear":
        return nn.Linear(hidden, classes)
    return nn.Sequential(
        nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden // 2, classes)
    )
