"""The order of detections: what is least certain comes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.cells.uncertainty import Walk, by_uncertainty

SCORES = st.lists(st.floats(0, 1), max_size=40)


@given(SCORES, st.floats(0, 1))
def test_nearest_to_the_threshold_first(scores: list[float], threshold: float) -> None:
    order = by_uncertainty(scores, threshold)
    assert sorted(order) == list(range(len(scores)))
    assert np.all(np.diff(np.abs(np.array(scores)[order] - threshold)) >= 0)


def test_equally_uncertain_ones_keep_their_order() -> None:
    assert by_uncertainty([0.75, 0.25, 0.5]).tolist() == [2, 0, 1]


def test_a_walk_goes_round_both_ways() -> None:
    walk = Walk(np.array([(0, 0), (1, 10), (2, 20)]), np.array([0.9, 0.5, 0.4]))
    places = [walk.step(by) for by in (1, 1, 1, 1, -1, -1)]
    assert [place for place, _ in places] == [(1, 10), (2, 20), (0, 0), (1, 10), (0, 0), (2, 20)]
    assert places[0][1] == 0.5


def test_a_walk_may_begin_backwards() -> None:
    walk = Walk(np.array([(0, 0), (1, 10)]), np.array([0.9, 0.5]))
    assert walk.step(-1) == ((0.0, 0.0), 0.9)


def test_without_detections_there_is_nothing_to_see() -> None:
    assert Walk().step(1) is None


def test_a_score_each() -> None:
    with pytest.raises(ValueError, match="2 detections cannot have 1 scores"):
        Walk(np.zeros((2, 2)), np.zeros(1))
