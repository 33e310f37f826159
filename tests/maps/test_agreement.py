"""Attention against an outline."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.maps.agreement import attention_agreement, coverage


def square(y: float, x: float, edge: float) -> np.ndarray:
    return np.array([(y, x), (y, x + edge), (y + edge, x + edge), (y + edge, x)])


def test_coverage_is_the_share_of_area(make_grid) -> None:
    grid = make_grid(2, 2, (5.0, 10.0))
    stride = grid.levels[0].stride[0]
    found = coverage(grid, 0, np.arange(4), [square(0, 0, stride * 1.5)])
    np.testing.assert_allclose(found, [1, 0.5, 0.5, 0.25])


def test_overlapping_polygons_count_once(make_grid) -> None:
    grid = make_grid(1, 1, (5.0, 10.0))
    stride = grid.levels[0].stride[0]
    outline = [square(0, 0, stride / 2), square(0, 0, stride / 2)]
    assert coverage(grid, 0, np.arange(1), outline)[0] == pytest.approx(0.25)


def test_agreement_compares_with_even_attention(make_grid) -> None:
    grid = make_grid(2, 2, (5.0, 10.0))
    stride = grid.levels[0].stride[0]
    logits = np.array([np.log(7), 0, 0, 0], np.float32)
    found = attention_agreement(grid, 0, np.arange(4), logits, [square(0, 0, stride)])
    assert found.inside == pytest.approx(0.7)
    assert found.expected == pytest.approx(0.25)
