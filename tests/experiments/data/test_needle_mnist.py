"""Geometry, counts and labels of needle-MNIST."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.experiments.data.mnist import Digits
from napari_zoommil.experiments.data.needle_mnist import (
    BALANCES,
    CLUTTER,
    IMAGES,
    TRAINING_SIZES,
    Canvas,
    NeedleImages,
)

canvases = st.integers(2, 14).flatmap(
    lambda digit: st.builds(Canvas, st.integers(digit, 40), st.integers(0, 9), st.just(digit))
)


def digits(edge: int = 14, count: int = 60) -> Digits:
    """Each digit has pixels of a value of its own, none is black."""
    labels = (np.arange(count) % 10).astype(np.uint8)
    values = (1 + np.arange(count)).astype(np.uint8)
    return Digits(np.repeat(values, edge * edge).reshape(count, edge, edge), labels)


@settings(max_examples=40)
@given(canvases, st.integers(2, 50), st.sampled_from(BALANCES), st.integers(0, 3))
def test_counts_labels_and_places(canvas: Canvas, count: int, balance: float, seed: int) -> None:
    images = NeedleImages(digits(canvas.digit), canvas, count, "train", seed, balance)
    assert images.labels.sum() == min(count - 1, max(1, round(count * balance)))
    for index in range(0, count, 7):
        found, label = images.placed(index), images.labels[index]
        assert len(found.labels) == canvas.clutter + 1
        assert (found.labels == 3).sum() == label and (found.labels[0] == 3) == bool(label)
        assert found.corners.min() >= 0 and found.corners.max() <= canvas.edge - canvas.digit
        image, drawn = images.image(index), np.zeros((canvas.edge,) * 2)
        for (y, x), one in zip(found.corners, found.images, strict=True):
            drawn[y : y + canvas.digit, x : x + canvas.digit] += one / 255
        np.testing.assert_allclose(image, np.minimum(drawn, 1), atol=1e-6)
        mask = images.needle_mask(index)
        assert mask.sum() == label * canvas.digit**2 and (image[mask] > 0).all()


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 3))
def test_a_smaller_data_set_is_a_part_of_a_larger_one(first: int, second: int, seed: int) -> None:
    small, large = (
        NeedleImages(digits(), Canvas(32, 2, 14), count, "train", seed) for count in sorted((first, second))
    )
    known = {image.tobytes() for image in large.batch(range(len(large)))}
    assert all(image.tobytes() in known for image in small.batch(range(len(small))))


def test_every_needle_is_used_before_one_is_used_again() -> None:
    images = NeedleImages(digits(), Canvas(32, 2, 14), 24, "train")  # 12 positive images, 6 threes
    used = [images.needle(index) for index in np.flatnonzero(images.labels)]
    assert sorted(used[:6]) == list(range(6)) and used[6:] == used[:6]


def test_splits_and_seeds_differ() -> None:
    canvas = Canvas(32, 2, 14)
    made = {
        (split, seed): NeedleImages(digits(), canvas, 4, split, seed).batch(range(4)).tobytes()
        for split in IMAGES
        for seed in (0, 1)
    }
    assert len(set(made.values())) == 6
    assert made["val", 1] == NeedleImages(digits(), canvas, 4, "val", 1).batch(range(4)).tobytes()


def test_the_published_settings() -> None:
    ratios = [f"{100 * Canvas.published(edge).ratio:.3g}" for edge in CLUTTER]
    assert ratios == ["19.1", "4.79", "1.2", "0.299", "0.0748"]
    per_digit = [edge**2 / clutter for edge, clutter in CLUTTER.items()]
    assert max(per_digit) / min(per_digit) <= 1.6, "about the same density on each canvas"
    assert IMAGES["train"] == 2 * 5638 and IMAGES["val"] == 4 * 493 and IMAGES["test"] == 4 * 1010
    assert TRAINING_SIZES[-1] == 2 * IMAGES["train"]


def test_gaussian_images_have_nothing_to_learn() -> None:
    images = NeedleImages(digits(), Canvas(32, 2, 14, "gaussian"), 200, "train")
    drawn = images.batch(range(200))
    assert abs(drawn.mean()) < 0.01 and drawn.std() == pytest.approx(1, abs=0.01)
    assert images.labels.mean() == 0.5 and (images.image(3) == drawn[3, 0]).all()


def test_what_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="hold a digit"):
        Canvas(13, 2, 14)
    with pytest.raises(ValueError, match="gaussian"):
        Canvas(32, 2, 14, "white")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="14 px"):
        NeedleImages(digits(), Canvas(32, 2, 9), 4, "train")
    with pytest.raises(ValueError, match="2 images"):
        NeedleImages(digits(), Canvas(32, 2, 14), 1, "train")
