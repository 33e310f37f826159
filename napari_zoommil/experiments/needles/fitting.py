"""A BagNet fitted to images of two classes: RMSProp, and the epoch with the best validation accuracy."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from napari_zoommil.files import make_folder, write_file
from napari_zoommil.models.blocks.bagnet import BagNet

KEPT_BYTES = 2**29
"""Most memory for the images of a data set; those of larger ones are made again in every epoch."""

PIXELS = 8 * 512**2
"""Most numbers in the images of a pass; larger batches are computed in parts, of which gradients are
accumulated (about 10 GB with all of the paper's filters)."""

SMOOTHING, EPS = 0.99, 1e-5
"""Of RMSProp."""

SPLITS = ("train", "val", "test")


class Images(Protocol):
    """A data set.

    Attributes
    ----------
    labels : (n,) int64
        0 or 1.
    """

    labels: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        ...

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, channels, height, width)."""
        ...


class Schedule(Protocol):
    """How long and how fast: attributes of presets."""

    @property
    def epochs(self) -> int: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def milestones(self) -> tuple[float, ...]:
        """Shares of the epochs after which the learning rate is divided by 10."""
        ...

    @property
    def batch(self) -> int: ...


def at_once(images: Images, batch: int) -> int:
    """Images of a pass: a batch, or fewer of large images."""
    return max(1, min(batch, PIXELS // int(np.prod(images.shape))))


class Drawn:
    """Batches of a data set, whose images are kept if they are few enough.

    Parameters
    ----------
    images : Images
    """

    def __init__(self, images: Images) -> None:
        self.images, self.labels = images, torch.from_numpy(images.labels)
        self.pixels = int(np.prod(images.shape))
        small = 2 * len(self) * self.pixels <= KEPT_BYTES
        # Half precision holds a byte's 256 values; as bytes, Gaussian noise would be cut off.
        self._kept = images.batch(np.arange(len(self))).astype(np.float16) if small else None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """(B, channels, height, width) float32."""
        own = self.images.batch(indices) if self._kept is None else self._kept[indices]
        return torch.from_numpy(own).float()


def fit(
    network: BagNet, images: Mapping[str, Images], schedule: Schedule, seed: int, weights: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Train, and test the best epoch.

    Parameters
    ----------
    network : BagNet
    images : mapping of str to Images
        ``train``, ``val`` and ``test``.
    schedule : Schedule
    seed : int
        Of the order.
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
        ``test``, ``val`` (best) and ``train`` accuracy (highest of an epoch), ``epochs`` of the latter two,
        ``fitted`` (first epoch with more than 99 % of the training images right, from 1, or None),
        ``parameters``, ``seconds``.
    """
    started, place = time.perf_counter(), torch.device(device)
    drawn = {name: Drawn(images[name]) for name in SPLITS}
    network = network.to(place)
    optimizer = torch.optim.RMSprop(network.parameters(), schedule.learning_rate, SMOOTHING, EPS)
    milestones = [round(share * schedule.epochs) for share in schedule.milestones]
    lowered = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.1)
    rng = np.random.default_rng((seed, 17))
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    for epoch in range(schedule.epochs):
        right, batches = 0, batches_of(drawn["train"].images.labels, schedule.batch, rng)
        for number, rows in enumerate(batches):
            right += _step(network, optimizer, drawn["train"], rows, place)
            yield (epoch + number / len(batches)) / schedule.epochs
        lowered.step()
        val = accuracy(network, drawn["val"], schedule.batch, place)
        history.append({"train": right / sum(map(len, batches)), "val": val})
        if val >= max(one["val"] for one in history):
            best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best)
    make_folder(weights.parent)
    write_file(weights, save(best))
    return {
        "test": accuracy(network, drawn["test"], schedule.batch, place),
        "val": max(one["val"] for one in history),
        "train": max(one["train"] for one in history),
        "fitted": next((number for number, one in enumerate(history, 1) if one["train"] > 0.99), None),
        "epochs": history,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "seconds": time.perf_counter() - started,
    }


def batches_of(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rows of each batch of an epoch, the last one left out if it is smaller; of a rarer class, each image
    is drawn several times."""
    rows = [np.flatnonzero(labels == label) for label in (0, 1)]
    if abs(len(rows[0]) - len(rows[1])) > 1:
        half = len(labels) // 2
        rows = [_repeated(own, half, rng) for own in rows]
    order = rng.permutation(np.concatenate(rows))
    whole = len(order) - len(order) % batch or batch
    return [order[first : first + batch] for first in range(0, whole, batch)]


def _repeated(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many rows, none more often than another by more than one."""
    return np.concatenate([rng.permutation(rows) for _ in range(-(-count // len(rows)))])[:count]


def _step(
    network: BagNet, optimizer: torch.optim.Optimizer, drawn: Drawn, rows: NDArray[np.int64],
    device: torch.device,
) -> int:  # fmt: skip
    """A step on a batch; returns the number of right answers before it."""
    network.train()
    optimizer.zero_grad()
    right = 0
    for part in np.array_split(rows, -(-len(rows) // at_once(drawn.images, len(rows)))):
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
    rows = np.arange(len(drawn))
    right = 0
    for part in np.array_split(rows, -(-len(rows) // at_once(drawn.images, batch))):
        right += int((network(drawn.batch(part).to(device)).argmax(1).cpu() == drawn.labels[part]).sum())
    return right / len(rows)
