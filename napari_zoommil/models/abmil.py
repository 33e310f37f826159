"""ABMIL: one representation of the bag, pooled by attention (Ilse 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.attention import Attention, attention_pool, evidence
from napari_zoommil.models.blocks.layers import classifier, embedding
from napari_zoommil.models.entries_bag import ABMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step


class AttentionMIL(MILModel):
    """Pooling by attention over one magnification: embed, attend, pool, classify.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options
        With ``hidden``, ``attention``, ``dropout`` and ``gated``.
    classify : Module
        (…, hidden) → (…, classes).
    branches : int
        Number of attentions: 1 for all outputs, or ``classes``, one per output.
    """

    def __init__(
        self,
        in_features: int,
        classes: int,
        magnifications: Sequence[float],
        options: Any,
        classify: nn.Module,
        branches: int = 1,
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        hidden, dropout = options.hidden, options.dropout
        self.embed = embedding(in_features, hidden, dropout)
        self.attend = Attention(hidden, options.attention, dropout, branches, options.gated)
        self.classify = classify

    def attention_logits(self, level: int, features: Tensor) -> Tensor:
        """(n, D) → (n, branches)."""
        return self.attend(self.embed(features))

    def steps(self, grid: PatchGrid) -> Pass:
        rows = np.arange(len(grid.levels[0]))
        embeddings = self.embed((yield Need(0, rows, preview=partial(self.attention_logits, 0))))
        scores = self.attend(embeddings)
        logits = self.bag_logits(attention_pool(embeddings, scores))
        added = None if self.training else evidence(embeddings, scores, self.classify)
        pooling = tuple(range(scores.shape[1]))
        return MILOutput(logits, (Step(0, rows, scores, embeddings, evidence=added, pooling=pooling),))

    def bag_logits(self, pooled: Tensor) -> Tensor:
        """(branches, hidden) → (C,)."""
        return self.classify(pooled[0])


class ABMIL(AttentionMIL):
    """Attention-based MIL: h = ReLU(E x), a = softmax(w(tanh(V h) ⊙ σ(U h))), logits = W Σ a h + b.

    The embedding by a linear layer is how the model is used on features of slides; Ilse 2018 trains a network
    on images of 28 px in its place. ZoomMIL's comparison calls the attention "three 2-layer MLPs"; here V, U
    and w are one layer each, as in Ilse 2018.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : ABMILOptions
    """

    name = "abmil"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: ABMILOptions = ABMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        last = classifier(options.classifier, options.hidden, classes, options.dropout)
        super().__init__(in_features, classes, magnifications, options, last)
