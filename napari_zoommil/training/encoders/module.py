"""What the trainings of all methods share: images out of batches, the optimiser, and the schedule's end."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.training.encoders.augment import augmented
from napari_zoommil.training.encoders.draws import Batch
from napari_zoommil.training.encoders.recipe import EncoderRecipe


class EncoderModule(L.LightningModule):
    """A training of an encoder: a method is a subclass.

    Attributes
    ----------
    monitor, mode : str
        Metric of the validation by which the best epoch is known, and whether it is low or high.
    columns : tuple of str
        Metrics of the curves.
    pairs : bool
        Whether batches are pairs of patches.

    Parameters
    ----------
    recipe : EncoderRecipe
    """

    monitor: ClassVar[str] = "val_loss"
    mode: ClassVar[Literal["min", "max"]] = "min"
    columns: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss")
    pairs: ClassVar[bool] = False

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder = ConvolutionalEncoder(recipe.sizes)

    def images(self, patches: Tensor, augment: bool) -> Tensor:
        """(B, p, p, c) uint8 → (B, c, edge, edge) in [−1, 1], the input of the encoder."""
        images = patches.permute(0, 3, 1, 2).float() / 255
        if augment:
            images = augmented(images, self.recipe.augmentation)
        return to_edge(images, self.recipe.sizes.edge) * 2 - 1

    def losses(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        """``loss`` of a batch, and what else the curves show of it."""
        raise NotImplementedError

    def training_step(self, batch: Batch, _index: int) -> Tensor | None:
        found = self.losses(batch, True)
        self.told(found, "train", len(batch.first))
        return found["loss"]

    def validation_step(self, batch: Batch, _index: int) -> None:
        with own_random_numbers(batch.seed):  # the same in each epoch
            found = self.losses(batch, False)
        self.told(found, "val", len(batch.first))

    def told(self, found: dict[str, Tensor], part: str, count: int) -> None:
        """Log what the curves have a column for."""
        named = {f"{part}_{name}": value.detach() for name, value in found.items()}
        known = {name: value for name, value in named.items() if name in self.columns}
        training = part == "train"
        self.log_dict(known, on_step=training, on_epoch=True, batch_size=count)

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        return torch.optim.Adam(self.parameters(), recipe.learning_rate, recipe.betas)


def to_edge(images: Tensor, edge: int) -> Tensor:
    """(B, c, h, h) → (B, c, edge, edge), averaged as the pre-processing of a trained encoder does."""
    return images if images.shape[-1] == edge else F.interpolate(images, (edge, edge), mode="area")


class Plateau(L.Callback):
    """Lowers the learning rate where a metric has not become better for some epochs, and ends the training
    where it is at its least already (Tellez et al. 2019, appendix).

    Parameters
    ----------
    recipe : EncoderRecipe
    monitor, mode : str
    """

    def __init__(self, recipe: EncoderRecipe, monitor: str, mode: str) -> None:
        self.recipe, self.monitor, self.sign = recipe, monitor, 1 if mode == "min" else -1
        self.best, self.waited, self.ended = float("inf"), 0, False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "ended": self.ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_train_start(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.ended

    def on_validation_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value < self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited < self.recipe.patience:
            return
        self.waited = 0
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if all(group["lr"] <= self.recipe.least_rate * 1.001 for group in groups):
            self.ended = trainer.should_stop = True
        for group in groups:
            group["lr"] = max(self.recipe.least_rate, group["lr"] * self.recipe.decay)
