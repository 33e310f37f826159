"""MaxMIL and MeanMIL: embeddings of all patches, pooled by maximum or mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models.blocks.layers import classifier, embedding
from napari_zoommil.models.blocks.sampling import drawn
from napari_zoommil.models.entries_bag import PoolingOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step, instance_heads


class _PooledMIL(MILModel):
    """Embed, pool, classify.

    The scores of a patch are the logits that the model would have for a bag of this patch alone, one head per
    output: there is no attention to show. With a linear classifier, their mean is the logits of MeanMIL.
    """

    options: PoolingOptions
    pooling: tuple[int, ...] | None

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: PoolingOptions = PoolingOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        self.embed = embedding(in_features, options.hidden, options.dropout)
        self.classify = classifier(options.classifier, options.hidden, classes, options.dropout)

    @property
    def heads(self) -> tuple[str, ...]:
        return instance_heads(self.task)

    def steps(self, grid: PatchGrid) -> Pass:
        rows = drawn(len(grid.levels[0]), self.options.sampled, self.training)
        embeddings = self.embed((yield Need(0, rows, preview=self._alone)))
        logits = self.classify(self.pool(embeddings))
        scores = self.classify(embeddings)
        added = None
        if isinstance(self.classify, nn.Linear) and not self.training:
            added = self.evidence(embeddings, self.classify.weight)
        step = Step(0, rows, scores, embeddings, evidence=added, pooling=self.pooling)
        return MILOutput(logits, (step,))

    def _alone(self, features: Tensor) -> Tensor:
        return self.classify(self.embed(features))

    @abstractmethod
    def pool(self, embeddings: Tensor) -> Tensor:
        """(N, F) → (F,)."""

    @abstractmethod
    def evidence(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        """What each patch adds to each output of a linear classifier.

        Parameters
        ----------
        embeddings : (N, F)
        weights : (C, F)

        Returns
        -------
        (N, C)
        """


class MeanMIL(_PooledMIL):
    """Pooling by the mean: logits = W mean(ReLU(E x)) + b.

    The evidence of a patch is W h / N.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : PoolingOptions
    """

    name = "meanmil"
    pooling = ()

    def pool(self, embeddings: Tensor) -> Tensor:
        return embeddings.mean(0)

    def evidence(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        return embeddings @ weights.T / len(embeddings)


class MaxMIL(_PooledMIL):
    """Pooling by the maximum of each feature: logits = W max(ReLU(E x)) + b.

    The evidence of a patch is the sum of w · h over the features whose maximum it holds; most patches of a
    large bag hold none. If it is left out, other patches take over these features, which occlusion tells.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : PoolingOptions
    """

    name = "maxmil"
    pooling = None

    def pool(self, embeddings: Tensor) -> Tensor:
        return embeddings.max(0).values

    def evidence(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        largest, place = embeddings.max(0)
        added = embeddings.new_zeros(len(embeddings), len(weights))
        return added.index_add(0, place, (weights * largest).T)
