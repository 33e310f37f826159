"""Images compressed by encoders of digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.data.mnist import read_mnist
from napari_zoommil.experiments.data.rectangles import RectangleImages
from napari_zoommil.experiments.nic_rectangles import encoding
from napari_zoommil.experiments.nic_rectangles.encoding import (
    CompressedImages,
    DigitEncoder,
    encoder_of,
    patches_of,
    probe,
    sampled,
)
from napari_zoommil.experiments.nic_rectangles.trials import Extent


def two_numbers(patches: np.ndarray) -> np.ndarray:
    """Sum and maximum of a patch."""
    flat = patches.reshape(len(patches), -1).astype(np.float32) / 255
    return np.stack([flat.sum(1), flat.max(1)], 1)


@pytest.fixture
def images(tiny: Extent, mnist: Path) -> RectangleImages:
    return RectangleImages(read_mnist(mnist, 9)["train"], tiny.plan, 14, "encoder")


@pytest.mark.parametrize("stride", [5, 9, 18])
def test_a_code_lies_where_its_patch_is(images: RectangleImages, stride: int) -> None:
    compressed = CompressedImages(images, DigitEncoder(two_numbers, 2, {}), stride)
    found = compressed.batch(np.array([3, 0]))
    assert found.shape == (2, 2, compressed.edge, compressed.edge)
    for array, index in zip(found.numpy(), (3, 0), strict=True):
        pixels = images[index].pixels
        for row, column in ((0, 0), (1, 2), (compressed.edge - 1, 3)):
            patch = pixels[row * stride : row * stride + 9, column * stride : column * stride + 9]
            np.testing.assert_allclose(array[:, row, column], two_numbers(patch[None])[0], rtol=1e-3)
    shares = list(compressed.fill())
    assert shares[-1] == 1 and (compressed.batch(np.array([3, 0])) == found).all(), "kept codes are the same"


def test_codes_that_are_too_many_are_computed_again(
    images: RectangleImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = CompressedImages(images, DigitEncoder(two_numbers, 2, {}), 9)
    monkeypatch.setattr(encoding, "KEPT_BYTES", 10)
    assert not list(compressed.fill()) and compressed.batch(np.array([1])).abs().sum() > 0


def test_two_of_three_patches_show_a_digit(images: RectangleImages) -> None:
    patches = sampled(images, 30, 0)
    white = patches.pixels.max((1, 2, 3)) > 0
    assert len(patches) == 14 * 30 and white.mean() == pytest.approx(2 / 3)
    known = {one.tobytes() for image in images for row in patches_of(image, 9) for one in row}
    assert all(patch[..., 0].tobytes() in known for patch in patches.pixels[::17])
    beside = patches.neighbours >= 0
    assert beside.any() and (patches.images[patches.neighbours[beside]] == patches.images[beside]).all()


@pytest.mark.parametrize(("method", "code"), [("mean", 1), ("untrained", 16), ("vae", 4)])
def test_encoders_have_codes_of_like_spread_and_zero_for_nothing(
    images: RectangleImages, mnist: Path, method: str, code: int
) -> None:
    job = encoder_of(method, code, 4, images, read_mnist(mnist, 9), 30, 0, choose_device("cpu"))
    try:
        while True:
            next(job)
    except StopIteration as stop:
        encoder = stop.value
    codes = encoder.encode(sampled(images, 30, 0).pixels[..., 0])
    assert codes.shape == (14 * 30, code) and 0.3 < codes.std() < 3
    assert abs(encoder.encode(np.zeros((1, 9, 9), np.uint8))).max() < 1e-5
    assert 0 <= encoder.metrics["probe"] <= 1 and ("steps" in encoder.metrics) == (method == "vae")


def test_the_probe_tells_pixels_from_their_mean(mnist: Path) -> None:
    digits = read_mnist(mnist, 9)
    assert probe(lambda patches: patches.reshape(len(patches), -1).astype(np.float32), digits) > 0.95
    assert probe(lambda patches: patches.mean((1, 2))[:, None], digits) < 0.5
