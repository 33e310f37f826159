"""Variational autoencoder (Tellez et al. 2019, eq. 8 and 9; Kingma and Welling 2013)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_zoommil.encoders.partners import Decoder
from napari_zoommil.training.encoders.draws import Batch
from napari_zoommil.training.encoders.module import EncoderModule
from napari_zoommil.training.encoders.recipe import EncoderRecipe


class VAE(EncoderModule):
    """The code is the mean μ; log σ² is a second linear layer, which is left away afterwards.

    The squared error is the mean over pixels, as in Keras, which the authors used; eq. 9 is printed without
    the factor −1/2 of the divergence, with which alone it is one.
    """

    columns = ("train_loss", "val_loss", "val_reconstruction", "val_divergence")

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__(recipe)
        self.log_variance = nn.Linear(recipe.sizes.trunk_width, recipe.sizes.code)
        self.decoder = Decoder(recipe.sizes, recipe.decoder)

    def losses(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        images = self.images(batch.first, training)
        trunk = self.encoder.trunk(images)
        mean, log_variance = self.encoder.code(trunk), self.log_variance(trunk).clamp(-20, 20)
        codes = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)  # eq. 8
        error = F.mse_loss(self.decoder(codes), images)
        divergence = divergence_from_normal(mean, log_variance)
        loss = error + self.recipe.kl * divergence  # eq. 9
        return {"loss": loss, "reconstruction": error, "divergence": divergence}


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(μ, σ²) from N(0, 1), nats: summed over the code, mean over the
    batch."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
