"""Geometry, counts and labels of NIC's synthetic images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, contains_xy

from napari_zoommil.experiments.data.mnist import Digits
from napari_zoommil.experiments.data.rectangles import (
    IMAGES,
    TILTED,
    UPRIGHT,
    Plan,
    Rectangle,
    RectangleImages,
    grid,
)

SMALL = Plan(180, 0.004, 30, 100, 0.3)


def digits() -> Digits:
    """A digit of class c is a square of brightness 20 c + 10 and more, with black borders."""
    labels = (np.arange(40) % 10).astype(np.uint8)
    images = np.zeros((40, 9, 9), np.uint8)
    images[:, 1:-1, 1:-1] = (20 * labels + 10 + np.arange(40) // 10)[:, None, None]
    return Digits(images, labels)


plans = st.builds(
    Plan,
    st.integers(90, 260),
    st.sampled_from((0.001, 0.004)),
    st.just(20.0),
    st.floats(25.0, 60.0),
    st.floats(0.1, 0.6),
    st.booleans(),
)


@settings(max_examples=40)
@given(plans, st.integers(0, 60), st.integers(0, 3))
def test_rectangles_digits_and_labels(plan: Plan, index: int, seed: int) -> None:
    images = RectangleImages(digits(), plan, 61, "train", seed)
    image = images[index]
    tilted, upright = images.rectangles(index)
    assert (tilted, upright) == (image.tilted, image.upright)
    assert image.label == tilted.label == index % 10 != upright.label
    assert tilted.degrees in TILTED and upright.degrees in UPRIGHT
    for one in (tilted, upright):
        assert plan.shortest <= one.long <= plan.longest
        assert one.short == pytest.approx(plan.aspect * one.long)
        assert one.corners.min() > -1e-6 and one.corners.max() < plan.size + 1e-6
    assert not Polygon(tilted.corners).intersects(Polygon(upright.corners))
    corners = image.corners
    assert len(np.unique(corners, axis=0)) == len(corners) == plan.digits
    assert corners.min() >= 0 and corners.max() <= plan.size - 9
    for one in (tilted, upright):
        inside = contains_xy(Polygon(one.corners), corners[:, 0] + 4.5, corners[:, 1] + 4.5)
        assert (image.classes[inside] == one.label).all()
    assert (image.images[:, 4, 4] // 20 == image.classes).all()
    if plan.aligned:
        cells = image.pixels[: plan.size // 9 * 9, : plan.size // 9 * 9].reshape(plan.size // 9, 9, -1, 9)
        assert (cells.max((1, 3)) > 0).sum() == plan.digits, "each digit fills a cell alone"
        y, x = corners[0]
        assert (image.pixels[y : y + 9, x : x + 9] == image.images[0]).all()


@given(st.integers(0, 30), st.sampled_from((5, 9, 18)))
def test_masks_and_densities_on_the_grid(index: int, stride: int) -> None:
    image = RectangleImages(digits(), SMALL, 31, "val")[index]
    starts = grid(180, stride)
    mask, density = image.mask(stride), image.density(stride=stride)
    assert mask.shape == density.shape == (len(starts),) * 2
    ys, xs = np.meshgrid(starts + 4.5, starts + 4.5, indexing="ij")
    inside = contains_xy(Polygon(image.tilted.corners), ys.ravel(), xs.ravel()).reshape(ys.shape)
    assert (mask != inside).mean() < 0.01, "but for rounding on the border"
    own = image.density(image.label, stride)
    assert (own <= density).all() and sum(image.density(c, stride).sum() for c in range(10)) == density.sum()
    if stride == 9:
        assert density.sum() == len(image.corners), "without gaps or overlaps each digit is in one patch"


def test_rectangles_turn_from_x_to_y() -> None:
    flat, falling = Rectangle(0, 0, 10, 2, 0.0, 1), Rectangle(0, 0, 10, 2, 45.0, 1)
    x, y = np.array([4.0, 0.0]), np.array([0.0, 4.0])
    assert flat.contains(y, x).tolist() == [True, False]
    assert falling.contains(np.array([3.0, 3.0]), np.array([3.0, -3.0])).tolist() == [True, False]
    np.testing.assert_allclose(np.ptp(flat.corners, 0), (2, 10), atol=1e-9)


def test_the_published_settings() -> None:
    plan = Plan()
    assert (plan.size, plan.digits, plan.shortest, plan.longest) == (3600, 25_920, 36, 1800)
    assert IMAGES["train"] + IMAGES["val"] == 22_500 and sum(IMAGES.values()) == 50_000
    image = RectangleImages(digits(), plan, 1, "test")[0]
    assert image.pixels.shape == (3600, 3600) and len(image.corners) == 25_920
    inside = image.tilted.long * image.tilted.short
    assert (image.classes == image.label).sum() >= 0.5 * 0.002 * inside


def test_a_seed_gives_the_same_again() -> None:
    def drawn(split: str, seed: int) -> bytes:
        return RectangleImages(digits(), SMALL, 3, split, seed)[2].pixels.tobytes()

    assert drawn("train", 0) == drawn("train", 0)
    assert len({drawn(split, seed) for split in IMAGES for seed in (0, 1)}) == 8


def test_what_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Plan(450)
    with pytest.raises(ValueError, match="more digits than cells"):
        Plan(density=0.02)
    with pytest.raises(ValueError, match="aspect"):
        Plan(aspect=2.0)
