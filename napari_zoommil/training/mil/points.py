"""Fine-tuning of a MIL model with points: exclusive cross-entropy on its attention plus the bag's loss.

A patch with a point is annotated, and patches without points do not count as background (Panteli et al.
2021). ZoomMIL has no instance classifier; the instance scores are the attention logits (eq. 2) and the
logits by which it zooms (sec. 3.3). The softmax weight of a patch is exp(logit) / Σ exp(logit), and the odds
of a sigmoid are exp(logit − offset): the attention is proportional to the odds that a patch is annotated. The
offset of each attention is a learnt parameter. At the start, a patch of average attention has the odds of the
annotated share of the patches (the prior of Lin et al. 2017, sec. 3.3, estimated from the data). With even
odds, every patch above the average would be a likely positive, which the loss ignores from the first step.

In training, the instances of ZoomMIL's later steps are mixtures of the selected patches. Instance scores are
therefore computed from the attention on single patches, at every magnification. The bag's pass is that of
prediction: points train the selection directly, without the noisy gradient of a perturbed selection.
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
from napari_zoommil.models.blocks.attention import Attention
from napari_zoommil.models.mil import MILModel


@dataclass(frozen=True)
class PointRecipe:
    """Settings of a fit.

    Attributes
    ----------
    loss : str
        Loss of the instance scores, one of :data:`napari_zoommil.cells.losses.LOSSES`.
    options : dict
        Options of the loss.
    weight : float
        Weight of the loss of the instance scores; that of the bag is 1.
    epochs : int
        Number of steps, because the bag is one slide.
    learning_rate, offset_rate : float
        Learning rates of Adam, for the model and for the offsets.
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
"""Columns of the curves."""

PRESETS = {"interactive": PointRecipe(epochs=100, learning_rate=3e-4), "paper": PointRecipe()}

INTERACTIVE = {"threshold": constant(0.5), "sampling": constant(1.0), "weight": 1.0}
"""Options of exclusive cross-entropy without annealing, sampling and down-weighting, so only with the gate.
A slide has some hundred patches while an image has 10⁵ pixels, of which a few per cent are annotated. With
the authors' expected weight of 0.1, the scores of patches that are not annotated are hardly limited:
``tests/benchmarks/mil_points.py`` compares both, and cross-entropy."""


def point_recipe(preset: str, loss: str | None = None, **changes: Any) -> PointRecipe:
    """A preset by name, with changes; values of None are ignored."""
    changed = {name: value for name, value in changes.items() if value is not None}
    settings = replace(PRESETS[preset], **changed)
    loss = loss or settings.loss
    exclusive = loss.startswith("ece") and preset != "paper"
    return replace(settings, loss=loss, options=INTERACTIVE if exclusive else None)


SHARES = (0.01, 0.5)
"""Bounds of the annotated share in the initial offsets."""


@dataclass(frozen=True, eq=False)
class AnnotatedBag:
    """A bag with its patch targets and its label.

    Attributes
    ----------
    bag : TensorBag
    targets : tuple of (n,) int64 Tensor
        For the patches of each magnification: 1 = annotated, 0 = not annotated, −1 = known background.
    truth : (C,) float32 Tensor
        Target of the bag: a class, or its prediction before the training.
    label : str, optional
        Class that the annotated patches are of. If the model has an attention to this class, it alone is
        trained with them.
    """

    bag: TensorBag
    targets: tuple[Tensor, ...]
    truth: Tensor
    label: str | None = None


class PointModule(L.LightningModule):
    """Training step with the bag's loss and the mean over magnifications of the instance loss."""

    def __init__(self, model: MILModel, recipe: PointRecipe, annotated: AnnotatedBag) -> None:
        super().__init__()
        loss = create_loss(recipe.loss, **(recipe.options or {}))
        if not isinstance(loss, Loss):
            raise ModelError(f"the loss {recipe.loss} needs pixels; choose another one for a MIL model")
        self.model, self.recipe, self.annotated, self.loss = model, recipe, annotated, loss
        model.requires_grad_(False)
        self.trained = [one.requires_grad_() for one in trained_parameters(model)]
        self.offsets = nn.ParameterList(prior_offsets(model, annotated))
        self.columns = slice(None)
        if annotated.label in model.heads:
            own = model.heads.index(annotated.label)
            self.columns = slice(own, own + 1)

    def training_step(self, _step: int, _index: int) -> Tensor:
        bag = self.bag_loss()
        self.model.train()
        points = self.point_loss(self.current_epoch / self.recipe.epochs)
        loss = bag + self.recipe.weight * points
        self.log_dict({"train_loss": loss, "bag_loss": bag, "point_loss": points}, batch_size=1)
        return loss

    def bag_loss(self) -> Tensor:
        """The task's loss between the bag's target and its prediction."""
        logits = self.model.eval()(self.annotated.bag).logits
        return self.model.task.loss(logits, self.annotated.truth.to(logits))

    def point_loss(self, progress: float) -> Tensor:
        """The loss over all patches and attentions, averaged over magnifications."""
        losses = []
        for level, targets in enumerate(self.annotated.targets):
            scores = self.scores(level)
            losses.append(self.loss(scores, targets.to(scores.device)[:, None].expand_as(scores), progress))
        return torch.stack(losses).mean()

    def scores(self, level: int) -> Tensor:
        """(n, H) instance scores: log-odds that a patch is annotated, by each attention that is trained."""
        features = self.annotated.bag.tensors[level].to(self.device)
        return (self.model.attention_logits(level, features) - self.offsets[level])[:, self.columns]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        groups: list[dict[str, Any]] = [
            {"params": self.trained},
            {"params": self.offsets.parameters(), "lr": recipe.offset_rate},
        ]
        return torch.optim.Adam(groups, lr=recipe.learning_rate)


def trained_parameters(model: MILModel) -> list[nn.Parameter]:
    """The trained parameters: those of :class:`Attention`, or all if a model has none.

    Embeddings and classifier are frozen, because they would overfit to one slide: with all parameters
    trained, the shipped model soon predicted tumour on slides without tumour.
    """
    attention: list[nn.Module] = [part for part in model.modules() if isinstance(part, Attention)]
    return [one for part in attention or [model] for one in part.parameters()]


@torch.no_grad()
def prior_offsets(model: MILModel, annotated: AnnotatedBag) -> list[nn.Parameter]:
    """Initial offsets (H,) per magnification: average attention has the odds of the annotated share."""
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
    """A data loader with one dummy item, because the bag is in the module."""
    return DataLoader([0], batch_size=None)  # type: ignore[arg-type]
