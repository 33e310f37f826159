"""Points teach a MIL model: exclusive cross-entropy on its attention beside the loss of the bag.

A patch that holds a point is annotated, and what is not marked does not count as background (Panteli et
al. 2021). ZoomMIL has no instance classifier: what tells its patches apart is the attention (eq. 2) and the
scores that it zooms by (sec. 3.3), so these are the instance scores. Softmax gives a patch the share
exp(logit) / Σ exp(logit), and the odds of a sigmoid are exp(logit − offset): the attention *is* the odds
that a patch is annotated, but for an offset that softmax does not see. Each attention is therefore given
one, learnt with it. It begins where a patch of average attention has the odds of the annotated share of the
patches (the prior of Lin et al. 2017, sec. 3.3, by data): begun at even odds, every patch above
the average would pass for a likely positive and be left out of the loss from the first step on.

In training, the patches of ZoomMIL's later steps are mixtures, and only those it zooms into are seen at all.
Instance scores come from the attention on single patches instead, at every magnification. The bag is passed
as in prediction: points say directly where to zoom, better than the noisy gradient of a perturbed selection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_zoommil.bags.subgrid import TensorBag
from napari_zoommil.cells.losses import create_loss
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.losses.schedules import constant
from napari_zoommil.errors import ModelError
from napari_zoommil.models.blocks.attention import GatedAttention
from napari_zoommil.models.mil import MILModel


@dataclass(frozen=True)
class PointRecipe:
    """Settings of a fit.

    Attributes
    ----------
    loss : str
        One of :data:`napari_zoommil.cells.losses.LOSSES`, on the instance scores.
    options : dict
        Of the loss.
    weight : float
        Of the loss on instance scores; the bag's counts 1.
    epochs : int
        Steps: the bag is one slide.
    learning_rate, offset_rate : float
        Of Adam, for the model and for the offsets.
    seed : int
    """

    loss: str = "ece"
    options: dict[str, Any] | None = None
    weight: float = 1.0
    epochs: int = 300
    learning_rate: float = 1e-4
    offset_rate: float = 1e-2
    seed: int = 0


COLUMNS = ("train_loss", "bag_loss", "point_loss")
"""Of the curves."""

PRESETS = {"interactive": PointRecipe(epochs=100, learning_rate=3e-4), "paper": PointRecipe()}

INTERACTIVE = {"threshold": constant(0.5), "sampling": constant(1.0), "weight": 1.0}
"""Options of exclusive cross-entropy without annealing, sampling and down-weighting: only the gate is left.
A slide has some hundred patches where an image has 10⁵ pixels, of which a few per cent are annotated. With
the authors' expected weight of 0.1 little holds back the scores of patches that are not annotated:
``tests/benchmarks/mil_points.py`` compares both, with plain cross-entropy beside them."""


def point_recipe(preset: str, loss: str | None = None, **changes: Any) -> PointRecipe:
    """Settings by name, with some of them changed; what is None stays."""
    changed = {name: value for name, value in changes.items() if value is not None}
    settings = replace(PRESETS[preset], **changed)
    loss = loss or settings.loss
    exclusive = loss.startswith("ece") and preset != "paper"
    return replace(settings, loss=loss, options=INTERACTIVE if exclusive else None)


SHARES = (0.01, 0.5)
"""Bounds of the annotated share that offsets begin with."""


@dataclass(frozen=True, eq=False)
class AnnotatedBag:
    """A bag with what is known of it: what a model is taught of a slide.

    Attributes
    ----------
    bag : TensorBag
    targets : tuple of (n,) int64 Tensor
        Of each magnification's patches: 1 = annotated, 0 = not annotated, −1 = known background.
    truth : (C,) float32 Tensor
        What the bag's values shall be: one class, or where they were.
    """

    bag: TensorBag
    targets: tuple[Tensor, ...]
    truth: Tensor


class PointModule(L.LightningModule):
    """The bag's cross-entropy and the mean over magnifications of a loss on the instance scores."""

    def __init__(self, model: MILModel, recipe: PointRecipe, annotated: AnnotatedBag) -> None:
        super().__init__()
        loss = create_loss(recipe.loss, **(recipe.options or {}))
        if not isinstance(loss, Loss):
            raise ModelError(f"the loss {recipe.loss} remembers pixels; take another for a MIL model")
        self.model, self.recipe, self.annotated, self.loss = model, recipe, annotated, loss
        model.requires_grad_(False)
        self.taught = [one.requires_grad_() for one in taught_parameters(model)]
        self.offsets = nn.ParameterList(prior_offsets(model, annotated))

    def training_step(self, _step: int, _index: int) -> Tensor:
        bag = self.bag_loss()
        self.model.train()
        points = self.point_loss(self.current_epoch / self.recipe.epochs)
        loss = bag + self.recipe.weight * points
        self.log_dict({"train_loss": loss, "bag_loss": bag, "point_loss": points}, batch_size=1)
        return loss

    def bag_loss(self) -> Tensor:
        """The task's loss between the truth about the bag and what the model would predict."""
        logits = self.model.eval()(self.annotated.bag).logits
        return self.model.task.loss(logits, self.annotated.truth.to(logits))

    def point_loss(self, progress: float) -> Tensor:
        """The mean over magnifications of the loss of every patch and attention."""
        losses = []
        for level, targets in enumerate(self.annotated.targets):
            scores = self.scores(level)
            losses.append(self.loss(scores, targets.to(scores.device)[:, None].expand_as(scores), progress))
        return torch.stack(losses).mean()

    def scores(self, level: int) -> Tensor:
        """(n, H) instance scores: log-odds that a patch is annotated."""
        features = self.annotated.bag.tensors[level].to(self.device)
        return self.model.attention_logits(level, features) - self.offsets[level]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        groups: list[dict[str, Any]] = [
            {"params": self.taught},
            {"params": self.offsets.parameters(), "lr": recipe.offset_rate},
        ]
        return torch.optim.Adam(groups, lr=recipe.learning_rate)


def taught_parameters(model: MILModel) -> list[nn.Parameter]:
    """What points may change: the attention, and all there is where a model has none of the shared kind.

    Embeddings and classifier stay as they are, for one slide would bend them to itself: trained whole, the
    shipped model soon took a slide without tumour for one with it.
    """
    attention: list[nn.Module] = [part for part in model.modules() if isinstance(part, GatedAttention)]
    return [one for part in attention or [model] for one in part.parameters()]


@torch.no_grad()
def prior_offsets(model: MILModel, annotated: AnnotatedBag) -> list[nn.Parameter]:
    """(H,) for each magnification: a patch of average attention gets the odds of the annotated share."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    found: list[nn.Parameter] = []
    for features, targets in zip(annotated.bag.tensors, annotated.targets, strict=True):
        logits = model.attention_logits(len(found), features.to(device))
        average = logits.logsumexp(0) - math.log(max(1, len(logits)))
        share = (targets > 0).float().mean().clamp(*SHARES)
        found.append(nn.Parameter(average - share.logit().to(device)))
    model.train(was_training)
    return found


def one_step() -> DataLoader[int]:
    """What an epoch draws: nothing, for the bag is the module's."""
    return DataLoader([0], batch_size=None)  # type: ignore[arg-type]
