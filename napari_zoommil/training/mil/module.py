"""Training of MIL models on bags (ZoomMIL, sec. 4.2): Adam, batch of one slide, plateau schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from napari_zoommil.bags.bag import Bag
from napari_zoommil.models.mil import MILModel
from napari_zoommil.training.callbacks import seed_of

Example = tuple[Bag, int]


COLUMNS = ("train_loss", "val_loss", "val_f1", "val_accuracy")
"""Of the curves."""


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
        # By steps, though once an epoch: Lightning's steps by epoch come after the checkpoint is written, so
        # that a fit that goes on from it would miss one.
        batches = int(self.trainer.estimated_stepping_batches) // (self.trainer.max_epochs or 1)
        each_epoch = {"monitor": "val_loss", "interval": "step", "frequency": batches}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule} | each_epoch}


class SlideDraws(Sampler[int]):
    """Slides of an epoch in random order, which follows from the seed and the epoch.

    Parameters
    ----------
    labels : sequence of int
        Class of each slide.
    balanced : bool
        Draw with replacement, so that classes come equally often.
    seed : int
    """

    def __init__(self, labels: Sequence[int], balanced: bool, seed: int) -> None:
        self.labels, self.balanced, self.seed, self.epoch = torch.tensor(labels), balanced, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning's hook: a fit that goes on has the order it would have had."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[int]:
        # Drawn with the first slide: Lightning asks for an iterator before it tells the epoch to go on with.
        yield from self._drawn()

    def _drawn(self) -> list[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if not self.balanced:
            return torch.randperm(len(self), generator=generator).tolist()
        weights = (1.0 / torch.bincount(self.labels).clamp(min=1))[self.labels]
        return torch.multinomial(weights, len(self), True, generator=generator).tolist()


def loader(examples: Sequence[Example], recipe: MILRecipe | None = None) -> DataLoader[Example]:
    """One slide at a time; shuffled, and balanced over classes if the recipe says so, in training."""
    labels = [label for _, label in examples]
    sampler = None if recipe is None else SlideDraws(labels, recipe.weighted, recipe.seed)
    return DataLoader(examples, batch_size=None, sampler=sampler)  # type: ignore[arg-type]
