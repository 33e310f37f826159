"""MNIST digits: the four idx files, compressed or not, in a folder."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.nuclei import VARIABLE

EDGE = 28
VALIDATION = 5_000
"""The first images of MNIST's training set, which are for validation in the usual split."""

PARTS = {"train": "train", "test": "t10k"}
MAGIC = {1: 2049, 3: 2051}
"""First number of an idx file of bytes, by the number of its axes."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of digits.

    Attributes
    ----------
    images : (N, edge, edge) uint8
        White on black.
    labels : (N,) uint8
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @property
    def edge(self) -> int:
        return int(self.images.shape[1])

    def where(self, chosen: NDArray[np.bool_]) -> Digits:
        """The chosen ones, (N,) bool."""
        return Digits(self.images[chosen], self.labels[chosen])

    def resized(self, edge: int) -> Digits:
        """The same digits at another size; a pixel is the mean over its area."""
        if edge == self.edge:
            return self
        weights = _area_weights(self.edge, edge)
        parts = np.array_split(self.images, max(1, len(self.images) // 4096))
        small = [np.rint(weights @ part.astype(np.float32) @ weights.T).astype(np.uint8) for part in parts]
        return Digits(np.concatenate(small), self.labels)


def _area_weights(old: int, new: int) -> NDArray[np.float32]:
    """Share of each old pixel in each new one, (new, old)."""
    borders = np.arange(new + 1) * old / new
    low, high = borders[:-1, None], borders[1:, None]
    at = np.arange(old)
    overlap = np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None)
    return (overlap / (high - low)).astype(np.float32)


def mnist_folder(folder: Path | None = None) -> Path:
    """The folder to read: the given one, or ``mnist`` below $NAPARI_ZOOMMIL_DATA.

    Raises
    ------
    CohortError
        If there is no such folder.
    """
    if folder is None:
        if not (root := os.environ.get(VARIABLE)):
            raise CohortError(f"no digits: give the folder of MNIST's files with --data, or set {VARIABLE}")
        folder = Path(root) / "mnist"
    if not folder.is_dir():
        raise CohortError(f"{folder} is not a folder; give that of MNIST's files with --data")
    return folder


def read_mnist(folder: Path, edge: int = EDGE) -> dict[str, Digits]:
    """Read the splits ``train`` (55,000 images), ``val`` (5,000) and ``test`` (10,000).

    Parameters
    ----------
    folder : Path
        With the files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same of ``t10k``,
        each with ``.gz`` or without, in it or in ``MNIST/raw`` below it, where torchvision keeps them.
    edge : int
        Size of the digits, px.

    Raises
    ------
    CohortError
        If a file is missing or cannot be read.
    """
    parts = {}
    for part, name in PARTS.items():
        images = _read_idx(_file(folder, f"{name}-images-idx3-ubyte"), 3)
        labels = _read_idx(_file(folder, f"{name}-labels-idx1-ubyte"), 1)
        if len(images) != len(labels):
            raise CohortError(f"{folder} has {len(images)} images of {part}, but {len(labels)} labels")
        parts[part] = Digits(images, labels).resized(edge)
    all_train = parts["train"]
    first = np.arange(len(all_train.labels)) < VALIDATION
    return {"train": all_train.where(~first), "val": all_train.where(first), "test": parts["test"]}


def _file(folder: Path, name: str) -> Path:
    places = (folder, folder / "MNIST" / "raw", folder / "raw")
    found = [path for place in places for path in (place / name, place / f"{name}.gz") if path.is_file()]
    if not found:
        raise CohortError(f"{folder} has no file {name} or {name}.gz; give the folder of MNIST with --data")
    return found[0]


def _read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """An idx file of bytes: a number for the format, the length of each axis, then the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise CohortError(f"{path} cannot be read: {error}") from error
    start = 4 * (1 + axes)
    magic, *shape = np.frombuffer(content[:start], ">u4").tolist() if len(content) >= start else (0,)
    if magic != MAGIC[axes] or len(content) != start + int(np.prod(shape)):
        raise CohortError(f"{path} is not an idx file of bytes with {axes} axes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
