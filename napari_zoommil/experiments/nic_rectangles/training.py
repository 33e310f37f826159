"""A trial: encoder, compressed images, CNN, and Grad-CAM."""

from __future__ import annotations

import time
from collections.abc import Generator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.mnist import read_mnist
from napari_zoommil.experiments.data.rectangles import CLASSES, EDGE, SPLIT_NUMBERS, RectangleImages
from napari_zoommil.experiments.nic_rectangles.cams import Explained, agreement, explained, grad_cam
from napari_zoommil.experiments.nic_rectangles.encoding import CompressedImages, encoder_of
from napari_zoommil.experiments.nic_rectangles.trials import Extent, Network, Trial
from napari_zoommil.experiments.run_pieces import within
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.models.blocks.nic_cnn import NICNet

VIEWS = 8
LEAST_RATE = 1e-5
SIZE_BINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65)
"""Long side of the tilted rectangle in the edge of the image."""

MNIST_OF = {"encoder": "train", "train": "train", "val": "val", "test": "test"}
"""Digits of test images are of MNIST's test set; the paper does not say."""

PARTS = {"encoder": 0.3, "codes": 0.5, "cnn": 0.95}
"""Share of a piece, for progress, at the end of each of its parts."""


def train_one(
    trial: Trial, extent: Extent, seed: int, folder: Path, examples: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Run a trial.

    Parameters
    ----------
    trial : Trial
    extent : Extent
    seed : int
        Of images, weights, and order.
    folder : Path
        Of MNIST.
    examples : Path
        Where masks and maps of the first test images are written, as NPZ.
    device : str

    Returns
    -------
    dict
        ``accuracy`` on the test images, ``val`` (best), ``other`` (share of answers that are the class of the
        upright rectangle), ``by_size``, ``maps`` of :func:`agreement`, ``encoder``, ``epochs``, ``seconds``.
    """
    started, place = time.perf_counter(), choose_device(device)
    digits = read_mnist(folder, EDGE)
    counts = extent.images | {"train": max(extent.network.batch, round(extent.images["train"] * trial.share))}
    images = {
        split: RectangleImages(digits[MNIST_OF[split]], extent.plan, counts[split], split, seed)
        for split in SPLIT_NUMBERS
    }
    encoder = yield from within(
        encoder_of(trial.encoder, trial.code, extent.steps.get(trial.encoder), images["encoder"], digits,
                   extent.patches, seed, place),
        0, PARTS["encoder"],
    )  # fmt: skip
    codes = {
        split: CompressedImages(images[split], encoder, trial.stride) for split in ("train", "val", "test")
    }
    total, done = sum(map(len, codes.values())), 0
    for own in codes.values():
        for share in own.fill():
            yield PARTS["encoder"] + (PARTS["codes"] - PARTS["encoder"]) * (done + share * len(own)) / total
        done += len(own)
    network, history = yield from within(
        fit(codes["train"], codes["val"], extent.network, seed, place.torch), PARTS["codes"], PARTS["cnn"]
    )
    answers = predicted(network, codes["test"], place.torch)
    maps = _explained(network, codes, answers, extent, place.torch, seed)
    _keep_examples(examples, maps["test"])
    return {
        **_scores(images["test"], answers.numpy()),
        "val": max(one["val"] for one in history),
        "maps": agreement(maps["val"], maps["test"]),
        "encoder": encoder.metrics,
        "epochs": history,
        "seconds": time.perf_counter() - started,
    }


def network_of(settings: Network, code: int, edge: int) -> NICNet:
    """A new CNN; with same padding where valid convolutions would leave nothing."""

    def made(padding: Any) -> NICNet:
        return NICNet(code, CLASSES, settings.width, settings.strides, padding, settings.dropout)

    network = made(settings.padding)
    return network if network.smallest <= edge else made("same")


def fit(
    train: CompressedImages, val: CompressedImages, settings: Network, seed: int, device: torch.device
) -> Generator[float, None, tuple[NICNet, list[dict[str, float]]]]:
    """Train to the epoch with the best validation accuracy; yields the share that is done."""
    with own_random_numbers(seed):
        network = network_of(settings, train.encoder.code, train.edge).to(device)
    rng = np.random.default_rng((seed, 31))
    steps = -(-len(train) // settings.batch)
    optimizer, schedule = _optimizer(network, settings, steps)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    for epoch in range(settings.epochs):
        right, order = 0, np.array_split(rng.permutation(len(train)), steps)
        for number, rows in enumerate(order):
            arrays = turned(train.batch(rows).to(device), int(rng.integers(VIEWS)))
            right += _step(network, optimizer, arrays, train.labels[rows].to(device))
            if settings.schedule == "one-cycle":
                schedule.step()
            yield (epoch + number / steps) / settings.epochs
        answers = predicted(network, val, device, views=1)
        history.append({"train": right / len(train), "val": _share(answers, val.labels)})
        if history[-1]["val"] >= max(one["val"] for one in history):
            best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        if settings.schedule == "plateau":
            schedule.step(history[-1]["val"])
            if optimizer.param_groups[0]["lr"] < LEAST_RATE * 0.99:
                break
    network.load_state_dict(best)
    return network, history


def _optimizer(network: NICNet, settings: Network, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    rate, decay = settings.learning_rate, settings.decay
    if settings.schedule == "one-cycle":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)
        total = steps * settings.epochs
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total)
    optimizer = torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.1, settings.patience)
    return optimizer, plateau


def _step(network: NICNet, optimizer: torch.optim.Optimizer, arrays: Tensor, labels: Tensor) -> int:
    network.train()
    logits = network(arrays)
    optimizer.zero_grad()
    F.cross_entropy(logits, labels).backward()
    optimizer.step()
    return int((logits.argmax(1) == labels).sum())


def turned(arrays: Tensor, view: int) -> Tensor:
    """One of the eight rotations and mirrorings of an array of codes; digits stay upright."""
    arrays = torch.rot90(arrays, view % 4, (2, 3))
    return arrays.flip(3) if view >= 4 else arrays


@torch.no_grad()
def predicted(
    network: NICNet, images: CompressedImages, device: torch.device, views: int = VIEWS, batch: int = 64
) -> Tensor:
    """Class of each image, by the mean probability over views."""
    network.eval()
    found = []
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // batch)):
        arrays = images.batch(rows).to(device)
        odds = torch.stack([network(turned(arrays, view)).softmax(1) for view in range(views)]).mean(0)
        found.append(odds.argmax(1).cpu())
    return torch.cat(found)


def _share(answers: Tensor, labels: Tensor) -> float:
    return float((answers == labels).float().mean())


def _explained(
    network: NICNet, codes: dict[str, CompressedImages], answers: Tensor, extent: Extent,
    device: torch.device, seed: int,
) -> dict[str, list[Explained]]:  # fmt: skip
    """Maps of the predicted class, of validation and test images."""
    found = {}
    for split, count in (("val", extent.tuned), ("test", extent.explained)):
        own = codes[split]
        rows = np.arange(min(count, len(own)))
        guesses = answers if split == "test" else predicted(network, own, device)
        cams = [
            grad_cam(network, own.batch(part).to(device), guesses[part].to(device))
            for part in np.array_split(rows, -(-len(rows) // 64))
        ]
        right = (guesses == own.labels)[rows].tolist()
        pictures = (own.images[int(row)] for row in rows)
        found[split] = explained(pictures, iter(np.concatenate(cams)), iter(right), own.stride, seed)
    return found


def _scores(images: RectangleImages, answers: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, of all and by the size of the tilted rectangle, and what wrong answers are."""
    right = answers == images.labels
    pairs = [images.rectangles(index) for index in range(len(images))]
    sizes, others = np.array([(tilted.long / images.plan.size, upright.label) for tilted, upright in pairs]).T
    bins = np.digitize(sizes, SIZE_BINS) - 1
    return {
        "accuracy": float(right.mean()),
        "other": float((answers == others).mean()),
        "by_size": {
            f"{SIZE_BINS[number]:g}": {"accuracy": float(right[bins == number].mean()), "images": int(count)}
            for number, count in enumerate(np.bincount(bins))
            if count
        },
    }


EXAMPLES = 6


def _keep_examples(path: Path, test: list[Explained]) -> None:
    """Masks and maps of the first test images."""
    own, content = test[:EXAMPLES], BytesIO()
    np.savez_compressed(
        content,
        truth=np.array([one.truth for one in own]),
        maps=np.array([one.maps["grad-cam"] for one in own]),
        right=np.array([one.right for one in own]),
    )
    make_folder(path.parent)
    write_file(path, content.getvalue())
