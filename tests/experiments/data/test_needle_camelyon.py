"""Crops around lesions hold the whole lesion and the wanted share of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from napari_zoommil.experiments.data.needle_camelyon import (
    PER_LESION,
    RATIOS,
    lesions_of,
    negative_crops,
    positive_crops,
    split_of,
)


def square(y: float, x: float, edge: float) -> np.ndarray:
    return np.array([(y, x), (y, x + edge), (y + edge, x + edge), (y + edge, x)])


places = st.tuples(st.floats(0, 3600), st.floats(0, 2600), st.floats(8, 400))


@settings(max_examples=60)
@given(st.lists(places, min_size=1, max_size=5), st.sampled_from(RATIOS), st.sampled_from((32, 128, 256)))
def test_crops_hold_the_lesion_and_its_share(
    squares: list[tuple[float, float, float]], ratio: tuple[float, float], edge: int
) -> None:
    lesions = lesions_of([square(*one) for one in squares])
    crops = positive_crops(lesions, (500, 375), edge, ratio, np.random.default_rng(0))
    for crop in crops:
        frame = box(crop.y, crop.x, crop.y + edge, crop.x + edge)
        assert 0 <= crop.y <= 500 - edge and 0 <= crop.x <= 375 - edge
        assert frame.buffer(1e-6).contains(lesions[crop.lesion]), "no part of the lesion is cut off"
        assert ratio[0] < crop.ratio <= ratio[1]
    counts = np.bincount([crop.lesion for crop in crops], minlength=len(lesions))
    assert (counts <= PER_LESION).all()


def test_every_crop_around_a_lesion_of_a_fitting_size_is_kept() -> None:
    lesions = lesions_of([square(1600, 1600, 8 * 40)])
    for ratio in RATIOS:
        found = positive_crops(lesions, (500, 500), 128, ratio, np.random.default_rng(1))
        assert len(found) == (PER_LESION if ratio == (0.01, 0.1) else 0)  # 40² / 128² = 9.8 %
    assert len({(crop.y, crop.x) for crop in positive_crops(lesions, (500, 500), 128, RATIOS[2],
                                                            np.random.default_rng(1))}) > 40  # fmt: skip
    assert positive_crops(lesions, (500, 500), 39, (0, 1), np.random.default_rng(1)) == [], "it does not fit"


def test_outlines_that_meet_are_one_lesion() -> None:
    lesions = lesions_of([square(0, 0, 80), square(40, 40, 80), square(800, 800, 8)])
    assert sorted(round(one.area) for one in lesions) == [1, 175]
    bow = np.array([(0, 0), (80, 80), (0, 80), (80, 0)])
    assert all(isinstance(one, Polygon) and one.is_valid for one in lesions_of([bow]))
    assert lesions_of([]) == []


def test_negative_crops_are_of_tissue() -> None:
    green = np.full((300, 300), 240.0)
    green[100:220, 60:200] = 120

    def mean(y: int, x: int, edge: int) -> float:
        return float(green[y : y + edge, x : x + edge].mean())

    found = list(negative_crops(mean, (300, 300), 64, 20, np.random.default_rng(0)))
    assert len(found) == 20 and all(mean(crop.y, crop.x, 64) < 200 for crop in found)
    assert all(crop.lesion == -1 and crop.ratio == 0 for crop in found)
    assert not list(negative_crops(lambda *_: 230.0, (300, 300), 64, 5, np.random.default_rng(0)))
    assert not list(negative_crops(mean, (50, 300), 64, 5, np.random.default_rng(0)))


def test_splits_are_those_of_the_centres() -> None:
    assert [split_of(centre) for centre in range(5)] == ["train", "train", "train", "val", "test"]
