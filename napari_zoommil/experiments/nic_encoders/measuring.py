"""An encoder trained on crops of tiles, and probed on cell types and organs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder
from napari_zoommil.encoders.device import Device, choose_device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.cell_types import (
    LabelledPatches,
    Tile,
    cut,
    left_out,
    read_cells,
    read_tiles,
    split_patients,
)
from napari_zoommil.experiments.encoder_fit import fitted
from napari_zoommil.experiments.nic_encoders.settings import PIXELS, SUPERVISED, UNSUPERVISED, Extent
from napari_zoommil.experiments.run_pieces import within
from napari_zoommil.training.encoders.fitting import codes_of
from napari_zoommil.training.encoders.patches import PatchSet, divided, patch_set
from napari_zoommil.training.encoders.probe import colour_statistics, linear_probe

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

METRICS = ("accuracy", "balanced accuracy")


def measure(
    encoder: str, extent: Extent, seed: int, root: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Train an encoder and probe it.

    Returns
    -------
    dict
        ``cells``: per metric ``value``, bounds of the 95 % interval over patients, and ``samples``
        of the bootstrap; ``organs``: accuracy of each fold, for which a slide of each organ is left out;
        ``training``: metrics and steps; ``seconds``.
    """
    started, place = time.perf_counter(), choose_device(device)
    cells, (tiles, organs) = read_cells(root), read_tiles(root)
    train, test = split_patients(cells)
    encode, metrics = yield from within(_encoder(encoder, seed, extent, train, tiles, organs, place), 0, 0.7)
    result = {"cells": _probed(encode, train, test), "training": metrics}
    patches, accuracies = cut(tiles, organs, extent.patch), []
    folds = list(left_out(patches))
    for number, held in enumerate(folds):
        chosen = encode
        if encoder == "supervised-organ":  # which must not have seen the labels of the slides left out
            rest = [tile for tile in tiles if tile.slide not in held]
            job = _organ_encoder(extent, rest, organs, seed, place, extent.fold_steps)
            low, high = (0.7 + 0.3 * n / len(folds) for n in (number, number + 1))
            chosen, _ = yield from within(job, low, high)
        accuracies.append(_told_apart(chosen, patches, held))
        yield 0.7 + 0.3 * (number + 1) / len(folds) * 0.99
    return {**result, "organs": accuracies, "seconds": time.perf_counter() - started}


def _encoder(
    encoder: str, seed: int, extent: Extent, cells: LabelledPatches, tiles: list[Tile],
    organs: tuple[str, ...], device: Device,
) -> Generator[float, None, tuple[Encode, dict[str, Any]]]:  # fmt: skip
    if encoder in UNSUPERVISED:
        recipe = extent.recipe(encoder)
        patches = crops(tiles, sum(recipe.patches), extent.crops, recipe.sizes.edge, seed)
        done = yield from fitted(divided(patches, seed), encoder, recipe, seed, device)  # type: ignore[arg-type]
        return done.codes, dict(done.metrics)
    if encoder == "supervised-tissue":
        nuclei = patch_set(cells.pixels, labels=cells.labels, classes=cells.classes, groups=cells.patients)
        source = divided(nuclei, seed)
        done = yield from fitted(source, "supervised", extent.recipe(encoder), seed, device)
        return done.codes, dict(done.metrics)
    if encoder in SUPERVISED:
        return (yield from _organ_encoder(extent, tiles, organs, seed, device))
    return control(encoder, extent, seed), {}


def _organ_encoder(
    extent: Extent,
    tiles: list[Tile],
    organs: tuple[str, ...],
    seed: int,
    device: Device,
    steps: int | None = None,
) -> Generator[float, None, tuple[Encode, dict[str, Any]]]:
    recipe = extent.recipe("supervised-organ")
    if steps is not None:
        steps = min(steps, recipe.steps)
        recipe = replace(recipe, steps=steps, steps_per_epoch=min(recipe.steps_per_epoch or steps, steps))
    patches = crops(tiles, sum(recipe.patches), extent.crops, recipe.sizes.edge, seed, organs)
    done = yield from fitted(divided(patches, seed, by_class=True), "supervised", recipe, seed, device)
    return done.codes, dict(done.metrics)


def control(name: str, extent: Extent, seed: int) -> Encode:
    """What has learnt nothing."""
    if name == "mean-rgb":
        return lambda pixels: colour_statistics(pixels)[:, :3]
    if name == "rgb-mean-sd":
        return colour_statistics
    if name == "pixels":
        return _small_pixels
    with own_random_numbers(seed):
        network = ConvolutionalEncoder(extent.recipe(name).sizes)
    return lambda pixels: codes_of(network, pixels)


def _small_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = [
        np.asarray(Image.fromarray(one).resize((PIXELS, PIXELS), Image.Resampling.BOX)) for one in pixels
    ]
    return np.stack(small).reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def crops(
    tiles: list[Tile], count: int, edges: tuple[int, int], size: int, seed: int, organs: tuple[str, ...] = ()
) -> PatchSet:
    """Random squares of tiles, each with one beside it, resized; images and groups are slides.

    Parameters
    ----------
    tiles : list of Tile
    count : int
        Patches; an odd one is left out.
    edges : (int, int)
        Least and largest edge, px.
    size : int
        Edge afterwards, px.
    seed : int
    organs : tuple of str
        Labels, where these are to be learnt.
    """
    rng = np.random.default_rng((seed, 37))
    # Filled in place: a list of the paper's patches and an array of it are 7 GB each.
    pixels = np.empty((count // 2 * 2, size, size, 3), np.uint8)
    slides: list[int] = []
    labels: list[int] = []
    for _ in range(count // 2):
        tile = tiles[rng.integers(len(tiles))]
        picture, (height, width) = Image.fromarray(tile.pixels), tile.pixels.shape[:2]
        edge = int(rng.integers(edges[0], min(edges[1], height, width // 2) + 1))
        y, x = int(rng.integers(height - edge + 1)), int(rng.integers(width - 2 * edge + 1))
        for left in rng.permutation([x, x + edge]).tolist():
            box = (left, y, left + edge, y + edge)
            pixels[len(slides)] = np.asarray(picture.resize((size, size), Image.Resampling.BOX, box))
            slides.append(tile.slide)
            labels.append(tile.organ)
    beside = np.arange(len(pixels)) ^ 1  # the other one of the pair
    known = {"labels": labels, "classes": organs} if organs else {}
    return patch_set(pixels, images=slides, groups=slides, neighbours=beside, **known)  # type: ignore[arg-type]


def _probed(encode: Encode, train: LabelledPatches, test: LabelledPatches) -> dict[str, Any]:
    """A linear classifier of cell types, with bootstrap samples of the test patients."""
    found = linear_probe(encode(train.pixels), train.labels, encode(test.pixels), test.labels, test.patients)
    told = {}
    for metric in METRICS:
        own = found[metric]
        samples = np.round(found.samples[metric], 5).tolist()
        told[metric] = {"value": own.value, "low": own.low, "high": own.high, "samples": samples}
    return told


def _told_apart(encode: Encode, patches: LabelledPatches, held: tuple[int, ...]) -> float:
    """Accuracy of a linear classifier of organs on the slides that were left out."""
    out = np.isin(patches.patients, held)
    train, test = patches.where(~out), patches.where(out)
    found = linear_probe(
        encode(train.pixels),
        train.labels,
        encode(test.pixels),
        test.labels,
        np.zeros(len(test.labels), np.int64),
    )
    return found["accuracy"].value
