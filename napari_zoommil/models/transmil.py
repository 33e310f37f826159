"""TransMIL: a transformer over the patches of a slide (Shao et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.nystrom import NystromAttention
from napari_zoommil.models.entries_network import TransMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step

LEAST_SHARE = 1e-6
"""Least share that is exported, as a fraction of the average one; the approximation gives some below 0."""


class PositionEncoding(nn.Module):
    """PPEG: depthwise convolutions of the tokens, laid out as a square, are added to them.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width) for size in (7, 5, 3)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(s², width) → (s², width)."""
        edge = math.isqrt(len(tokens))
        square = tokens.T.reshape(1, -1, edge, edge)
        for convolution in self.convolutions:
            tokens = tokens + convolution(square)[0].flatten(1).T
        return tokens


class TransMIL(MILModel):
    """Two layers of Nyström self-attention over a class token and all patches, with PPEG between them.

    The first patches are repeated until their number is a square. The output is a linear layer on the class
    token.

    The scores are logarithms of the class token's row of the second layer's attention (A1 · A2⁺ · A3), of
    all patches: their softmax is the row without the class token. The first column is the mean of the heads,
    the others are the heads. A patch that is repeated has the sum of its shares; a share below a millionth of
    the average, which only the approximation gives, has that value.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : TransMILOptions

    Raises
    ------
    ModelError
        If the width is no multiple of the number of heads.
    """

    name = "transmil"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: TransMILOptions = TransMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        width = options.hidden
        if width % options.heads:
            raise ModelError(f"hidden = {width} is no multiple of heads = {options.heads}")
        self.embed = nn.Sequential(nn.Linear(in_features, width), nn.ReLU())
        self.class_token = nn.Parameter(torch.randn(1, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.first, self.last = (
            NystromAttention(width, options.heads, options.landmarks, dropout=options.dropout)
            for _ in range(2)
        )
        self.positions = PositionEncoding(width)
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    @property
    def heads(self) -> tuple[str, ...]:
        # no space before the number, for there can be a class named so
        return ("attention", *(f"attention-{head + 1}" for head in range(self.options.heads)))

    def steps(self, grid: PatchGrid) -> Pass:
        rows = np.arange(len(grid.levels[0]))
        embeddings = self.embed((yield Need(0, rows)))
        repeated = self._square(len(rows)).to(embeddings.device)
        tokens = torch.cat([self.class_token, embeddings[repeated]])
        tokens = tokens + self.first(self.norms[0](tokens))
        tokens = torch.cat([tokens[:1], self.positions(tokens[1:])])
        added, shares = self.last.one(self.norms[1](tokens), 0)
        scores = self._scores(shares[:, 1:], repeated, len(rows))
        logits = self.classifier(self.norm(tokens[0] + added))
        return MILOutput(logits, (Step(0, rows, scores, embeddings),))

    @staticmethod
    def _square(count: int) -> Tensor:
        """Patch of each token: all in order, then the first again, until there are a square number."""
        edge = math.isqrt(count - 1) + 1
        return torch.arange(edge**2) % count

    @staticmethod
    def _scores(shares: Tensor, repeated: Tensor, count: int) -> Tensor:
        """(heads, tokens) shares → (count, 1 + heads) logarithms of the patches' shares."""
        columns = torch.cat([shares.mean(0, keepdim=True), shares])
        folded = columns.new_zeros(len(columns), count).index_add(1, repeated, columns)
        return folded.clamp(min=LEAST_SHARE / count).log().T
