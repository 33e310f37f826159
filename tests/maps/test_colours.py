from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.maps.colours import CLASS_CYCLE, LARGEST_OPACITY, class_colour, colourise, ramp


@pytest.mark.parametrize("signed", [True, False])
def test_unknown_is_transparent(signed: bool) -> None:
    rgba = colourise(np.array([[np.nan, 0.5]], np.float32), signed)
    assert rgba.shape == (1, 2, 4) and rgba.dtype == np.float32
    assert (rgba[0, 0] == 0).all() and rgba[0, 1].any()


def test_attention_grows_more_opaque() -> None:
    alpha = colourise(np.linspace(0, 1, 50, dtype=np.float32)[None], False)[0, :, 3]
    assert alpha[0] == 0 and alpha[-1] == pytest.approx(LARGEST_OPACITY)
    assert (np.diff(alpha) > 0).all()


def test_both_ends_of_a_signed_map_are_opaque_and_differ() -> None:
    low, middle, high = colourise(np.array([[-1, 0, 1]], np.float32), True)[0]
    assert low[3] == high[3] == pytest.approx(LARGEST_OPACITY) and middle[3] < 0.01
    assert low[2] > low[0] and high[0] > high[2], "blue speaks against, red for"


@pytest.mark.parametrize("signed", [True, False])
def test_values_beyond_the_range_take_its_ends(signed: bool) -> None:
    beyond, ends = np.array([[-7, 7]], np.float32), np.array([[-1 if signed else 0, 1]], np.float32)
    np.testing.assert_array_equal(colourise(beyond, signed), colourise(ends, signed))


def test_painting_leaves_the_ramp_alone() -> None:
    before = ramp(False).copy()
    colourise(np.full((2, 2), np.nan, np.float32), False)[:] = 7
    np.testing.assert_array_equal(ramp(False), before)


def test_classes_have_colours_of_their_own() -> None:
    assert len(set(CLASS_CYCLE)) == len(CLASS_CYCLE)
    assert class_colour(0) == class_colour(len(CLASS_CYCLE))
