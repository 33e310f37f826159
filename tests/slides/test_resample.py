"""Choice of level, padding and scaling of plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from skimage.transform import integral_image, resize

from napari_zoommil.slides.readers.base import Level
from napari_zoommil.slides.resample import SCALE_TOLERANCE, choose_level, read_padded, read_scaled

GREY = (240, 240, 240)
NOISE = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
SMOOTH = (
    resize(NOISE[:8, :7].astype(float), (300, 260), order=3, mode="reflect").clip(0, 255).astype(np.uint8)
)
LEVELS = tuple(
    Level((round(46000 / d), round(32914 / d)), (d, d * 1.0001)) for d in (1.0, 4.00012, 16.0024, 32.02)
)


def reader(image: np.ndarray):
    """What `read_scaled` asks for pixels, over an array."""

    def inside(y: int, x: int, height: int, width: int) -> np.ndarray:
        assert height > 0 and width > 0 and y >= 0 and x >= 0
        assert y + height <= image.shape[0] and x + width <= image.shape[1]
        return np.ascontiguousarray(image[y : y + height, x : x + width])

    return lambda *window: read_padded(inside, image.shape[:2], *window, GREY)


@pytest.mark.parametrize(
    ("downsample", "level"),
    [(0.5, 0), (1, 0), (3.9, 0), (4, 1), (4.5, 1), (16, 2), (31.9, 2), (32, 3), (500, 3)],
)
def test_the_coarsest_level_that_is_fine_enough(downsample: float, level: int) -> None:
    assert choose_level(LEVELS, (downsample, downsample)) == level


def test_both_axes_must_be_fine_enough() -> None:
    assert choose_level(LEVELS, (16.1, 4.0)) == 1
    assert choose_level(LEVELS, (1.0, 40.0)) == 0


@given(st.integers(-400, 400), st.integers(-400, 400), st.integers(1, 300), st.integers(1, 300))
def test_outside_the_image_is_background(y: int, x: int, height: int, width: int) -> None:
    window = reader(NOISE)(y, x, height, width)
    rows, columns = np.arange(y, y + height), np.arange(x, x + width)
    inside = np.ix_((rows >= 0) & (rows < 300), (columns >= 0) & (columns < 260))
    expected = np.full((height, width, 3), GREY, np.uint8)
    expected[inside] = NOISE[np.ix_(rows[inside[0].ravel()], columns[inside[1].ravel()])]
    assert np.array_equal(window, expected)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(-20, 250), st.integers(-20, 250))
def test_whole_factors_are_block_means(fy: int, fx: int, y: int, x: int) -> None:
    read = reader(NOISE)
    scaled = read_scaled(read, (y, x), (fy, fx), (7, 5))
    means = read(y, x, 7 * fy, 5 * fx).reshape(7, fy, 5, fx, 3).mean((1, 3))
    assert np.abs(scaled - means).max() < 0.6


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 30), st.floats(0, 60), st.floats(0, 60))
def test_halves_make_the_whole_where_the_factor_is_whole(
    factor: int, one: int, other: int, y: float, x: float
) -> None:
    read, scale = reader(NOISE), (factor, factor)
    whole = read_scaled(read, (y, x), scale, (one + other, 9))
    first = read_scaled(read, (y, x), scale, (one, 9))
    second = read_scaled(read, (y + one * factor, x), scale, (other, 9))
    assert np.array_equal(whole, np.concatenate([first, second]))


def test_halves_at_half_pixels_neither_skip_nor_repeat_a_row() -> None:
    read = reader(NOISE)
    rows = [read_scaled(read, (y + 0.5, 0), (1, 1), (1, 50))[0] for y in range(6)]
    assert np.array_equal(np.stack(rows), NOISE[1:7, :50])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(1.05, 5.9),
    st.floats(1.05, 5.9),
    st.integers(2, 20),
    st.floats(5, 20),
)
def test_a_part_of_a_window_shows_the_pixels_of_the_whole_window(
    fy: float, fx: float, part: int, origin: float
) -> None:
    read = reader(NOISE)
    whole = read_scaled(read, (origin, origin), (fy, fx), (24, 22)).astype(int)
    inner = read_scaled(read, (origin + 3 * fy, origin + 2 * fx), (fy, fx), (part, 18))
    assert np.abs(whole[3 : 3 + part, 2:20] - inner).max() <= 3


@settings(max_examples=40, deadline=None)
@given(st.floats(0.3, 7.0), st.floats(0.3, 7.0), st.floats(5, 40), st.floats(5, 40))
def test_any_factor_gives_the_mean_of_the_area(fy: float, fx: float, y: float, x: float) -> None:
    """On an image without detail finer than the pixels. Whole factors snap to the pixel grid instead."""
    assume(max(abs(factor - max(round(factor), 1)) for factor in (fy, fx)) > 0.02)
    shape = (30, 28)
    scaled = read_scaled(reader(SMOOTH), (y, x), (fy, fx), shape)
    integral = np.stack([integral_image(SMOOTH[..., c].astype(float)) for c in range(3)], -1)
    integral = np.pad(integral, ((1, 0), (1, 0), (0, 0)))
    top, left = y + fy * np.arange(shape[0] + 1), x + fx * np.arange(shape[1] + 1)
    corners = np.meshgrid(top, left, indexing="ij")
    sums = np.stack([map_coordinates(integral[..., c], corners, order=1) for c in range(3)], -1)
    means = np.diff(np.diff(sums, axis=0), axis=1) / (fy * fx)
    inside = np.ix_(top[1:] < 290, left[1:] < 250)
    error = (scaled - means)[inside]
    assert np.abs(error).mean() < 1.5
    assert abs(error.mean()) < 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 20), st.integers(0, 20))
def test_enlarged_and_reduced_again_is_the_same(factor: int, y: int, x: int) -> None:
    large = read_scaled(reader(SMOOTH), (y, x), (1 / factor, 1 / factor), (40 * factor, 36 * factor))
    again = read_scaled(reader(large), (0, 0), (factor, factor), (40, 36)).astype(int)
    assert np.abs(again - SMOOTH[y : y + 40, x : x + 36]).mean() < 1.5


def test_a_scale_of_one_leaves_pixels_alone() -> None:
    scale = 1 + SCALE_TOLERANCE * 0.9
    assert np.array_equal(
        read_scaled(reader(NOISE), (3.2, 4.4), (scale, scale), (200, 200)), NOISE[3:203, 4:204]
    )


def test_an_almost_whole_scale_does_not_drift_over_a_large_window() -> None:
    """Taking 1.0019 for 1 would leave the far end of 2,900 px more than 5 px off."""
    ramp = np.repeat(np.linspace(0, 255, 3000)[:, None, None], 3, -1).astype(np.uint8).repeat(4, 1)
    scale = 1.0019
    scaled = read_scaled(reader(ramp), (0, 0), (scale, 1.0), (2900, 4))[:, 0, 0].astype(float)
    wanted = (np.arange(2900) + 0.5) * scale * 255 / 3000
    assert abs((scaled - wanted)[-300:].mean() - (scaled - wanted)[:300].mean()) < 0.1


def test_a_window_wholly_outside_is_background_at_any_scale() -> None:
    for scale in (0.7, 1.0, 2.0, 2.7):
        assert (read_scaled(reader(NOISE), (900.5, -700), (scale, scale), (10, 12)) == GREY).all()
