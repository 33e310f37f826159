"""Contrastive training: are two patches of the same place? (Tellez et al. 2019, sec. 2.2)"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_zoommil.encoders.partners import Head
from napari_zoommil.training.encoders.draws import Batch
from napari_zoommil.training.encoders.module import EncoderModule
from napari_zoommil.training.encoders.recipe import EncoderRecipe


class Contrastive(EncoderModule):
    """A siamese network: two branches share the encoder; an MLP tells from both codes.

    Patches are augmented in the validation as well: those of the same place would be equal.
    """

    monitor, mode = "val_accuracy", "max"
    columns = ("train_loss", "val_loss", "val_accuracy")
    pairs = True

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__(recipe)
        self.head = Head(2 * recipe.sizes.code, 1, recipe.head)

    def losses(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        both = self.images(torch.cat([batch.first, batch.second]), True)
        codes = self.encoder(both)  # in one pass, so that batch normalisation cannot tell the branches apart
        half = len(batch.first)
        logits = self.head(torch.cat([codes[:half], codes[half:]], 1))[:, 0]
        targets = batch.targets.float()
        right = ((logits > 0) == (targets > 0)).float().mean()
        return {"loss": F.binary_cross_entropy_with_logits(logits, targets), "accuracy": right}
