from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.errors import ModelError
from napari_zoommil.training.cells.module import CellModule, CellRecipe, Draws, train_loader

RECIPE = CellRecipe(crop=64, draws=6, batch_size=3, epochs=2)


@pytest.fixture
def windows() -> list[Window]:
    rng = np.random.default_rng(0)
    instances = np.zeros((96, 96), np.uint16)
    for number, (y, x) in enumerate(rng.integers(8, 80, (9, 2)), 1):
        instances[y : y + 8, x : x + 8] = number
    image = np.where(instances[..., None] > 0, 80, 220).astype(np.uint8).repeat(3, 2)
    return [window_of_instances(image, instances) for _ in range(4)]


def test_an_epoch_draws_each_window_equally_often() -> None:
    draws = Draws(4, 10, seed=1)
    seen = list(draws)
    counts = np.bincount([index for _, _, index in seen])
    assert len(draws) == len(seen) == 10 and counts.max() - counts.min() <= 1
    assert [number for _, number, _ in seen] == list(range(10))
    draws.set_epoch(1)
    assert list(draws) != seen and list(draws) == list(draws)


def test_samples_follow_from_seed_epoch_and_draw(windows: list[Window]) -> None:
    network = UNet(width=2, padding="same")
    loader = train_loader(windows, RECIPE, network)
    first, again = (next(iter(loader)) for _ in range(2))
    assert torch.equal(first.image, again.image) and torch.equal(first.targets, again.targets)
    assert first.image.shape == (3, 3, 64, 64) and first.targets.shape == (3, 64, 64)
    loader.sampler.set_epoch(1)
    assert not torch.equal(next(iter(loader)).image, first.image)


def test_targets_go_with_the_pixels(windows: list[Window]) -> None:
    images, targets, _ = next(iter(train_loader(windows, RECIPE, UNet(width=2, padding="same"))))
    dark = images.mean(1) < 0.55
    agree = (dark == (targets > 0)).float().mean()
    assert agree > 0.9, "but for blur"


def test_an_unpadded_network_is_taught_its_middle(windows: list[Window]) -> None:
    big = [
        Window(
            *(np.pad(part, ((60, 60), (60, 60), (0, 0))[: part.ndim]) for part in (one.image, one.dense)),
            one.boxes + 60,
            one.labels,
            np.pad(one.complete, 60),
        )
        for one in windows
    ]
    recipe = CellRecipe(crop=188, draws=2, batch_size=2)
    network = UNet(width=2)
    images, targets, _ = next(iter(train_loader(big, recipe, network)))
    assert targets.shape == network(images)[:, 0].shape == (2, 4, 4)


@pytest.mark.parametrize("network", [YOLLO(width=2), UNet(width=2, padding="same")], ids=["yollo", "unet"])
@pytest.mark.parametrize("loss", ["ce", "ece", "focal"])
def test_a_loss_has_a_gradient_at_every_weight(
    windows: list[Window], network: torch.nn.Module, loss: str
) -> None:
    module = CellModule(network, CellRecipe(loss=loss, crop=64, draws=3, batch_size=3))
    images, targets, _ = next(iter(train_loader(windows, RECIPE, network)))
    module.loss_of(images, targets, 0.5, torch.Generator()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_a_detector_does_not_remember_pixels() -> None:
    with pytest.raises(ModelError, match="elr-cifar10"):
        CellModule(YOLLO(width=2), CellRecipe(loss="elr-cifar10"))


def test_the_last_layer_has_a_rate_of_its_own() -> None:
    network = YOLLO(width=4)
    optimizer = CellModule(network, CellRecipe(learning_rate=1e-3, head_rate=5.0)).configure_optimizers()
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert set(rates) == {id(one) for one in network.parameters()}
    assert rates[id(network.head.bias)] == pytest.approx(5e-3)
    assert rates[id(next(network.features.parameters()))] == 1e-3
