"""Supervised encoders: supervised-tumour, supervised-tissue, and the oracle of the synthetic set
(Tellez et al. 2019, appendix)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from napari_zoommil.encoders.partners import Head
from napari_zoommil.training.encoders.draws import Batch
from napari_zoommil.training.encoders.module import EncoderModule
from napari_zoommil.training.encoders.recipe import EncoderRecipe


class Supervised(EncoderModule):
    """An MLP on the code names the class: one sigmoid unit for two classes, a softmax layer for more.

    Parameters
    ----------
    recipe : EncoderRecipe
    classes : int
    """

    monitor, mode = "val_accuracy", "max"
    columns = ("train_loss", "val_loss", "val_accuracy")

    def __init__(self, recipe: EncoderRecipe, classes: int) -> None:
        super().__init__(recipe)
        self.head = Head(recipe.sizes.code, 1 if classes == 2 else classes, recipe.head)

    def losses(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        logits = self.head(self.encoder(self.images(batch.first, training)))
        targets = batch.targets
        if logits.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
            named = (logits[:, 0] > 0).long()
        else:
            loss, named = F.cross_entropy(logits, targets), logits.argmax(1)
        return {"loss": loss, "accuracy": (named == targets).float().mean()}
