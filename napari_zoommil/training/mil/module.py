"""Training of MIL models on bags, one slide at a time; the model and its task define the losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle, islice, pairwise
from typing import Any

import lightning as L
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

from napari_zoommil.bags.bag import Bag
from napari_zoommil.models.mil import MILModel, MILOutput
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Task
from napari_zoommil.training.callbacks import seed_of
from napari_zoommil.training.mil.augmentation import AugmentedBag

Example = tuple[Bag, int | float]
"""A bag with the index of its class, or its value."""

Numbered = tuple[Bag, int | float, int]
"""An example, and its place among the examples."""

Batch = list[Numbered]
"""Examples that a model passes together."""


def columns(task: Task) -> tuple[str, ...]:
    """Columns of the curves: losses, and the task's metrics on validation slides."""
    return ("train_loss", "val_loss", *(f"val_{name}" for name in task.metrics()))


class MILModule(L.LightningModule):
    """Trains on the weighted sum of a model's losses, and computes the task's metrics on validation slides.

    Logs the sums as ``train_loss`` and ``val_loss``, each loss as ``train_NAME_loss`` and ``val_NAME_loss``,
    and each metric as ``val_NAME``.

    Parameters
    ----------
    model : MILModel
    recipe : Recipe
    slides : int
        Number of training slides, for models that have an auxiliary network.
    """

    def __init__(self, model: MILModel, recipe: Recipe, slides: int = 0) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self.auxiliary = model.auxiliary(slides) if slides else None
        self.metrics = model.task.metrics()
        # registered, so that they are moved to the device
        self._on_device = nn.ModuleList(self.metrics.values())
        self.share = 0.0

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        self.share = min(1.0, self.trainer.global_step / steps)
        self.model.progress(self.share)
        losses = self._losses(batch)[0]
        self.log_dict(
            {f"train_{name}": loss for name, loss in losses.items()},
            on_step=True,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch),
        )
        return losses["loss"]

    def validation_step(self, batch: Batch, _index: int) -> None:
        with self.model.validating():
            losses, outputs, targets = self._losses(batch)
        for output, target in zip(outputs, targets, strict=True):
            for metric in self.metrics.values():
                metric.update(self.model.task.measured(output.logits), target[None])
        found: dict[str, Any] = {**losses, **self.metrics}
        self.log_dict(
            {f"val_{name}": value for name, value in found.items()}, sync_dist=True, batch_size=len(batch)
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Bags stay on the CPU; the model moves the features that it requests."""
        return batch

    def _losses(self, batch: Batch) -> tuple[dict[str, Tensor], list[MILOutput], list[Tensor]]:
        """The sum as ``loss`` and each loss as ``NAME_loss``, means over the slides, with outputs and
        targets."""
        targets = [torch.tensor(value, device=self.device) for _, value, _ in batch]
        outputs = self.model.outputs([self._augmented(bag) for bag, _, _ in batch])
        found = [
            self._of_slide(output, target, slide)
            for output, target, (_, _, slide) in zip(outputs, targets, batch, strict=True)
        ]
        return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}, outputs, targets

    def _augmented(self, bag: Bag) -> Bag:
        """In training, a bag whose image is changed at random, if the recipe says so."""
        return AugmentedBag(bag, self.recipe) if self.training and self.recipe.augmentation else bag

    def _of_slide(self, output: MILOutput, target: Tensor, slide: int) -> dict[str, Tensor]:
        losses = self.model.losses(output, target, self.share)
        if self.auxiliary is not None and self.training:
            losses = losses | self.auxiliary(output, slide, self.share)
        weights = self.recipe.loss_weights
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        return {"loss": total} | {f"{name}_loss": loss for name, loss in losses.items()}

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        optimizer = optimizer_of(self._groups(), recipe)
        if recipe.schedule == "constant":
            return {"optimizer": optimizer}
        # interval="step", although stepped once per epoch: Lightning steps "epoch" schedules after it writes
        # the checkpoint, so that a resumed fit would miss one.
        each_epoch = {"interval": "step", "frequency": self._batches()}
        schedules = torch.optim.lr_scheduler
        if recipe.schedule == "cosine":
            cosine = schedules.CosineAnnealingLR(optimizer, recipe.epochs, recipe.least_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine} | each_epoch}
        if recipe.schedule == "steps":
            places = [round(share * recipe.epochs) for share in recipe.milestones]
            steps = schedules.MultiStepLR(optimizer, places, recipe.decay)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": steps} | each_epoch}
        plateau = schedules.ReduceLROnPlateau(
            optimizer, recipe.mode, recipe.decay, recipe.patience, min_lr=recipe.least_rate
        )
        told = {"scheduler": plateau, "monitor": recipe.monitor} | each_epoch
        return {"optimizer": optimizer, "lr_scheduler": told}

    def _groups(self) -> list[dict[str, Any]]:
        """Trained parameters: those of parts with a learning rate of their own, and all others."""
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.get_submodule(name).parameters()), "lr": rate}
            for name, rate in self.recipe.part_rates.items()
        ]
        known = {weight for group in groups for weight in group["params"]}
        return [{"params": [weight for weight in self.parameters() if weight not in known]}, *groups]

    def _batches(self) -> int:
        """Number of batches per epoch; Lightning computes it together with the number of steps."""
        assert self.trainer.estimated_stepping_batches
        return int(self.trainer.num_training_batches)


def optimizer_of(weights: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe for weights, or groups of them."""
    from timm.optim import create_optimizer_v2

    return create_optimizer_v2(
        weights,
        recipe.optimizer,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        **recipe.optimizer_options,
    )


def processes() -> tuple[int, int]:
    """Index of this process, and the number of processes of the training."""
    if not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class SlideDraws(Sampler[int]):
    """Slides of an epoch in random order, determined by the seed and the epoch.

    Several processes of a training have a share each; if the number of slides is not divisible, the first
    ones are repeated.

    Parameters
    ----------
    count : int
    weights : sequence of float, optional
        Sample with replacement, with these weights.
    seed : int
    """

    def __init__(self, count: int, weights: Sequence[float] | None, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0
        self.weights = None if weights is None else torch.tensor(weights)

    def set_epoch(self, epoch: int) -> None:
        """Lightning's hook, with which a resumed fit has the order of an uninterrupted one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.count / processes()[1])

    def __iter__(self) -> Iterator[int]:
        # Drawn lazily, because Lightning creates the iterator before it sets the epoch of a resumed fit.
        drawn, (own, several) = self._drawn(), processes()
        yield from islice(cycle(drawn), own, len(self) * several, several)

    def _drawn(self) -> list[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if self.weights is None:
            return torch.randperm(self.count, generator=generator).tolist()
        return torch.multinomial(self.weights, self.count, True, generator=generator).tolist()


class EvenBatches(BatchSampler):
    """As few batches of at most ``batch_size`` as there can be, whose sizes differ by one at most.

    A short last batch would be normalised over few slides, or one, by models that normalise over a batch.
    """

    def __init__(self, draws: SlideDraws, batch_size: int) -> None:
        super().__init__(draws, batch_size, drop_last=False)
        self.draws = draws

    def __iter__(self) -> Iterator[list[int]]:
        drawn, count, batches = iter(self.draws), len(self.draws), len(self)
        ends = [math.ceil(count * number / batches) for number in range(batches + 1)]
        for first, end in pairwise(ends):
            yield list(islice(drawn, end - first))


class SlidesInOrder(Sampler[int]):
    """Each slide once; several processes have a share each, or all slides if there are too few."""

    def __init__(self, count: int) -> None:
        self.count = count

    def _own(self) -> range:
        own, several = processes()
        return range(own, self.count, several) if self.count >= several else range(self.count)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[int]:
        yield from self._own()


def loader(
    examples: Sequence[Example], task: Task | None = None, recipe: Recipe | None = None, seed: int = 0
) -> DataLoader[Batch]:
    """Data loader: slides in order, one by one, or with a recipe in its batches, shuffled and balanced.

    Parameters
    ----------
    examples : sequence of (Bag, target)
    task : Task, optional
        Defines the balance of examples, if the recipe is weighted.
    recipe : Recipe, optional
        Given for training.
    seed : int
        Seed of the order.
    """
    numbered: Any = [(bag, target, place) for place, (bag, target) in enumerate(examples)]
    if recipe is None:
        return DataLoader(numbered, batch_size=1, sampler=SlidesInOrder(len(examples)), collate_fn=list)
    targets = [target for _, target in examples]
    weights = task.balance(targets) if task is not None and recipe.weighted else None
    draws = SlideDraws(len(examples), weights, seed)
    return DataLoader(numbered, batch_sampler=EvenBatches(draws, recipe.batch), collate_fn=list)
