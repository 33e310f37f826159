"""Trainings on needle-MNIST."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.mnist import read_mnist
from napari_zoommil.experiments.data.needle_mnist import NeedleImages
from napari_zoommil.experiments.needles.fitting import fit
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.models.blocks.bagnet import BagNet


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
    """Train and test a trial as :func:`~napari_zoommil.experiments.needles.fitting.fit` does.

    Parameters
    ----------
    trial : Trial
    extent : Extent
    seed : int
        Of weights, order, and images.
    folder : Path
        Of MNIST.
    weights : Path
    device : str
    """
    images = data_sets(trial, extent, folder, seed)
    with own_random_numbers(seed):
        network = network_of(trial, extent)
    return (yield from fit(network, images, extent, seed, weights, device))
