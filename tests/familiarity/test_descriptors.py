from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_zoommil.familiarity.descriptors import LEAST_EDGE, WIDTH, describe


def test_a_patch_is_a_row_and_glass_is_nan(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(np.random.default_rng(0), 3)
    pixels[1] = 250
    found = describe(pixels)
    assert found.shape == (3, WIDTH) and found.dtype == np.float32
    assert np.isnan(found).all(1).tolist() == [False, True, False]
    assert describe([]).shape == (0, WIDTH)


@pytest.mark.parametrize("edge", [LEAST_EDGE, 45, 128])
@pytest.mark.parametrize("value", [0, 128])
def test_a_flat_patch_of_any_size_is_finite(edge: int, value: int) -> None:
    assert np.isfinite(describe(np.full((1, edge, edge, 3), value, np.uint8))).all()


def test_glass_beside_tissue_hardly_changes_it(draw: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    whole = np.stack([one[:, 48:].repeat(4, 1)[:, :64] for one in draw(rng, 30)])
    half = whole.copy()
    half[:, :, :32] = 255
    coarse = np.stack([one[:, 48:].repeat(4, 1)[:, :64] for one in draw(rng, 30, grain=6)])
    own, cut, other = (describe(one)[:, 1:] for one in (whole, half, coarse))
    spread = own.std(0) + 0.05
    by_glass, by_grain = (np.abs(one.mean(0) - own.mean(0)) / spread for one in (cut, other))
    assert np.median(by_glass) < 0.3 * np.median(by_grain)


def test_a_turn_changes_directions_alone(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(np.random.default_rng(2), 5)
    np.testing.assert_allclose(describe(pixels[:, ::-1]), describe(pixels), atol=1e-3)
    colours = slice(0, 29)
    turned = describe(pixels.swapaxes(1, 2))
    np.testing.assert_allclose(turned[:, colours], describe(pixels)[:, colours], atol=1e-4)


def test_a_third_stain_is_seen(draw: Callable[..., np.ndarray]) -> None:
    brown = (0.3, 0.6, 1.4)
    two, three = (
        describe(draw(np.random.default_rng(3), 10, stains=stains))
        for stains in (((0.2, 1.0, 0.4), (1.0, 0.9, 0.4)), ((0.2, 1.0, 0.4), (1.0, 0.9, 0.4), brown))
    )
    third = [29 + 8 * scale + 5 for scale in (2, 3)]  # how much less the third varies than the first
    assert (three[:, third].mean(0) > two[:, third].mean(0) + 0.3).all()
