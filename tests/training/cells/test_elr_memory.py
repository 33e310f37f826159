"""Running targets in the windows' own geometry, against a plain moving average per pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zoommil.cells.augmentation import Placement
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.errors import ModelError
from napari_zoommil.training.cells.elr_memory import RunningTargets, place_of
from napari_zoommil.training.cells.module import CellModule, CellRecipe, WindowData

LOSS = EarlyLearning(beta=0.7, strength=3.0)


def shown(maps: np.ndarray, corner: tuple[int, int], size: int, placement: Placement) -> torch.Tensor:
    """What a model that knows each pixel of a (C, h, w) window would say of a sample."""
    y, x = corner
    part = placement.apply(maps[:, y : y + size, x : x + size], (1, 2))
    return torch.from_numpy(np.ascontiguousarray(part))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("margin", [0, 2])
def test_each_pixel_keeps_its_own_average(channels: int, margin: int) -> None:
    rng = np.random.default_rng(0)
    shape, size = (14, 17), 9
    maps = rng.normal(size=(2, channels, *shape)).astype(np.float32)
    running = RunningTargets()
    share = np.exp(np.concatenate((np.zeros_like(maps), maps), 1) if channels == 1 else maps)
    share /= share.sum(1, keepdims=True)
    expected = np.zeros_like(share)
    for _ in range(30):
        windows = rng.integers(0, 2, 2)
        corners = [(int(rng.integers(6)), int(rng.integers(9))) for _ in windows]
        placements = [Placement.drawn(rng) for _ in windows]
        logits = torch.stack(
            [shown(maps[w], c, size, p) for w, c, p in zip(windows, corners, placements, strict=True)]
        )
        logits = logits[..., margin : size - margin, margin : size - margin]
        places = torch.stack(
            [place_of(int(w), c, shape, p) for w, c, p in zip(windows, corners, placements, strict=True)]
        )
        found = running.refreshed(LOSS, logits, places, margin)
        for row, (window, (y, x), placement) in enumerate(zip(windows, corners, placements, strict=True)):
            part = np.s_[window, :, y + margin : y + size - margin, x + margin : x + size - margin]
            expected[part] = 0.7 * expected[part] + 0.3 * share[part]
            np.testing.assert_allclose(
                found[row], placement.apply(expected[part], (1, 2)), atol=5e-3, err_msg=str(placement)
            )
    for window, kept in running.windows.items():
        np.testing.assert_allclose(kept.float(), expected[window], atol=5e-3)


def window() -> Window:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    return Window(
        image,
        rng.integers(0, 2, (40, 48)),
        np.zeros((0, 4)),
        np.zeros(0, np.int64),
        np.zeros((40, 48), bool),
    )


def test_a_sample_says_where_it_was_cut() -> None:
    one = window()
    recipe = CellRecipe(crop=32, stained=False)
    data = WindowData([one, one], recipe, lambda cut: torch.from_numpy(cut.dense.copy()), augment=True)
    for number in range(20):
        sample = data[3, number, 1]
        index, y, x, height, width, turns, *flips, transposed = sample.place.tolist()
        assert (index, height, width) == (1, 40, 48)
        placement = Placement(turns, (bool(flips[0]), bool(flips[1])), bool(transposed))
        back = placement.undo(sample.targets.numpy())
        np.testing.assert_array_equal(back, one.dense[y : y + 32, x : x + 32])


def test_the_memory_survives_a_checkpoint() -> None:
    module = CellModule(UNet(width=2, padding="same"), CellRecipe(loss="elr-cifar10", crop=32))
    data = WindowData([window()], module.recipe, lambda cut: torch.from_numpy(cut.dense.copy()), augment=True)
    sample = data[0, 0, 0]
    module.loss_of(sample.image[None], sample.targets[None], 0.0, torch.Generator(), sample.place[None])
    checkpoint: dict = {}
    module.on_save_checkpoint(checkpoint)
    other = CellModule(UNet(width=2, padding="same"), module.recipe)
    other.on_load_checkpoint(checkpoint)
    assert other.running.windows[0].any()
    assert torch.equal(other.running.windows[0], module.running.windows[0])


def test_boxes_have_no_memory() -> None:
    with pytest.raises(ModelError, match="elr-cifar10"):
        CellModule(YOLLO(width=2), CellRecipe(loss="elr-cifar10"))
