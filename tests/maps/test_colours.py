from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.maps.colours import CLASS_CYCLE, FILL_OPACITY, class_colour, colourise, over, ramp


@pytest.mark.parametrize("signed", [True, False])
def test_unknown_is_transparent(signed: bool) -> None:
    rgba = colourise(np.array([[np.nan, 0.9]], np.float32), signed)
    assert rgba.shape == (1, 2, 4) and rgba.dtype == np.uint8
    assert (rgba[0, 0] == 0).all() and rgba[0, 1, 3] > 0


def test_attention_grows_more_opaque_and_lighter() -> None:
    table = ramp(False).astype(int)
    assert table[0, 3] == 0 and table[-1, 3] == round(255 * FILL_OPACITY)
    assert (np.diff(table[:, 3]) >= 0).all() and ramp(False, line=True)[-1, 3] == 255
    lightness = table[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness[::8]) > 0).all()


def test_both_ends_of_a_signed_map_are_opaque_and_differ() -> None:
    low, middle, high = colourise(np.array([0, 0.5, 1], np.float32), True).astype(int)
    assert low[3] == high[3] == round(255 * FILL_OPACITY) and middle[3] == 0
    assert low[2] > low[0] and high[0] > high[2], "blue speaks against, red for"


@pytest.mark.parametrize("signed", [True, False])
def test_places_beyond_the_ramp_take_its_ends(signed: bool) -> None:
    beyond, ends = np.array([-7, 7], np.float32), np.array([0, 1], np.float32)
    np.testing.assert_array_equal(colourise(beyond, signed), colourise(ends, signed))


def test_the_ramp_cannot_be_changed() -> None:
    colourise(np.full((2, 2), np.nan, np.float32), False)[:] = 7
    with pytest.raises(ValueError, match="read-only"):
        ramp(False)[0] = 1


def test_over_mixes_by_opacity() -> None:
    below = np.full((1, 3, 3), 200, np.uint8)
    above = np.array([[(0, 100, 0, 0), (0, 100, 0, 255), (0, 100, 0, 51)]], np.uint8)
    assert over(below, above)[0].tolist() == [[200] * 3, [0, 100, 0], [160, 180, 160]]


def test_classes_have_colours_of_their_own() -> None:
    assert len(set(CLASS_CYCLE)) == len(CLASS_CYCLE)
    assert class_colour(0) == class_colour(len(CLASS_CYCLE))
