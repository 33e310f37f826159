"""MNIST files are read in the layouts that people have, and what is no such file is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.mnist import Digits, mnist_folder, read_mnist


def idx(values: np.ndarray) -> bytes:
    return np.array([2048 + values.ndim, *values.shape], ">u4").tobytes() + values.tobytes()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "made" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in (("train", 5020), ("t10k", 12)):
        images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path / "made"


def test_the_first_images_are_for_validation(made: Path) -> None:
    splits = read_mnist(made)
    assert {name: len(own.labels) for name, own in splits.items()} == {"train": 20, "val": 5000, "test": 12}
    assert splits["train"].labels[:3].tolist() == [0, 1, 2]


def test_the_real_digits(data: Path) -> None:
    splits = read_mnist(data / "mnist", 14)
    assert {name: int((own.labels == 3).sum()) for name, own in splits.items()} == {
        "train": 5638, "val": 493, "test": 1010,
    }, "half of the paper's training images; a fourth of its validation and test images"  # fmt: skip
    assert splits["test"].images.shape == (10_000, 14, 14)


def test_half_the_size_is_the_mean_of_four_pixels() -> None:
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28), dtype=np.uint8)
    small = Digits(images, np.zeros(3, np.uint8)).resized(14).images
    means = images.reshape(3, 14, 2, 14, 2).mean((2, 4))
    assert abs(small - means).max() <= 0.5
    ninth = Digits(images, np.zeros(3, np.uint8)).resized(9).images
    assert ninth.shape == (3, 9, 9) and abs(ninth.mean((1, 2)) - images.mean((1, 2))).max() < 0.5


def test_what_cannot_be_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = made / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    for wrong, message in (
        (content[:20], "cannot be read"),
        (gzip.compress(b"no"), "not an idx file"),
        (gzip.compress(idx(np.zeros(11, np.uint8))), "12 images of test, but 11 labels"),
    ):
        labels.write_bytes(wrong)
        with pytest.raises(CohortError, match=message):
            read_mnist(made)
    labels.unlink()
    with pytest.raises(CohortError, match="no file t10k-labels"):
        read_mnist(made)
    monkeypatch.delenv("NAPARI_ZOOMMIL_DATA", raising=False)
    with pytest.raises(CohortError, match="NAPARI_ZOOMMIL_DATA"):
        mnist_folder()
    with pytest.raises(CohortError, match="not a folder"):
        mnist_folder(made / "nowhere")
