from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.geometry import PatchGrid, PatchLevel
from napari_zoommil.maps.heatmap import MOST_VALUES, HeatMap, kind_of_head, map_title, rasterise


def heat_map(values: list[float], signed: bool = False) -> HeatMap:
    kind = "grad-cam" if signed else "attention"
    return HeatMap(np.array([values], np.float32), (0, 0), (1, 1), None, 5, kind)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def grid(make_grid: Callable) -> PatchGrid:
    """Patches of a slide whose first row and column hold no tissue at all."""
    full = make_grid(4, 5, (5.0, 10.0), 0.7)
    inside = (full.levels[1].lattice >= 2).all(1)
    level = full.levels[1]
    fine = level.chosen(np.flatnonzero(inside), level.parent[inside])
    return replace(full, levels=(full.levels[0], fine))


def test_scores_lie_where_their_patches_do(grid: PatchGrid) -> None:
    patches = grid.levels[1]
    rows = np.arange(0, len(patches), 3)
    scores = np.random.default_rng(0).normal(size=len(rows)).astype(np.float32)
    made = rasterise(grid, 1, rows, scores, (0.5, 0.5), "attention")
    for row in range(len(patches)):
        y, x = patches.origins[row] + np.asarray(patches.stride) / 2
        expected = scores[row // 3] if row % 3 == 0 else None
        assert made.at(y, x) == expected
    assert np.count_nonzero(~np.isnan(made.values)) == len(rows)
    assert made.origin == tuple(patches.origins.min(0)) != (0, 0)
    assert (made.downsample, made.mpp, made.magnification) == (patches.stride, (0.5, 0.5), 10.0)


def test_the_extent_does_not_depend_on_what_is_known(grid: PatchGrid) -> None:
    few = rasterise(grid, 1, np.array([0]), np.ones(1, np.float32), None, "attention")
    none = rasterise(grid, 1, np.empty(0, np.int64), np.empty(0, np.float32), None, "attention")
    every = np.arange(len(grid.levels[1]))
    full = rasterise(grid, 1, every, every.astype(np.float32), None, "attention")
    assert few.values.shape == none.values.shape == full.values.shape
    assert np.isnan(none.values).all()


def test_nothing_lies_outside(grid: PatchGrid) -> None:
    made = rasterise(grid, 0, np.arange(20), np.ones(20, np.float32), None, "attention")
    height, width = grid.shape
    assert made.at(0, 0) == made.at(height - 1e-6, width - 1e-6) == 1
    assert all(made.at(y, x) is None for y, x in ((-1e-6, 0), (0, -1e-6), (height, 0), (0, width)))


def test_titles() -> None:
    made = heat_map([1])
    assert made.title == "attention 5x" and not made.signed
    named = replace(made, kind="grad-cam", target="tumour", magnification=1.25)
    assert named.title == "Grad-CAM tumour 1.25x" and named.signed


@pytest.mark.parametrize(
    ("head", "kind", "target", "title"),
    [
        ("attention", "attention", None, "attention"),
        ("zoom", "zoom", None, "zoom attention"),
        ("tumour", "attention", "tumour", "attention tumour"),
        ("instance tumour", "instance", "tumour", "instance score tumour"),
        ("instance no tumour", "instance", "no tumour", "instance score no tumour"),
        ("tumoural", "tumoural", None, "tumoural"),
    ],
)
def test_heads_are_told_by_their_names(head: str, kind: str, target: str | None, title: str) -> None:
    assert kind_of_head(head, ("tumour", "no tumour")) == (kind, target)
    assert map_title(kind, target) == title


def test_patches_of_other_tools_lie_where_they_were_cut(make_grid: Callable) -> None:
    full = make_grid(4, 5, (5.0,))
    level = full.levels[0]
    foreign = replace(level, origins=level.origins + np.array((13.7, -4.2)))
    grid, rows = replace(full, levels=(foreign,)), np.arange(0, len(level), 3)
    scores = rows.astype(np.float32)
    made = rasterise(grid, 0, rows, scores, None, "attention")
    assert made.values.shape == (4, 5) and made.downsample == level.stride
    for row in range(len(level)):
        expected = scores[row // 3] if row % 3 == 0 else None
        assert made.at(*(foreign.origins[row] + np.array(level.size) / 2)) == expected


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    stride=st.sampled_from([8.0, 12.0, 16.0, 24.0, 29.0]),
    shift=st.sampled_from([0.0, 5.3]),
)
def test_where_patches_overlap_a_map_is_their_mean(seed: int, stride: float, shift: float) -> None:
    """Patches of 32 px; ``shift`` puts every second one off the lattice."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(np.indices((7, 8)).reshape(2, -1).T)[:30] * stride + (13.7, -4.2)
    places[::2] += shift
    count, size = len(places), (32.0, 32.0)
    level = PatchLevel(
        10.0, 1.0, size, (stride, stride), places, np.full(count, -1), np.ones(count, np.float32)
    )
    grid, rows = PatchGrid((400, 400), 32, (level,)), np.sort(rng.permutation(count)[:20])
    scores = rng.normal(size=20).astype(np.float32)
    scores[3] = np.nan
    made = rasterise(grid, 0, rows, scores, None, "attention")
    height, width = made.values.shape
    assert np.allclose(made.origin, places.min(0))
    far = np.array(made.origin) + np.multiply((height, width), made.downsample)
    assert (far >= places.max(0) + 32 - 1e-6).all()
    y, x = (
        made.origin[axis] + (np.arange(made.values.shape[axis]) + 0.5) * made.downsample[axis]
        for axis in (0, 1)
    )
    for at in rng.integers(0, (height, width), (40, 2)):
        middle = np.array((y[at[0]], x[at[1]]))
        inside = ((middle >= places[rows] - 1e-6) & (middle < places[rows] + 32 - 1e-6)).all(1)
        own = scores[inside & ~np.isnan(scores)]
        value = made.values[tuple(at)]
        assert np.isnan(value) if not len(own) else value == pytest.approx(own.mean(), abs=1e-5)


@pytest.mark.parametrize(("stride", "step"), [(16.0, 16.0), (24.0, 8.0), (8.0, 8.0), (32.0, 32.0)])
def test_a_value_is_a_part_of_which_patches_are_made(stride: float, step: float) -> None:
    places = np.indices((3, 3)).reshape(2, -1).T * stride
    level = PatchLevel(
        10.0, 1.0, (32.0, 32.0), (stride, stride), places, np.full(9, -1), np.ones(9, np.float32)
    )
    grid = PatchGrid((400, 400), 32, (level,))
    one = rasterise(grid, 0, np.array([4]), np.ones(1, np.float32), None, "attention")
    assert one.downsample == (step, step)
    covered = np.argwhere(~np.isnan(one.values)) * step
    assert np.array_equal(covered.min(0), places[4]) and np.array_equal(covered.max(0) + step, places[4] + 32)


def test_a_map_of_patches_far_apart_stays_small_and_loses_none() -> None:
    places = np.array([(0.0, 0.0), (64.0, 0.0), (9e6, 64 * 140_000.0)])
    level = PatchLevel(10.0, 1.0, (64.0, 64.0), (64.0, 64.0), places, np.full(3, -1), np.ones(3, np.float32))
    grid, scores = PatchGrid((9_000_064, 9_000_064), 64, (level,)), np.array([1, 3, 5], np.float32)
    made = rasterise(grid, 0, np.arange(3), scores, None, "attention")
    assert made.values.size <= MOST_VALUES * 1.01
    assert [made.at(*place + 32) for place in places] == [2, 2, 5]
