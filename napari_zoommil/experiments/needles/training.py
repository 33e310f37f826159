"""A training on needle-MNIST: the epoch with the best validation accuracy is tested."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.mnist import read_mnist
from napari_zoommil.experiments.data.needle_mnist import NeedleImages
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.models.blocks.bagnet import BagNet

KEPT_BYTES = 2**29
"""Most memory for drawn images; those of larger data sets are drawn again in every epoch."""

PIXELS = 32 * 512**2
"""Most pixels of a pass; gradients of larger batches are accumulated."""

SMOOTHING, EPS = 0.99, 1e-5
"""Of RMSProp."""


class Drawn:
    """Batches of a data set, whose images are kept if they are few enough.

    Parameters
    ----------
    images : NeedleImages
    """

    def __init__(self, images: NeedleImages) -> None:
        self.images, self.labels = images, torch.from_numpy(images.labels)
        small = 2 * len(images) * images.canvas.edge**2 <= KEPT_BYTES
        # Half precision holds a byte's 256 values; as bytes, Gaussian noise would be cut off.
        self._kept = images.batch(range(len(images))).astype(np.float16) if small else None

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """(B, 1, edge, edge) float32."""
        own = self.images.batch(indices) if self._kept is None else self._kept[indices]
        return torch.from_numpy(own).float()


def data_sets(trial: Trial, extent: Extent, folder: Path, seed: int) -> dict[str, NeedleImages]:
    """Training, validation and test images of a trial.

    Raises
    ------
    CohortError
        If MNIST cannot be read.
    """
    digits = read_mnist(folder, trial.canvas.digit)
    counts = {"train": trial.train, "val": extent.val, "test": extent.test}
    return {
        split: NeedleImages(
            digits[split], trial.canvas, count, split, seed, trial.balance if split == "train" else 0.5
        )
        for split, count in counts.items()
    }


def network_of(trial: Trial, extent: Extent) -> BagNet:
    """A new network."""
    return BagNet(
        channels=1,
        receptive_field=trial.field,
        width=trial.width,
        blocks=extent.blocks,
        strides=extent.strides,
        norm=trial.norm,  # type: ignore[arg-type]
        pooling=trial.pooling,  # type: ignore[arg-type]
        compensate=extent.compensate,
    )


def trained_network(trial: Trial, extent: Extent, weights: Path) -> BagNet:
    """The network of a finished training, for evaluation."""
    network = network_of(trial, extent)
    network.load_state_dict(load_file(weights))
    return network.eval()


def train_one(
    trial: Trial, extent: Extent, seed: int, folder: Path, weights: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Train, and test the best epoch.

    Parameters
    ----------
    trial : Trial
    extent : Extent
    seed : int
        Of weights, order, and images.
    folder : Path
        Of MNIST.
    weights : Path
        Where the weights of the best epoch are written.
    device : str

    Yields
    ------
    float
        Share of the training that is done.

    Returns
    -------
    dict
        ``test``, ``val`` (best) and ``train`` accuracy (highest of an epoch), ``epochs`` of all three,
        ``fitted`` (first epoch with more than 99 % of the training images right, from 1, or None),
        ``parameters``, ``seconds``.
    """
    started, place = time.perf_counter(), torch.device(device)
    drawn = {name: Drawn(images) for name, images in data_sets(trial, extent, folder, seed).items()}
    with own_random_numbers(seed):
        network = network_of(trial, extent).to(place)
    optimizer = torch.optim.RMSprop(network.parameters(), extent.learning_rate, SMOOTHING, EPS)
    milestones = [round(share * extent.epochs) for share in extent.milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.1)
    rng = np.random.default_rng((seed, 17))
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    for epoch in range(extent.epochs):
        right, batches = 0, _order(drawn["train"].images.labels, extent.batch, rng)
        for number, rows in enumerate(batches):
            right += _step(network, optimizer, drawn["train"], rows, place)
            yield (epoch + number / len(batches)) / extent.epochs
        schedule.step()
        val = accuracy(network, drawn["val"], extent.batch, place)
        history.append({"train": right / sum(map(len, batches)), "val": val})
        if val >= max(one["val"] for one in history):
            best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best)
    make_folder(weights.parent)
    write_file(weights, save(best))
    return {
        "test": accuracy(network, drawn["test"], extent.batch, place),
        "val": max(one["val"] for one in history),
        "train": max(one["train"] for one in history),
        "fitted": next((number for number, one in enumerate(history, 1) if one["train"] > 0.99), None),
        "epochs": history,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "seconds": time.perf_counter() - started,
    }


def _order(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rows of each batch of an epoch; of a rarer class, each image is drawn several times."""
    rows = [np.flatnonzero(labels == label) for label in (0, 1)]
    if abs(len(rows[0]) - len(rows[1])) > 1:
        half = len(labels) // 2
        rows = [np.concatenate([rng.permutation(own) for _ in range(-(-half // len(own)))])[:half]
                for own in rows]  # fmt: skip
    order = rng.permutation(np.concatenate(rows))
    return [
        order[first : first + batch] for first in range(0, len(order) - len(order) % batch or batch, batch)
    ]


def _step(
    network: BagNet, optimizer: torch.optim.Optimizer, drawn: Drawn, rows: NDArray[np.int64],
    device: torch.device,
) -> int:  # fmt: skip
    """A step on a batch; returns the number of right answers before it."""
    network.train()
    optimizer.zero_grad()
    right = 0
    at_once = max(1, PIXELS // drawn.images.canvas.edge**2)
    for part in np.array_split(rows, -(-len(rows) // at_once)):
        labels = drawn.labels[part].to(device)
        logits = network(drawn.batch(part).to(device))
        (F.cross_entropy(logits, labels, reduction="sum") / len(rows)).backward()
        right += int((logits.argmax(1) == labels).sum())
    optimizer.step()
    return right


@torch.no_grad()
def accuracy(network: BagNet, drawn: Drawn, batch: int, device: torch.device) -> float:
    """Share of right answers on a data set."""
    network.eval()
    rows = np.arange(len(drawn.images))
    right = 0
    for part in np.array_split(rows, -(-len(rows) // batch)):
        right += int((network(drawn.batch(part).to(device)).argmax(1).cpu() == drawn.labels[part]).sum())
    return right / len(rows)
