from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_zoommil.cells.augmentation import Placement, compressed, distorted, perturbed_stains

PLACEMENTS = st.builds(Placement, st.integers(0, 3), st.tuples(st.booleans(), st.booleans()), st.booleans())


@given(PLACEMENTS, st.integers(1, 5), st.integers(1, 5))
def test_a_placement_is_undone(placement: Placement, height: int, width: int) -> None:
    array = np.arange(height * width * 2).reshape(height, width, 2)
    np.testing.assert_array_equal(placement.undo(placement.apply(array)), array)
    moved = np.moveaxis(array, -1, 0)
    np.testing.assert_array_equal(placement.undo(placement.apply(moved, (1, 2)), (1, 2)), moved)


@given(PLACEMENTS, st.integers(1, 5), st.integers(1, 5), st.data())
def test_points_go_with_their_pixels(
    placement: Placement, height: int, width: int, data: st.DataObject
) -> None:
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    image = np.zeros((height, width), bool)
    image[y, x] = True
    ((moved_y, moved_x),) = placement.points(np.array([[y + 0.5, x + 0.5]]), (height, width))
    assert placement.apply(image)[int(moved_y), int(moved_x)]


def test_all_eight_placements_are_drawn() -> None:
    rng = np.random.default_rng(0)
    corner = np.arange(4).reshape(2, 2)
    seen = {tuple(Placement.drawn(rng).apply(corner).ravel()) for _ in range(300)}
    assert len(seen) == 8


@pytest.fixture(scope="module")
def tile(data: Path) -> np.ndarray:
    """The one with most tissue."""
    images = [Image.open(path).convert("RGB") for path in (data / "tiles" / "tcga").rglob("*.png")]
    return min((np.asarray(image)[:128, :128] for image in images), key=np.mean)


def test_stains_change_as_much_as_published(data: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((data / "tiles").rglob("*.png"))]
    sections = [tile[:256, :256] for tile in tiles if np.median(tile) < 200]
    changes = [np.abs(perturbed_stains(one, rng).astype(int) - one).mean() for one in sections * 4]
    assert len(changes) > 40 and 4 <= np.mean(changes) <= 10
    assert np.percentile(changes, 5) > 1 and max(changes) < 40


def test_stains_change_differently_each_time(tile: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    first, second = (perturbed_stains(tile, rng).astype(int) for _ in range(2))
    assert np.abs(first - second).mean() > 1
    assert np.abs(perturbed_stains(tile, rng, 0).astype(int) - tile).max() <= 1


def test_compression_loses_detail_and_keeps_colours(tile: np.ndarray) -> None:
    losses = [np.abs(compressed(tile, quality).astype(int) - tile).mean() for quality in (95, 40)]
    assert 0 < losses[0] < losses[1] < 20
    np.testing.assert_allclose(compressed(tile, 40).mean((0, 1)), tile.mean((0, 1)), atol=3)


def test_distortion_keeps_places_and_follows_its_seed(tile: np.ndarray) -> None:
    first, again = (distorted(tile, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8 and first.shape == tile.shape
    smooth = [gaussian_filter(image.astype(float), (8, 8, 0)) for image in (first, tile)]
    assert np.abs(smooth[0] - smooth[1]).max() < 30


def test_plain_images_keep_their_colours() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    means = [distorted(grey, np.random.default_rng(seed), stained=False).mean() for seed in range(8)]
    assert np.ptp(means) < 1
