"""A training on crops, beside what their mean colours tell."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.needle_camelyon.crops import CropImages, data_sets
from napari_zoommil.experiments.needle_camelyon.slides import read_slides
from napari_zoommil.experiments.needle_camelyon.trials import Extent, Trial
from napari_zoommil.experiments.needles.fitting import fit
from napari_zoommil.models.blocks.bagnet import BagNet
from napari_zoommil.training.encoders.probe import colour_statistics, linear_probe


def network_of(trial: Trial, extent: Extent) -> BagNet:
    """A new network."""
    return BagNet(
        receptive_field=trial.field,
        width=trial.width,
        blocks=extent.blocks,
        strides=extent.strides,
        norm=extent.norm,  # type: ignore[arg-type]
        pooling=trial.pooling,  # type: ignore[arg-type]
    )


def trained_network(trial: Trial, extent: Extent, weights: Path) -> BagNet:
    """The network of a finished training, for evaluation."""
    network = network_of(trial, extent)
    network.load_state_dict(load_file(weights))
    return network.eval()


def images_of(trial: Trial, extent: Extent, seed: int, folder: Path) -> dict[str, CropImages]:
    """Training, validation and test images of a trial."""
    return data_sets(read_slides(extent.slides, folder), trial.edge, trial.ratio, extent.per_lesion, seed)


def train_one(
    trial: Trial, extent: Extent, seed: int, folder: Path, weights: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Train and test a trial.

    Parameters
    ----------
    trial : Trial
    extent : Extent
    seed : int
        Of weights, order, and crops.
    folder : Path
        Of the slides.
    weights : Path
    device : str

    Returns
    -------
    dict
        ``counts``: per split, lesions, positive and negative crops. Where all splits have enough of them,
        also what :func:`~napari_zoommil.experiments.needles.fitting.fit` returns, and ``colour``, the test
        accuracy of a linear classifier of mean and deviation of each colour.
    """
    images = images_of(trial, extent, seed, folder)
    found = {split: own.found for split, own in images.items()}
    counts = {split: [own.lesions, own.positive, own.negative] for split, own in found.items()}
    if not all(own.is_enough for own in found.values()):
        return {"counts": counts}
    with own_random_numbers(seed):
        network = network_of(trial, extent)
    result = yield from fit(network, images, extent, seed, weights, device)
    return {**result, "colour": _colour(images), "counts": counts}


def _colour(images: dict[str, CropImages]) -> float:
    codes = {
        split: np.concatenate([colour_statistics(own.pixels(n)[None]) for n in range(len(own))])
        for split, own in images.items()
        if split != "val"
    }
    labels = {split: images[split].labels for split in codes}
    one_group = np.zeros(len(labels["test"]), np.int64)  # no interval
    probe = linear_probe(codes["train"], labels["train"], codes["test"], labels["test"], one_group)
    return probe["accuracy"].value
