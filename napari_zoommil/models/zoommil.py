"""ZoomMIL: a model that learns where to zoom and reads only those patches (Thandiackal et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.attention import GatedAttention, attention_pool, evidence
from napari_zoommil.models.blocks.layers import classifier, embedding
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step
from napari_zoommil.models.topk import SIGMA, hard_topk, normalise_scores, select

LEAST_NOISE = 0.1
"""Fraction of the noise at the end of annealing; the gradient's variance grows with its inverse."""


@dataclass(frozen=True, eq=False)
class _View:
    """The instances of one step: single patches, or mixtures of them if top-k is soft.

    A soft selection of k parents out of c candidates has k · slots instances: instance (i, j) mixes
    the j-th children of the candidates with the weights of selection i. This is (T ⊗ 1)ᵀ H of
    eq. 6 without the full product: candidates of zero weight are left out and T is applied slot by slot.

    Attributes
    ----------
    rows : (m,) int64
        Patches whose features are needed.
    weights : (k, c) Tensor or None
        Weight of each candidate parent in each selection; None if instance i is patch i.
    place : (m,) int64 Tensor or None
        Candidate · slots + slot of each patch.
    slots : int
        Most children per parent.
    """

    rows: NDArray[np.int64]
    weights: Tensor | None = None
    place: Tensor | None = None
    slots: int = 1

    def instances(self, features: Tensor) -> Tensor:
        """(m, D) features → (n, D): single patches, or the mixtures that exist."""
        if self.weights is None or self.place is None:
            return features
        candidates = self.weights.shape[1]
        if not torch.equal(self.place, torch.arange(candidates * self.slots, device=self.place.device)):
            padded = features.new_zeros(candidates * self.slots, features.shape[1])
            features = padded.index_copy_(0, self.place, features)
        mixtures = banded_product(self.weights, features.view(candidates, -1))
        mixtures = mixtures.view(-1, features.shape[1])
        return mixtures if len(self.existing) == len(mixtures) else mixtures[self.existing]

    @cached_property
    def existing(self) -> Tensor:
        """(n,) int64, instances with at least one patch; parents at the edge of the tissue lack children."""
        assert self.weights is not None and self.place is not None
        exists = self.weights.new_zeros(self.weights.shape[1] * self.slots)
        exists[self.place] = 1
        return (self.weights.detach() @ exists.view(-1, self.slots)).flatten().nonzero()[:, 0]

    def mixed(self, indicator: Tensor, union: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
        """Weights (k', c') of single patches in a selection of instances, and those patches' rows."""
        if self.weights is None or self.place is None:
            return indicator, self.rows[union.cpu().numpy()]
        k, candidates = self.weights.shape
        spread = indicator.new_zeros(len(indicator), k * self.slots).index_copy(
            1, self.existing[union], indicator
        )
        weights = torch.einsum("akj,kn->anj", spread.view(-1, k, self.slots), self.weights)
        weights = weights.reshape(-1, candidates * self.slots)[:, self.place]
        used = (weights.detach() > 0).any(0)
        return weights[:, used], self.rows[used.cpu().numpy()]


def banded_product(weights: Tensor, values: Tensor, block: int = 32) -> Tensor:
    """``weights @ values`` for weights whose non-zero columns in neighbouring rows are close together.

    This holds for selections sorted by position. A zero weight outside the band of its block gets no
    gradient, and needs none, because no sample selected it.

    Parameters
    ----------
    weights : (k, c)
    values : (c, D)
    block : int
        Rows multiplied at once.
    """
    used = weights.detach() != 0
    products = []
    for rows, mask in zip(weights.split(block), used.split(block), strict=True):
        columns = mask.any(0).nonzero()[:, 0]
        band = slice(int(columns[0]), int(columns[-1]) + 1)
        products.append(rows[:, band] @ values[band])
    return torch.cat(products)


class ZoomMIL(MILModel):
    """Differentiable zooming over M ≥ 2 magnifications.

    At each magnification, patches are embedded, pooled by a gated attention and, except at the last,
    ranked by a second one (dual gated attention, sec. 3.3); the children of the K best are read next.
    Representations of all magnifications are summed and classified (eq. 7).

    Both attentions score the patches of a step: ``attention`` is used for pooling, ``zoom`` for ranking.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        Ascending, with whole ratios.
    options : ZoomMILOptions

    Raises
    ------
    ModelError
        If there is only one magnification, or ``k`` does not fit their number.
    MagnificationError
        If the magnifications are not ascending with whole ratios.
    """

    name = "zoommil"
    heads: tuple[str, ...] = ("attention", "zoom")
    options: ZoomMILOptions

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (5, 10, 20),
        options: ZoomMILOptions = ZoomMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        steps = len(self.magnifications)
        if steps < 2:
            raise ModelError("ZoomMIL zooms: it needs two magnifications or more")
        self.k = (options.k,) * (steps - 1) if isinstance(options.k, int) else tuple(options.k)
        if len(self.k) != steps - 1 or min(self.k) < 1:
            raise ModelError(f"{steps} magnifications need {steps - 1} positive values of k, not {self.k}")
        self.topk, self.samples, self.sigma = options.topk, options.samples, options.sigma
        self.noise_scale = 1.0
        hidden, width, dropout = options.hidden, options.attention, options.dropout
        self.embed = nn.ModuleList(embedding(in_features, hidden, dropout) for _ in range(steps))
        self.pool = nn.ModuleList(GatedAttention(hidden, width, dropout) for _ in range(steps))
        own = range(steps - 1) if options.dual else ()
        self.zoom = nn.ModuleList(GatedAttention(hidden, width, dropout) for _ in own)
        if not options.dual:
            self.heads = self.heads[:1]
        pooled = hidden * (steps if options.aggregation == "concatenation" else 1)
        self.classifier = classifier(options.classifier, pooled, classes, dropout)

    def progress(self, share: float) -> None:
        self.noise_scale = max(LEAST_NOISE, 1.0 - share) if self.topk == "exact" else 1.0

    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        needed = [counts[0]]
        for index, (k, ratio) in enumerate(zip(self.k, ratios, strict=True)):
            needed.append(min(counts[index + 1], min(k, needed[-1]) * ratio**2))
        return tuple(needed)

    def steps(self, grid: PatchGrid) -> Pass:
        view = _View(np.arange(len(grid.levels[0])))
        pooled: list[Tensor] = []
        steps: list[Step] = []
        for level in range(len(self.magnifications)):
            preview = None if self.training else partial(self.attention_logits, level)
            features = yield Need(level, view.rows, preview=preview)
            embeddings = self.embed[level](view.instances(features))
            scores = [self.pool[level](embeddings)]
            pooled.append(attention_pool(embeddings, scores[0][:, 0]))
            rows, zoomed = view.rows, np.empty(0, np.int64)
            if level < len(self.k):
                scores += [head(embeddings) for head in self.zoom[level : level + 1]]
                view, zoomed = self._zoom(grid, level, view, scores[-1][:, 0])
            # In training, instances are mixtures of patches, which have no evidence.
            summed = self.options.aggregation == "sum" and not self.training
            added = evidence(embeddings, scores[0][:, 0], self.classifier) if summed else None
            steps.append(Step(level, rows, torch.cat(scores, 1), embeddings, zoomed, added))
        return MILOutput(self.classifier(self._aggregated(pooled)), tuple(steps))

    def _aggregated(self, pooled: list[Tensor]) -> Tensor:
        if self.options.aggregation == "sum":
            return torch.stack(pooled).sum(0)
        return torch.cat(pooled) if self.options.aggregation == "concatenation" else pooled[-1]

    def attention_logits(self, level: int, features: Tensor) -> Tensor:
        """(n, D) → (n, 2), the attentions for pooling and for zooming; (n, 1) at the last magnification."""
        embeddings = self.embed[level](features)
        return torch.cat([head(embeddings) for head in (self.pool[level], *self.zoom[level : level + 1])], 1)

    def _zoom(
        self, grid: PatchGrid, level: int, view: _View, scores: Tensor
    ) -> tuple[_View, NDArray[np.int64]]:
        """The view of the next step, and the selected rows."""
        k = self.k[level]
        if self.options.selection == "random-patches":
            # as many as the children of so many patches, on average; not all patches have ratio² with tissue
            total, parents = len(grid.levels[level + 1]), len(grid.levels[level])
            count = max(1, round(min(k, len(view.rows)) * total / parents))
            return _View(self._drawn(total, count)), np.empty(0, np.int64)
        if self.options.selection == "random":
            zoomed = view.rows[self._drawn(len(view.rows), k)]
            return _View(grid.children(level, zoomed)), zoomed
        if not self.training or self.options.selection == "fixed":
            zoomed = view.rows[hard_topk(scores, k).cpu().numpy()]
            return _View(grid.children(level, zoomed)), zoomed
        sigma = (SIGMA[self.topk] if self.sigma is None else self.sigma) * self.noise_scale
        scores = normalise_scores(scores, self.topk)
        weights, zoomed = view.mixed(*select(scores, k, self.samples, sigma, self.topk))
        children = grid.children(level, zoomed)
        slots = grid.ratios[level] ** 2
        place = np.searchsorted(zoomed, grid.levels[level + 1].parent[children]) * slots
        place += grid.slots(level + 1, children)
        return _View(children, weights, torch.from_numpy(place).to(weights.device), slots), zoomed

    def _drawn(self, total: int, count: int) -> NDArray[np.int64]:
        """``count`` of ``total`` rows at random, ascending; always the same ones in a prediction."""
        generator = None if self.training else torch.Generator().manual_seed(0)
        return torch.randperm(total, generator=generator)[:count].sort().values.numpy()
