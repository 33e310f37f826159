"""MSMIL: all magnifications in one bag (Hashimoto et al. 2020, as the ZoomMIL paper compares with it)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.attention import Attention, attention_pool, evidence
from napari_zoommil.models.blocks.layers import embedding
from napari_zoommil.models.blocks.reversal import reverse_gradient
from napari_zoommil.models.entries_network import MSMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step

DOMAIN_WIDTH = 1024
"""Width of the hidden layer of the domain classifier."""


class MSMIL(MILModel):
    """One attention over the patches of all magnifications together.

    Patches of all magnifications are embedded by the same layers and pooled as one bag; the softmax of the
    attention goes over all of them. The output is a linear layer on the pooled embedding.

    With ``adversarial`` above 0, training adds a classifier that tells the slides of the cohort apart from
    single patches, through a gradient reversal, so that embeddings lose what is particular to a slide. The
    published branch starts at the activations of a convolutional network that is trained; here features are
    fixed, and it starts at the embeddings.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One or more.
    options : MSMILOptions

    Raises
    ------
    ModelError
        If there is no layer that embeds patches.
    """

    name = "msmil"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (5, 10, 20),
        options: MSMILOptions = MSMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        widths = (options.hidden,) if isinstance(options.hidden, int) else tuple(options.hidden)
        if not widths:
            raise ModelError("hidden needs one width or more")
        self.embed = nn.Sequential(
            *(
                embedding(width, wider, options.dropout)
                for width, wider in zip((in_features, *widths), widths, strict=False)
            )
        )
        self.attend = Attention(widths[-1], options.attention, dropout=0.0)
        self.classifier = nn.Linear(widths[-1], classes)

    def steps(self, grid: PatchGrid) -> Pass:
        found, embedded = [np.arange(len(level)) for level in grid.levels], []
        for level, rows in enumerate(found):
            preview = None if self.training else partial(self.attention_logits, level)
            embedded.append(self.embed((yield Need(level, rows, preview=preview))))
        counts, embeddings = [len(rows) for rows in found], torch.cat(embedded)
        scores = self.attend(embeddings)
        added = evidence(embeddings, scores[:, 0], self.classifier)
        assert added is not None
        parts = list(zip(found, scores.split(counts), embedded, added.split(counts), strict=True))
        rests = _rests(scores.split(counts), added.split(counts))
        steps = tuple(
            Step(level, rows, own, part, evidence=share, rest=rest)
            for level, ((rows, own, part, share), rest) in enumerate(zip(parts, rests, strict=True))
        )
        return MILOutput(self.classifier(attention_pool(embeddings, scores[:, 0])), steps)

    def attention_logits(self, level: int, features: Tensor) -> Tensor:
        """(n, D) → (n, 1); the same at every magnification."""
        return self.attend(self.embed(features))

    def auxiliary(self, slides: int) -> DomainBranch | None:
        factor = self.options.adversarial
        return DomainBranch(self.classifier.in_features, slides, factor) if factor else None


def _rests(scores: Sequence[Tensor], added: Sequence[Tensor]) -> list[tuple[Tensor, Tensor] | None]:
    """Of each magnification, what the patches of the others weigh and add; None of a single one."""
    if len(scores) == 1:
        return [None]
    whole = range(len(scores))
    others = [[other for other in whole if other != one] for one in whole]
    return [
        (
            torch.cat([scores[other] for other in own]).logsumexp(0),
            torch.stack([added[other].sum(0) for other in own]).sum(0),
        )
        for own in others
    ]


class DomainBranch(nn.Module):
    """Domain-adversarial branch: tells the slide of each patch, through a gradient reversal.

    The reversed gradient of patch i is multiplied by λ · (max a − a_i), with the attention a, which protects
    patches that the answer depends on, and λ = α · (2 / (1 + exp(−10 p)) − 1), where p is the progress of the
    training.

    Parameters
    ----------
    features : int
        Width of the embeddings.
    slides : int
        Slides that are told apart.
    factor : float
        α.
    """

    def __init__(self, features: int, slides: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.classify = nn.Sequential(
            nn.Linear(features, DOMAIN_WIDTH), nn.ReLU(), nn.Linear(DOMAIN_WIDTH, slides)
        )

    def forward(self, output: MILOutput, slide: int, progress: float) -> dict[str, Tensor]:
        """The mean cross-entropy over the patches, as the loss ``domain``."""
        embeddings = torch.cat([step.embeddings for step in output.steps if step.embeddings is not None])
        attention = torch.cat([step.attention for step in output.steps]).detach().softmax(0)
        scale = self.factor * (2 / (1 + math.exp(-10 * progress)) - 1)
        unlike = reverse_gradient(embeddings, scale * (attention.max() - attention)[:, None])
        target = torch.full((len(embeddings),), slide, device=embeddings.device)
        return {"domain": cross_entropy(self.classify(unlike), target)}
