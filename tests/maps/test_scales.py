"""What colours mean: values in a unit, and places on a ramp."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.scales import TIMES, Scaling, in_unit, scale_of, scalings_of, times_average


def heat_map(values: list[float], kind: str = "attention") -> HeatMap:
    return HeatMap(np.array([values], np.float32), (0, 0), (1, 1), None, 5, kind)


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40), st.integers(0, 3))
def test_times_the_average_is_softmax_times_patches_and_keeps_gaps(logits: list[float], gaps: int) -> None:
    values = np.array(logits + [np.nan] * gaps, np.float32)
    found = times_average(values, softmax=True)
    expected = softmax(np.array(logits, np.float64)) * len(logits)
    np.testing.assert_allclose(found[: len(logits)], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(found[len(logits) :]).all()


def test_even_attention_is_once_the_average_everywhere() -> None:
    np.testing.assert_allclose(times_average(np.full((3, 4), 5.0, np.float32), softmax=True), 1)


def test_sizes_are_divided_by_their_mean() -> None:
    np.testing.assert_allclose(in_unit(heat_map([1, 3, np.nan], "saliency"), "times"), [[0.5, 1.5, np.nan]])
    np.testing.assert_allclose(in_unit(heat_map([0, 0, np.nan], "saliency"), "times"), [[1, 1, np.nan]])


def test_the_scale_of_times_is_the_same_on_every_slide_and_logarithmic() -> None:
    one, other = scale_of([heat_map([1, 2])], "times"), scale_of([heat_map([-50, 99])], "times")
    assert one == other and one.unit == TIMES
    np.testing.assert_allclose(one.places(np.array([0.01, 1, 10, 100, 5000])), [0, 0, 0.5, 1, 1], atol=1e-6)
    assert [one.label(tick) for tick in one.ticks] == ["≤1×", "3×", "10×", "30×", "≥100×"]


def test_ranks_are_those_of_a_magnification() -> None:
    np.testing.assert_allclose(in_unit(heat_map([5, np.nan, -3, 100]), "rank"), [[50, np.nan, 0, 100]])
    np.testing.assert_allclose(in_unit(heat_map([2, 1, 1]), "rank"), [[100, 25, 25]])
    np.testing.assert_allclose(in_unit(heat_map([-4, 0, 2], "evidence"), "rank"), [[-100, 0, 50]])


def test_raw_is_one_range_over_all_magnifications() -> None:
    scale = scale_of([heat_map([0, 10, np.nan]), heat_map([-10, 5])], "raw")
    assert (scale.low, scale.high, scale.unit) == (-10, 10, "attention logit")
    assert scale.label(scale.low) == "−10"


def test_signed_ranges_are_symmetric_round_and_not_those_of_a_few_patches() -> None:
    values = [0.1, -0.15] * 200 + [40.0]
    scale = scale_of([heat_map(values, "evidence")], "raw")
    assert (scale.low, scale.high, scale.unit, scale.signed) == (-0.2, 0.2, "logit", True)
    np.testing.assert_allclose(scale.places(np.array([-7, -0.2, 0, 0.1, 40])), [0, 0, 0.5, 0.75, 1])
    assert [scale.label(tick) for tick in scale.ticks] == ["≤−0.2", "−0.1", "0", "+0.1", "≥+0.2"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("attention", ("times", "rank", "raw")),
        ("zoom", ("times", "rank", "raw")),
        ("saliency", ("times", "rank", "raw")),
        ("grad-cam", ("raw", "rank")),
        ("max", ("raw", "rank")),
    ],
)
def test_scores_of_which_nothing_is_known_have_no_average(kind: str, expected: tuple[Scaling, ...]) -> None:
    assert scalings_of(kind) == expected


@pytest.mark.parametrize("kind", ["attention", "saliency", "evidence", "max"])
def test_maps_of_nothing_and_of_one_patch_have_places(kind: str) -> None:
    empty, single = heat_map([np.nan, np.nan], kind), heat_map([np.nan, 3], kind)
    for scaling in scalings_of(kind):
        for one in (empty, single):
            values = in_unit(one, scaling)
            places = scale_of([one], scaling).places(values)
            np.testing.assert_array_equal(np.isnan(places), np.isnan(one.values))
            assert ((places >= 0) & (places <= 1) | np.isnan(places)).all()
