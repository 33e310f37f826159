"""Training of MIL models on bags, a slide at a time: the model and its task say what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from napari_zoommil.bags.bag import Bag
from napari_zoommil.models.mil import MILModel, MILOutput
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Task

Example = tuple[Bag, int | float]
"""A bag with the index of its class, or its value."""


class MILModule(L.LightningModule):
    """The weighted sum of a model's losses, and its task's metrics on validation slides.

    Logs the sums as ``train_loss`` and ``val_loss``, each loss as ``train_NAME_loss`` and ``val_NAME_loss``,
    and each metric as ``val_NAME``.
    """

    def __init__(self, model: MILModel, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self.metrics = model.task.metrics()
        self._on_device = nn.ModuleList(self.metrics.values())  # which moves them
        self.share = 0.0

    def training_step(self, batch: Example, _index: int) -> Tensor:
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        self.share = min(1.0, self.trainer.global_step / steps)
        self.model.progress(self.share)
        losses = self._losses(batch)[0]
        self.log_dict(
            {f"train_{name}": loss for name, loss in losses.items()},
            on_step=True,
            on_epoch=True,
            batch_size=1,
        )
        return losses["loss"]

    def validation_step(self, batch: Example, _index: int) -> None:
        losses, output, target = self._losses(batch)
        for metric in self.metrics.values():
            metric.update(self.model.task.measured(output.logits), target[None])
        found: dict[str, Any] = {**losses, **self.metrics}
        self.log_dict({f"val_{name}": value for name, value in found.items()}, batch_size=1)

    def transfer_batch_to_device(self, batch: Example, device: torch.device, dataloader_idx: int) -> Example:
        """A bag stays where it lies; the model moves the features it asks for."""
        return batch

    def _losses(self, batch: Example) -> tuple[dict[str, Tensor], MILOutput, Tensor]:
        """The sum as ``loss`` and each as ``NAME_loss``, with what they are of."""
        bag, value = batch
        target = torch.tensor(value, device=self.device)
        output = self.model(bag)
        losses = self.model.losses(output, target, self.share)
        weights = self.recipe.loss_weights
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        return {"loss": total} | {f"{name}_loss": loss for name, loss in losses.items()}, output, target

    def configure_optimizers(self) -> Any:
        from timm.optim import create_optimizer_v2

        recipe = self.recipe
        optimizer = create_optimizer_v2(
            self.model,
            recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            filter_bias_and_bn=False,
            **recipe.optimizer_options,
        )
        schedules = torch.optim.lr_scheduler
        if recipe.schedule == "cosine":
            schedule = schedules.CosineAnnealingLR(optimizer, recipe.epochs, recipe.least_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}
        if recipe.schedule == "constant":
            return {"optimizer": optimizer}
        plateau = schedules.ReduceLROnPlateau(
            optimizer, recipe.mode, recipe.decay, recipe.patience, min_lr=recipe.least_rate
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": recipe.monitor}}


def loader(
    examples: Sequence[Example], task: Task | None = None, recipe: Recipe | None = None, seed: int = 0
) -> DataLoader[Example]:
    """One slide at a time: in order, or, by a recipe, shuffled and balanced as the task says.

    Parameters
    ----------
    examples : sequence of (Bag, target)
    task : Task, optional
        How examples are balanced, where the recipe weights them.
    recipe : Recipe, optional
        Of a training.
    seed : int
        Of the balanced draws.
    """
    sampler = None
    balanced = task is not None and recipe is not None and recipe.weighted
    weights = task.balance([target for _, target in examples]) if task and balanced else None
    if weights is not None:
        generator = torch.Generator().manual_seed(seed)
        sampler = WeightedRandomSampler(weights, len(examples), generator=generator)
    return DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
        shuffle=recipe is not None and sampler is None,
    )
