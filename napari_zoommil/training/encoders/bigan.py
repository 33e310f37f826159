"""Bidirectional generative adversarial network (Tellez et al. 2019, eq. 10 to 12; Donahue et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_zoommil.encoders.partners import Decoder, Discriminator
from napari_zoommil.training.encoders.draws import Batch
from napari_zoommil.training.encoders.module import EncoderModule
from napari_zoommil.training.encoders.recipe import EncoderRecipe


class BiGAN(EncoderModule):
    """A discriminator tells pairs of image and code apart: (x, E(x)) of (G(z), z).

    In a step the discriminator is trained, then generator and encoder, which minimise the cross-entropy of
    the opposite labels instead of maximising that of the right ones: the minimum is the same, and gradients
    do not vanish while the discriminator is ahead (Donahue et al. 2017, sec. 3.4).

    A validation tells how well the discriminator still does, and the error of G(E(x)); it selects nothing.
    """

    columns = ("train_loss", "train_discriminator", "val_loss", "val_discriminator", "val_accuracy")

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__(recipe)
        self.generator = Decoder(recipe.sizes, recipe.decoder)
        self.discriminator = Discriminator(recipe.sizes, recipe.head)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, _index: int) -> None:
        fooling, discriminating = self.optimizers()  # type: ignore[attr-defined]
        images = self.images(batch.first, True)
        latent = torch.randn(len(images), self.recipe.sizes.code, device=images.device)
        codes, made = self.encoder(images), self.generator(latent)
        loss = self._told_apart(images, codes.detach(), made.detach(), latent)
        discriminating.zero_grad()
        self.manual_backward(loss)
        discriminating.optimizer.step()  # not through Lightning, which would count two steps
        fooled = self._told_apart(images, codes, made, latent, fooled=True)
        fooling.zero_grad()
        self.manual_backward(fooled)
        fooling.step()
        self.told({"loss": fooled, "discriminator": loss}, "train", len(images))

    def _told_apart(
        self, images: Tensor, codes: Tensor, made: Tensor, latent: Tensor, fooled: bool = False
    ) -> Tensor:
        """Cross-entropy of the discriminator (eq. 12), or of the opposite labels."""
        real, false = self.discriminator(images, codes), self.discriminator(made, latent)
        wanted = torch.zeros_like(real) if fooled else torch.ones_like(real)
        loss = F.binary_cross_entropy_with_logits
        return loss(real, wanted) + loss(false, 1 - wanted)

    def losses(self, batch: Batch, training: bool) -> dict[str, Tensor]:
        images = self.images(batch.first, False)
        latent = torch.randn(len(images), self.recipe.sizes.code, device=images.device)
        codes, made = self.encoder(images), self.generator(latent)
        real, false = self.discriminator(images, codes), self.discriminator(made, latent)
        right = torch.cat([real > 0, false < 0]).float().mean()
        return {
            "loss": F.mse_loss(self.generator(codes), images),
            "discriminator": self._told_apart(images, codes, made, latent),
            "accuracy": right,
        }

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        fooling = [*self.encoder.parameters(), *self.generator.parameters()]
        return [
            torch.optim.Adam(weights, recipe.learning_rate, recipe.betas)
            for weights in (fooling, self.discriminator.parameters())
        ]
