"""Random changes of the images that a model is trained on; models of patches have none of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from napari_zoommil.bags.bag import Bag
from napari_zoommil.geometry import Box, PatchGrid, Rows
from napari_zoommil.models.registry import Recipe
from napari_zoommil.training.lighting import relit


class AugmentedBag:
    """A bag whose image is another one each time: turned, mirrored, lighter or darker, by a recipe.

    What the bag keeps in memory stays as it is. Random numbers are torch's global ones.

    Parameters
    ----------
    bag : Bag
        Of one image.
    recipe : Recipe
    """

    holds: ClassVar[Literal["pixels"]] = "pixels"

    def __init__(self, bag: Bag, recipe: Recipe) -> None:
        self._bag, self._recipe = bag, recipe

    @property
    def grid(self) -> PatchGrid:
        return self._bag.grid

    @property
    def encoder_hash(self) -> str:
        return self._bag.encoder_hash

    def features(self, level: int, rows: Rows) -> Tensor:
        return self._bag.features(level, rows)

    def image(self, box: Box, mpp: float) -> Generator[float, None, Tensor]:
        """(3, h, w) uint8, or (3, w, h) after a quarter turn."""
        pixels: Tensor = yield from self._bag.image(box, mpp)  # type: ignore[attr-defined]
        if self._recipe.rotate_flip:
            turns, mirrored = int(torch.randint(4, ())), int(torch.randint(2, ()))
            pixels = torch.rot90(pixels.flip(2) if mirrored else pixels, turns, (1, 2))
        return _relit(pixels.contiguous(), self._recipe)


def _relit(pixels: Tensor, recipe: Recipe) -> Tensor:
    """With another contrast and brightness, each by a factor up to the recipe's."""
    if not (recipe.brightness or recipe.contrast):
        return pixels
    images = relit(pixels[None] / 255, recipe.brightness, recipe.contrast)
    return (images[0].clamp(0, 1) * 255).round().to(torch.uint8)
