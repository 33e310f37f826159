from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.familiarity.gaussian import Gaussian
from napari_zoommil.familiarity.nearest import MOST_POINTS, Nearest


def test_what_lies_between_two_kinds_is_far_from_both() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 2)).astype(np.float32)
    rows[::2, 0] += 40
    between = np.array([[20, 0]], np.float32)
    assert Gaussian.fitted(rows).distances(between) < Gaussian.fitted(rows).distances(rows).mean()
    found = Nearest.fitted(rows[:300])
    assert found.distances(between)[0] > found.distances(rows[300:]).max()


def test_a_row_that_was_seen_is_at_no_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert Nearest.fitted(rows).distances(rows) == pytest.approx(0, abs=2e-3), "kept in half precision"


def test_it_keeps_a_sample_of_many_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(MOST_POINTS + 500, 3)).astype(np.float32)
    found = Nearest.fitted(rows)
    assert len(found.points) == MOST_POINTS
    seen = found.distances(rows) < 2e-3
    assert seen.sum() >= MOST_POINTS and not seen.all()
