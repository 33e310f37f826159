"""Images are changed at random in a training, and in nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_zoommil.geometry import NATIVE, Box
from napari_zoommil.models import create
from napari_zoommil.models.registry import Recipe
from napari_zoommil.training.mil.augmentation import AugmentedBag
from napari_zoommil.training.mil.module import MILModule

PIXELS = torch.from_numpy(np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6) * 3)


class Given:
    """A bag of one image."""

    holds, encoder_hash = "pixels", ""
    grid = SimpleNamespace(levels=())

    def image(self, box: Box, mpp: float):
        yield 0.5
        return PIXELS


def drawn(recipe: Recipe, times: int = 60) -> list[torch.Tensor]:
    bag, found = AugmentedBag(Given(), recipe), []
    assert bag.grid is Given.grid and bag.holds == "pixels"
    for _ in range(times):
        reading = bag.image(Box(0, 0, 4, 6), NATIVE)
        assert next(reading) == 0.5
        with pytest.raises(StopIteration) as end:
            next(reading)
        found.append(end.value.value)
    return found


def test_there_are_eight_orientations_of_the_same_pixels() -> None:
    before = PIXELS.clone()
    torch.manual_seed(0)
    found = {(one.shape, one.numpy().tobytes()) for one in drawn(Recipe(rotate_flip=True))}
    wanted = {
        (turned.shape, turned.contiguous().numpy().tobytes())
        for mirrored in (PIXELS, PIXELS.flip(2))
        for turned in (torch.rot90(mirrored, turns, (1, 2)) for turns in range(4))
    }
    assert found == wanted and len(wanted) == 8
    assert torch.equal(PIXELS, before), "what the bag keeps stays as it is"


def test_brightness_is_a_factor_and_contrast_leaves_the_mean() -> None:
    torch.manual_seed(0)
    for one in drawn(Recipe(brightness=0.1), 10):
        factors = one[PIXELS > 60].double() / PIXELS[PIXELS > 60]
        assert (
            one.dtype == torch.uint8 and float(factors.std()) < 0.01 and abs(float(factors.mean()) - 1) < 0.11
        )
    spreads = [float(one.double().std() / PIXELS.double().std()) for one in drawn(Recipe(contrast=0.2), 20)]
    assert min(spreads) < 0.95 and max(spreads) > 1.05 and min(spreads) > 0.79 and max(spreads) < 1.21
    means = [float(one.double().mean() - PIXELS.double().mean()) for one in drawn(Recipe(contrast=0.2), 20)]
    assert np.abs(means).max() < 3


def test_only_a_training_step_sees_them() -> None:
    bag, recipe = Given(), Recipe(rotate_flip=True)
    module = MILModule(create("bagnet", 3, 2, (NATIVE,), receptive_field=9, width=1 / 64), recipe)
    assert isinstance(module.train()._augmented(bag), AugmentedBag)
    assert module.eval()._augmented(bag) is bag
    module.recipe = replace(recipe, rotate_flip=False)
    assert module.train()._augmented(bag) is bag and recipe.augmentation == {"rotate_flip": True}
