"""Schedules of the losses, against the published ones in epochs of 300."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.cells.losses.schedules import PAPER_SAMPLING, PAPER_THRESHOLD, SigmoidRise, constant

PROGRESS = st.floats(0, 1)


def published(epoch: float, centre: float) -> float:
    return 0.5 / (1 + math.exp(-(epoch - centre) / 10))


@pytest.mark.parametrize("epoch", [0, 20, 50, 80, 100, 120, 150, 180, 200, 299, 300])
def test_the_defaults_are_the_published_ones(epoch: int) -> None:
    assert PAPER_THRESHOLD(epoch / 300) == pytest.approx(published(epoch, 50), rel=1e-6)
    assert PAPER_SAMPLING(epoch / 300) == pytest.approx(published(epoch, 150), rel=1e-6)


@pytest.mark.parametrize(
    ("epoch", "threshold", "sampling"),
    [(0, 0.0033, 1.5e-7), (50, 0.25, 2.3e-5), (100, 0.497, 3.3e-3), (150, 0.5, 0.25), (180, 0.5, 0.476)],
)
def test_values_of_the_published_code(epoch: int, threshold: float, sampling: float) -> None:
    assert PAPER_THRESHOLD(epoch / 300) == pytest.approx(threshold, rel=0.02)
    assert PAPER_SAMPLING(epoch / 300) == pytest.approx(sampling, rel=0.02)


@given(
    limit=st.floats(0, 1),
    centre=PROGRESS,
    width=st.floats(1e-9, 1),
    early=PROGRESS,
    late=PROGRESS,
)
def test_it_rises_within_its_limits(
    limit: float, centre: float, width: float, early: float, late: float
) -> None:
    schedule = SigmoidRise(limit, centre, width)
    early, late = sorted((early, late))
    assert 0 <= schedule(early) <= schedule(late) <= limit
    assert schedule(centre) == pytest.approx(limit / 2)


@given(value=st.floats(0, 1), progress=PROGRESS)
def test_a_constant_is_off(value: float, progress: float) -> None:
    assert constant(value)(progress) == value


def test_schedules_go_to_other_processes() -> None:
    for schedule in (PAPER_SAMPLING, constant(0.3)):
        assert pickle.loads(pickle.dumps(schedule)) == schedule
