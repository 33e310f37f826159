"""DSMIL: an instance classifier, and an attention to its highest instances (Li 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.attention import attention_pool
from napari_zoommil.models.entries_bag import DSMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step, instance_heads
from napari_zoommil.models.task import Classification


class DSMIL(MILModel):
    """Two streams over one bag: instance logits i = W x + b, and a representation of the bag per output.

    The critical instance of output c is m = argmax i_c; with queries q, A_c = softmax(q · q_m / √L) and
    B_c = Σ A_c v; the logits are a convolution over the stacked B_c, so every B_c counts for every output.
    Several magnifications are concatenated: an instance is a patch of the highest magnification with the
    features of the patches it lies in (of all lower magnifications).

    Both streams have the task's loss, weighted by half each in the recipes: of classes, cross-entropy,
    because probabilities are the softmax of the outputs in this package. The authors train every output by
    binary cross-entropy; ``loss="bce"`` does so too, and its softmax ranks classes in the same order but is
    no calibrated probability. Weights are initialised orthogonally and biases with 0, as the authors do now.

    The heads are the attention to each output, whose softmax is A, then the instance logits. The logits are
    sums over patches, so there is evidence; leaving a patch out may change the critical instance, so there is
    no leave-one-out.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One or more.
    options : DSMILOptions
    """

    name = "dsmil"
    options: DSMILOptions

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: DSMILOptions = DSMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        width, query = in_features * len(self.magnifications), options.query
        self.instance = nn.Linear(width, classes)
        self.query = nn.Sequential(nn.Linear(width, query))
        if options.queries == "mlp":
            self.query.extend([nn.ReLU(), nn.Linear(query, query), nn.Tanh()])
        self.value: nn.Module = nn.Identity()
        if options.values != "identity":
            last = nn.ReLU() if options.values == "linear" else nn.Identity()
            self.value = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(width, width), last)
        self.bag = nn.Conv1d(classes, classes, width)
        self.apply(_orthogonal)

    @property
    def heads(self) -> tuple[str, ...]:
        return (*self.task.names, *instance_heads(self.task))

    def steps(self, grid: PatchGrid) -> Pass:
        rows = np.arange(len(grid.levels[-1]))
        features = []
        for level, own in enumerate(_ancestors(grid)):
            wanted, place = np.unique(own, return_inverse=True)
            found = yield Need(level, wanted)
            features.append(found if len(wanted) == len(own) else found[torch.from_numpy(place)])
        bag = torch.cat(features, 1)
        instance, attention = self.instance(bag), self.attention(bag)
        values = self.value(bag)
        logits = self.bag(attention_pool(values, attention)[None])[0, :, 0]
        added = None if self.training else self.evidence(values, attention)
        scores = torch.cat([attention, instance], 1)
        step = Step(len(grid.levels) - 1, rows, scores, bag, evidence=added, pooling=None)
        return MILOutput(logits, (step,))

    def attention(self, bag: Tensor) -> Tensor:
        """(N, D) → (N, C) attention logits to the critical instance of each output."""
        queries = self.query(bag)
        critical = queries[self.instance(bag).argmax(0)]
        return queries @ critical.T / queries.shape[1] ** 0.5

    def evidence(self, values: Tensor, attention: Tensor) -> Tensor:
        """(N, C): Σ_k A_nk (v_n · w_ck), over the representations k; they sum to the logits less the bias."""
        spoken = torch.einsum("nd,ckd->nkc", values, self.bag.weight)
        return torch.einsum("nk,nkc->nc", torch.softmax(attention, 0), spoken)

    def losses(self, output: MILOutput, target: Tensor, progress: float) -> dict[str, Tensor]:
        """The loss of the bag's logits as ``bag``, and of the largest instance logits as ``instance``."""
        (step,) = output.steps
        largest = step.scores[:, self.classes :].amax(0)
        return {"bag": self._loss(output.logits, target), "instance": self._loss(largest, target)}

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.options.loss == "bce" and isinstance(self.task, Classification):
            return F.binary_cross_entropy_with_logits(logits, F.one_hot(target, self.classes).to(logits))
        return self.task.loss(logits, target)


def _ancestors(grid: PatchGrid) -> list[np.ndarray]:
    """For each magnification, the row of the patch that each patch of the highest one lies in."""
    rows = [np.arange(len(grid.levels[-1]))]
    for level in reversed(grid.levels[1:]):
        rows.insert(0, level.parent[rows[0]])
    return rows


def _orthogonal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
