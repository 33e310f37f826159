"""Training of MIL models on bags (ZoomMIL, sec. 4.2): Adam, batch of one slide, plateau schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from napari_zoommil.bags.bag import Bag
from napari_zoommil.models.mil import MILModel

Example = tuple[Bag, int]


@dataclass(frozen=True)
class MILRecipe:
    """Settings of a fit.

    Attributes
    ----------
    epochs : int
    learning_rate, weight_decay : float
        Of Adam.
    decay, patience : float, int
        The learning rate is multiplied by ``decay`` after ``patience`` epochs without a better
        validation loss.
    weighted : bool
        Draw slides so that classes come equally often.
    seed : int
    """

    epochs: int = 100
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    decay: float = 0.8
    patience: int = 5
    weighted: bool = True
    seed: int = 0


class MILModule(L.LightningModule):
    """Cross-entropy on the bag's logits, weighted F1 and accuracy on validation slides."""

    def __init__(self, model: MILModel, recipe: MILRecipe) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self.f1 = MulticlassF1Score(model.classes, average="weighted")
        self.accuracy = MulticlassAccuracy(model.classes, average="micro")

    def training_step(self, batch: Example, _index: int) -> Tensor:
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        self.model.progress(min(1.0, self.trainer.global_step / steps))
        loss = self._loss(batch)[0]
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=1)
        return loss

    def validation_step(self, batch: Example, _index: int) -> None:
        loss, logits, label = self._loss(batch)
        self.f1.update(logits[None], label)
        self.accuracy.update(logits[None], label)
        self.log("val_loss", loss, batch_size=1)
        self.log("val_f1", self.f1, batch_size=1)
        self.log("val_accuracy", self.accuracy, batch_size=1)

    def transfer_batch_to_device(self, batch: Example, device: torch.device, dataloader_idx: int) -> Example:
        """A bag stays where it lies; the model moves the features it asks for."""
        return batch

    def _loss(self, batch: Example) -> tuple[Tensor, Tensor, Tensor]:
        bag, index = batch
        label = torch.tensor([index], device=self.device)
        logits = self.model(bag).logits
        return torch.nn.functional.cross_entropy(logits[None], label), logits, label

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        optimizer = torch.optim.Adam(
            self.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=recipe.decay, patience=recipe.patience
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def loader(examples: Sequence[Example], recipe: MILRecipe | None = None) -> DataLoader[Example]:
    """One slide at a time; shuffled, and balanced over classes if the recipe says so, in training."""
    sampler = None
    if recipe is not None and recipe.weighted:
        labels = torch.tensor([label for _, label in examples])
        weights = (1.0 / torch.bincount(labels).clamp(min=1))[labels]
        generator = torch.Generator().manual_seed(recipe.seed)
        sampler = WeightedRandomSampler(weights.tolist(), len(examples), generator=generator)
    return DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
        shuffle=recipe is not None and sampler is None,
    )
