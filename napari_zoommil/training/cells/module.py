"""Training of cell models on sparse annotations (supplement of ECE, sec. 2 and Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from napari_zoommil.cells.augmentation import Placement, distorted
from napari_zoommil.cells.losses import create_loss
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.cells.model import as_images
from napari_zoommil.cells.outputs import BoxOutput
from napari_zoommil.cells.targets import BoxTargets, assign_boxes, detection_loss
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.encoders.random_numbers import seed_torch
from napari_zoommil.errors import ModelError
from napari_zoommil.training.callbacks import seed_of
from napari_zoommil.training.cells.elr_memory import NOWHERE, RunningTargets, place_of


@dataclass(frozen=True)
class CellRecipe:
    """Settings of a fit.

    Attributes
    ----------
    loss : str
        One of :data:`napari_zoommil.cells.losses.LOSSES`.
    options : dict
        Options of the loss.
    epochs, draws : int
        Number of epochs, and of randomly augmented windows per epoch; 0 for as many as there are windows.
    batch_size, accumulate : int
        Windows per batch, and batches per update.
    learning_rate : float
        Learning rate of Adam.
    head_rate : float
        Factor of the learning rate for the last layer.
    crop : int
        Edge of the random crop, px; the output of an unpadded network is smaller.
    background : float
        Weight of boxes without an assigned cell.
    stained : bool
        Perturb the stains of haematoxylin and eosin.
    trust : int
        Number of annotated cells that the initial weights count as, see
        :mod:`napari_zoommil.training.cells.averaging`; 0 to replace them.
    seed : int
    """

    loss: str = "ece"
    options: dict[str, Any] | None = None
    epochs: int = 300
    draws: int = 0
    batch_size: int = 16
    accumulate: int = 4
    learning_rate: float = 1e-4
    head_rate: float = 1.0
    crop: int = 256
    background: float = 10.0
    stained: bool = True
    trust: int = 0
    seed: int = 0


class Sample(NamedTuple):
    """Input of the network: pixels (3, h, w) float32 in [0, 1], targets, and position of the crop."""

    image: Tensor
    targets: Any
    place: Tensor = NOWHERE


class WindowData(Dataset[Sample]):
    """Random crops and augmentations of windows; the same (seed, epoch, draw) gives the same sample."""

    def __init__(
        self, windows: Sequence[Window], recipe: CellRecipe, targets: Callable[[Window], Any], augment: bool
    ) -> None:
        self.windows, self.recipe, self.targets, self.augment = windows, recipe, targets, augment

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, draw: tuple[int, int, int]) -> Sample:
        epoch, number, index = draw
        rng = np.random.default_rng([self.recipe.seed, epoch, number])
        window, size = self.windows[index], self.recipe.crop
        spare = [edge - size for edge in window.shape]
        if not self.augment:
            window = window.cropped(max(0, spare[0] // 2), max(0, spare[1] // 2), size)
            return Sample(as_images(window.image[None])[0], self.targets(window))
        y, x = (int(rng.integers(max(0, free) + 1)) for free in spare)
        placement = Placement.drawn(rng)
        place = place_of(index, (y, x), window.shape, placement)
        window = window.cropped(y, x, size).placed(placement)
        image = distorted(np.ascontiguousarray(window.image), rng, self.recipe.stained)
        return Sample(as_images(image[None])[0], self.targets(window), place)


class Draws(Sampler[tuple[int, int, int]]):
    """(epoch, number, index) of the windows of an epoch; all windows are drawn about equally often."""

    def __init__(self, windows: int, draws: int, seed: int) -> None:
        self.windows, self.draws, self.seed, self.epoch = windows, draws or windows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning's hook, with which a resumed fit has the order of an uninterrupted one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        rounds = -(-self.draws // self.windows)
        order = np.concatenate([rng.permutation(self.windows) for _ in range(rounds)])[: self.draws]
        return iter([(self.epoch, number, int(index)) for number, index in enumerate(order)])


def train_loader(windows: Sequence[Window], recipe: CellRecipe, network: nn.Module) -> DataLoader[Sample]:
    """Batches of augmented windows."""
    data = WindowData(windows, recipe, target_maker(network, recipe.crop), augment=True)
    return DataLoader(
        data,
        batch_size=min(recipe.batch_size, recipe.draws or len(windows)),
        sampler=Draws(len(windows), recipe.draws, recipe.seed),
    )


def target_maker(network: nn.Module, size: int) -> Callable[[Window], Any]:
    """The function that makes the targets of a network from a window of ``size`` px."""
    if isinstance(network, YOLLO):
        anchors = network.anchors
        return lambda window: _as_tensors(
            assign_boxes(window.boxes, window.labels, window.shape, anchors, window.complete)
        )
    assert isinstance(network, UNet)
    margin = (size - network.output_size(size)) // 2
    inner = np.s_[margin : size - margin, margin : size - margin]
    return lambda window: torch.from_numpy(np.ascontiguousarray(window.dense[inner]))


def _as_tensors(targets: BoxTargets) -> BoxTargets:
    return BoxTargets(*(torch.from_numpy(np.asarray(part)) for part in targets))


class CellModule(L.LightningModule):
    """Training step with a cell loss on windows; random numbers depend on the seed and the step, so that a
    resumed fit is equal to an uninterrupted one."""

    def __init__(self, network: UNet | YOLLO, recipe: CellRecipe) -> None:
        super().__init__()
        # Up to twice as fast on a CPU; later operations keep the memory format.
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        boxes = isinstance(network, YOLLO)
        loss = create_loss(recipe.loss, reduction="none" if boxes else "mean", **(recipe.options or {}))
        if boxes and not isinstance(loss, Loss):
            raise ModelError(f"the loss {recipe.loss} needs pixels; train a U-Net or choose another loss")
        self.loss, self.running = loss, RunningTargets()

    def on_train_epoch_start(self) -> None:
        self.network.train()  # Lightning does not restore the mode after validation

    def training_step(self, batch: Sample, index: int) -> Tensor:
        images, targets, places = batch
        total = max(1, self.trainer.max_epochs or 1) * max(1, int(self.trainer.num_training_batches))
        done = self.current_epoch * int(self.trainer.num_training_batches) + index
        seed = seed_of(self.recipe.seed, done)
        seed_torch(seed)  # for dropout
        generator = torch.Generator().manual_seed(seed)
        loss = self.loss_of(images, targets, done / total, generator, places)
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(images))
        return loss

    def loss_of(
        self,
        images: Tensor,
        targets: Any,
        progress: float,
        generator: torch.Generator,
        places: Tensor = NOWHERE[None],
    ) -> Tensor:
        """The loss of a batch; ``progress`` is that of the training, 0 to 1."""
        output, loss = self.network(images), self.loss
        if isinstance(loss, EarlyLearning):
            margin = (images.shape[-1] - output.shape[-1]) // 2
            ensemble = self.running.refreshed(loss, output, places, margin)
            return loss(output, targets, progress, ensemble=ensemble)
        if not isinstance(output, BoxOutput):
            return loss(output, targets, progress, generator=generator)

        def unreduced(scores: Tensor, labels: Tensor, progress: float) -> Tensor:
            return loss(scores, labels, progress, generator=generator)

        return detection_loss(
            output, BoxTargets(*targets), unreduced, progress, lambda_background=self.recipe.background
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["running_targets"] = self.running.windows

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.running.windows = checkpoint["running_targets"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rate, head = self.recipe.learning_rate, list(self.network.head.parameters())
        last = {id(one) for one in head}
        body = [one for one in self.network.parameters() if id(one) not in last]
        groups: list[dict[str, Any]] = [
            {"params": body},
            {"params": head, "lr": rate * self.recipe.head_rate},
        ]
        return torch.optim.Adam(groups, lr=rate)
