from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.geometry import Box
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.localisation import (
    GRID,
    Denoising,
    Localisation,
    average_precision,
    denoised,
    inside,
    interval,
    jaccard,
    localise,
    mean_jaccard,
    pointing_game,
    random_map,
    tune,
)

PLAIN = Denoising(0.0, "quantile", 0.5, 0, 0, False)


def map_of(values) -> HeatMap:  # type: ignore[no-untyped-def]
    return HeatMap(np.asarray(values, np.float32), (100.0, 200.0), (10.0, 20.0), None, 10.0, "grad-cam", "t")


def found(maximum: float, hit: bool, present: bool = True) -> Localisation:
    return Localisation(0.5, maximum, (0.0, 0.0), hit, present, 0.1)


def bump(edge: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A noisy map with a raised square, and the square."""
    rng = np.random.default_rng(0)
    truth = np.zeros((edge, edge), bool)
    truth[10:22, 14:26] = True
    return rng.normal(size=truth.shape).astype(np.float32) + 1.5 * truth, truth


def test_smoothing_finds_what_opening_alone_deletes() -> None:
    values, truth = bump()
    bare = jaccard(denoised(values, Denoising(0.0, "otsu", 0.9, 1)), truth)
    smooth = jaccard(denoised(values, Denoising(2.0, "quantile", 0.9, 1)), truth)
    assert smooth > 0.8 and bare < smooth - 0.05


@pytest.mark.parametrize("values", [np.full((5, 5), 3.0), np.full((5, 5), np.nan), np.zeros((1, 1))])
def test_a_map_that_says_nothing_points_nowhere(values: np.ndarray) -> None:
    for how in GRID:
        assert not denoised(values.astype(np.float32), how).any()
    told = localise(map_of(values), np.ones(values.shape, bool), Denoising())
    assert told.jaccard == 0 and not told.hit and told.present


@given(st.integers(0, 2**32 - 1), st.sampled_from(GRID))
def test_unknown_places_are_never_pointed_at(seed: int, how: Denoising) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(12, 9)).astype(np.float32)
    unknown = rng.random(values.shape) < 0.4
    values[unknown] = np.nan
    assert not (denoised(values, how) & unknown).any()


def test_small_maps_are_smoothed_less() -> None:
    assert Denoising().sized((50, 70)) == (2.0, 1) and Denoising().sized((10, 70)) == (0.4, 0)
    assert Denoising(3.0, opening=2).sized((10, 10)) == (3.0, 2)
    values = np.zeros((9, 9), np.float32)
    values[3:5, 3:5] = 1
    assert jaccard(denoised(values, Denoising()), values > 0) >= 0.5
    assert not denoised(values, Denoising(opening=2)).any()


def test_small_components_go_and_the_largest_stays() -> None:
    values = np.zeros((10, 10), np.float32)
    values[0, 0], values[2:4, 2:4], values[6:9, 6:9] = 1, 1, 1
    how = Denoising(0.0, "otsu", 0.9, 0, 2, False)
    assert denoised(values, how).sum() == 4 + 9
    assert denoised(values, Denoising(0.0, "otsu", 0.9, 0, 0, True)).sum() == 9


def test_a_value_is_inside_where_its_centre_is() -> None:
    one = map_of(np.zeros((4, 3)))
    hole = shapely.Polygon(
        [(100, 200), (140, 200), (140, 260), (100, 260)], [[(111, 201), (119, 201), (119, 219), (111, 219)]]
    )
    expected = np.ones((4, 3), bool)
    expected[1, 0] = False
    np.testing.assert_array_equal(inside(one, [hole]), expected)
    small = inside(one, [Box(121, 238, 1, 4)])
    assert small.sum() == 2 and small[2, 1] and small[2, 2], "it touches two values and holds no centre"
    both = inside(one, [hole, Box(121, 238, 1, 4)])
    assert both.sum() == expected.sum(), "the small one lies in values of the large one"
    part = shapely.Polygon([(100, 200), (110, 200), (110, 220), (100, 220)])
    assert inside(one, [part, Box(121, 238, 1, 4)]).sum() == 3, "beside a large region, a small one counts"
    assert not inside(one, []).any() and not inside(one, [Box(0, 0, 5, 5)]).any()


def test_the_place_of_the_maximum() -> None:
    values = np.zeros((4, 3), np.float32)
    values[2, 1], values[0, 0] = 5, np.nan
    truth = np.zeros((4, 3), bool)
    truth[2, 1:] = True
    told = localise(map_of(values), truth, PLAIN)
    assert (told.place, told.maximum, told.hit) == ((125.0, 230.0), 5.0, True)
    assert told.share == pytest.approx(2 / 11) and told.jaccard == 0.5


def test_equal_maxima_count_by_their_share() -> None:
    """Not by the first of them, which is nearest to the upper left corner."""
    values = np.array([[2, 0, 2], [2, 1, np.nan], [0, 0, 2]], np.float32)
    truth = np.zeros((3, 3), bool)
    truth[0, 0] = truth[1, 1:] = True
    told = localise(map_of(values), truth, PLAIN)
    assert told.hit == 0.25 and pointing_game([told]) == 0.25
    assert localise(map_of(values[::-1]), truth[::-1], PLAIN).hit == 0.25
    assert average_precision([told]) == 0.25 * 0.25, "precision and recall"


def test_average_precision_counts_as_the_paper_does() -> None:
    """Right (0.9), wrong on a positive (0.8), any on a negative (0.7), right (0.6)."""
    every = [found(0.9, True), found(0.8, False), found(0.7, False, False), found(0.6, True)]
    assert average_precision(every) == pytest.approx((1 + 2 / 4) / 3)
    assert pointing_game(every) == pytest.approx(2 / 3)
    assert average_precision([found(1, True)] * 3) == 1
    tied = [found(0.5, True), found(0.5, False, False)]
    assert average_precision(tied) == average_precision(tied[::-1]) == 0.5
    for nothing in ([], [found(0.3, False, False)]):
        assert np.isnan(average_precision(nothing)) and np.isnan(pointing_game(nothing))
        assert np.isnan(mean_jaccard(nothing))
    assert average_precision([found(float("nan"), False)]) == 0


def test_tuning_takes_what_is_best_on_the_maps_it_is_given() -> None:
    values, truth = bump()
    how, score = tune([map_of(values)], [truth])
    assert score == jaccard(denoised(values, how), truth) >= jaccard(denoised(values, Denoising()), truth)
    assert how in GRID
    with pytest.raises(ValueError, match="nothing to tune on"):
        tune([map_of(values)], [np.zeros_like(truth)])


def test_a_random_map_is_known_where_the_map_is() -> None:
    values, truth = bump()
    values[:5] = np.nan
    one = random_map(map_of(values), np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(one.values), np.isnan(values))
    assert jaccard(denoised(one.values, Denoising()), truth) < 0.3


def test_the_interval_is_one_of_patients() -> None:
    values = [1.0] * 50 + [0.0] * 50
    patients = ["a"] * 50 + ["b"] * 50
    assert interval(values, patients) == (0.5, 0.0, 1.0), "two patients tell little"
    mean, low, high = interval(values, [str(n) for n in range(100)])
    assert mean == 0.5 and 0.38 < low < 0.45 and 0.55 < high < 0.62
    assert interval([float("nan"), 2.0], ["a", "b"]) == (2.0, 2.0, 2.0)
    assert np.isnan(interval([float("nan")], ["a"])).all()
