"""Magnifications, and lattices that nest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.errors import MagnificationError, OverlapError
from napari_zoommil.geometry import (
    MPP_TOLERANCE,
    NOMINAL_MAGNIFICATIONS,
    ROUNDING,
    PatchGrid,
    PatchLevel,
    child_lattice,
    full_lattice,
    magnification_name,
    magnification_of,
    mpp_of,
    mpp_text,
    overlap_px,
    zoom_ratios,
)

extents = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
edges = st.floats(150, 1100, allow_nan=False)


@pytest.mark.parametrize(
    ("mpp", "magnification"),
    [
        (0.499, 20),
        (0.44, 20),
        (0.55, 20),
        (0.2525, 40),
        (0.22, 40),
        (0.28, 40),
        (0.1, 100),
        (1.0, 10),
        (8.0, 1.25),
    ],
)
def test_measured_resolutions_count_as_their_nominal_magnification(mpp: float, magnification: float) -> None:
    assert magnification_of(mpp) == magnification


@pytest.mark.parametrize("mpp", [0.6, 0.35, 0.75, 32.0])
def test_a_resolution_between_the_nominal_ones_keeps_its_exact_ratio(mpp: float) -> None:
    assert magnification_of(mpp) == pytest.approx(10 / mpp)


@given(st.sampled_from(NOMINAL_MAGNIFICATIONS), st.floats(0.9, 1.1))
def test_a_nominal_resolution_survives_ten_per_cent_of_error(magnification: float, error: float) -> None:
    assert magnification_of(mpp_of(magnification) * error) == magnification


@given(st.floats(0.02, 50))
def test_snapping_never_moves_a_magnification_by_more_than_its_tolerance(mpp: float) -> None:
    assert abs(10 / mpp / magnification_of(mpp) - 1) <= MPP_TOLERANCE + 1e-9


@pytest.mark.parametrize("magnification", [0, -5, float("nan"), float("inf")])
def test_there_is_no_such_magnification(magnification: float) -> None:
    with pytest.raises(MagnificationError):
        mpp_of(magnification)
    with pytest.raises(MagnificationError):
        zoom_ratios((magnification, 10.0))


def test_names_are_as_on_objectives() -> None:
    assert [magnification_name(m) for m in (1.25, 20.0, 10)] == ["1.25x", "20x", "10x"]


@given(st.sampled_from((0.625, 1.25, 5.0)), st.lists(st.integers(2, 8), max_size=4))
def test_zoom_ratios_are_found_back(lowest: float, ratios: list[int]) -> None:
    magnifications = tuple(float(m) for m in lowest * np.cumprod([1, *ratios]))
    assert zoom_ratios(magnifications) == tuple(ratios)


@pytest.mark.parametrize("magnifications", [(), (10, 5), (5, 5), (5, 12), (5, 7.5), (5, 10, 25)])
def test_magnifications_that_do_not_nest_are_refused(magnifications: tuple[float, ...]) -> None:
    with pytest.raises(MagnificationError):
        zoom_ratios(magnifications)


@given(extents, edges, edges)
def test_a_lattice_covers_the_slide_and_nothing_else(
    shape: tuple[int, int], height: float, width: float
) -> None:
    cells = full_lattice(shape, (height, width))
    origins = cells * np.array((height, width))
    assert len(np.unique(cells, axis=0)) == len(cells)
    assert (origins < shape).all()
    assert (origins.max(0) >= np.subtract(shape, (height, width)) - 1e-5).all()
    assert (np.lexsort((cells[:, 1], cells[:, 0])) == np.arange(len(cells))).all()


@given(extents, edges, edges, st.integers(2, 4), st.randoms(use_true_random=False))
def test_children_tile_their_parents_within_the_slide(shape, height, width, ratio, random) -> None:
    lattice = full_lattice(shape, (height, width))
    kept = lattice[sorted(random.sample(range(len(lattice)), random.randint(0, len(lattice))))]
    stride = (height / ratio, width / ratio)
    cells, parent = child_lattice(kept, ratio, shape, stride)
    assert (np.diff(parent) >= 0).all()
    assert (cells // ratio == kept[parent]).all()
    everywhere = full_lattice(shape, stride)
    under = {tuple(cell) for cell in kept}
    assert {tuple(cell) for cell in cells} == {
        tuple(cell) for cell in everywhere if tuple(cell // ratio) in under
    }


def nested_grid(seed: int, ratios: tuple[int, ...] = (2, 4, 3)) -> PatchGrid:
    """A grid with random gaps, 24 px to a coarse patch."""
    rng = np.random.default_rng(seed)
    shape, stride, magnification = (100, 77), 24.0, 1.25
    cells = full_lattice(shape, (stride, stride))
    parent = np.full(len(cells), -1)
    levels = []
    for ratio in (*ratios, 1):
        keep = rng.random(len(cells)) < 0.7
        cells, parent = cells[keep], parent[keep]
        tissue = np.ones(len(cells), np.float32)
        mpp = mpp_of(magnification)
        levels.append(PatchLevel.from_lattice(magnification, mpp, (stride, stride), cells, parent, tissue))
        stride, magnification = stride / ratio, magnification * ratio
        cells, parent = child_lattice(cells, ratio, shape, (stride, stride))
    return PatchGrid(shape, 8, tuple(levels))


@settings(max_examples=30)
@given(st.integers(0, 50), st.randoms(use_true_random=False))
def test_children_of_any_rows_come_grouped_in_their_order(seed: int, random) -> None:
    grid = nested_grid(seed)
    assert grid.ratios == (2, 4, 3) and grid.magnifications == (1.25, 2.5, 10, 30)
    for level in range(3):
        parent = grid.levels[level + 1].parent
        size = len(grid.levels[level])
        rows = np.array(random.sample(range(size), random.randint(0, size)), np.int64)
        expected = [np.flatnonzero(parent == row) for row in rows]
        assert np.array_equal(grid.children(level, rows), np.concatenate([*expected, np.arange(0)]))


def test_children_of_all_rows_are_all_patches() -> None:
    grid = nested_grid(0)
    for level in range(3):
        rows = np.arange(len(grid.levels[level]))
        assert np.array_equal(grid.children(level, rows), np.arange(len(grid.levels[level + 1])))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_slots_tell_where_a_patch_lies_in_its_parent(level: int) -> None:
    grid = nested_grid(3)
    fine, coarse, ratio = grid.levels[level], grid.levels[level - 1], grid.ratios[level - 1]
    rows = np.arange(len(fine))
    slots = grid.slots(level, rows)
    inside = np.stack([slots // ratio, slots % ratio], 1)
    assert slots.min() >= 0 and slots.max() < ratio**2
    assert np.array_equal(coarse.lattice[fine.parent] * ratio + inside, fine.lattice)
    assert np.allclose(fine.origins, coarse.origins[fine.parent] + inside * fine.stride)


def test_row_at_finds_the_patch_under_a_point() -> None:
    grid = nested_grid(5)
    for level, patches in enumerate(grid.levels):
        for row, (y, x) in enumerate(patches.origins):
            assert grid.row_at(level, y + patches.stride[0] / 2, x + patches.stride[1] / 2) == row
    there = {tuple(cell) for cell in grid.levels[0].lattice}
    gap = next(cell for cell in full_lattice(grid.shape, (24, 24)) if tuple(cell) not in there)
    assert grid.row_at(0, *(gap * 24.0 + 1)) is None
    assert grid.row_at(0, -5, -5) is None


places = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=60, unique=True)


def level_of(lattice: np.ndarray, stride: tuple[float, float]) -> PatchLevel:
    count = len(lattice)
    return PatchLevel.from_lattice(10.0, 1.0, stride, lattice, np.full(count, -1), np.ones(count, np.float32))


@given(places, edges, edges)
def test_the_lattice_of_patches_that_tile_the_plane_is_found_back(found, height: float, width: float) -> None:
    lattice = np.array(found)
    level = level_of(lattice, (height, width))
    assert level.size == level.stride == (height, width)
    np.testing.assert_array_equal(level.lattice, lattice)
    np.testing.assert_array_equal(level.origins, lattice * np.array((height, width)))


@given(places, edges, st.floats(0, 1), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_an_offset_and_overlap_change_no_place_among_the_others(found, edge, overlap, dy, dx) -> None:
    lattice = np.array(found)
    stride = edge * (1 - overlap / 2)
    level = level_of(lattice, (stride, stride))
    foreign = replace(level, origins=level.origins + np.array((dy, dx)), size=(edge, edge))
    np.testing.assert_array_equal(foreign.lattice - foreign.lattice[0], lattice - lattice[0])


@st.composite
def foreign_levels(draw) -> PatchLevel:  # type: ignore[no-untyped-def]
    """Patches of several contours, each with an offset of its own, that may overlap."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    size = tuple(rng.uniform(20, 60, 2))
    stride = tuple(np.array(size) * draw(st.sampled_from((1.0, 0.5, 0.3))))
    contours = [
        rng.uniform(-100, 900, 2) + full_lattice(tuple(rng.integers(10, 300, 2)), stride) * np.array(stride)
        for _ in range(draw(st.integers(1, 4)))
    ]
    origins = np.concatenate(contours)
    count = len(origins)
    return PatchLevel(10.0, 1.0, size, stride, origins, np.full(count, -1), np.ones(count, np.float32))


@settings(max_examples=60, deadline=None)
@given(foreign_levels(), st.integers(0, 1000))
def test_patches_that_cover_points_are_those_whose_box_holds_them(level: PatchLevel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(-300, 1400, (40, 2)), level.origins[:5], [(1e9, -1e9)]])
    inside = points[:, None] + ROUNDING - level.origins
    expected = np.argwhere(((inside >= 0) & (inside < level.size)).all(2))
    np.testing.assert_array_equal(np.stack(level.covering(points), 1), expected)


@settings(max_examples=30, deadline=None)
@given(foreign_levels())
def test_row_at_takes_the_patch_whose_middle_is_nearest(level: PatchLevel) -> None:
    grid = PatchGrid((2000, 2000), 256, (level,))
    middles = level.origins + np.array(level.size) / 2
    for row in range(0, len(level), 7):
        found = grid.row_at(0, *middles[row])
        assert found is not None
        np.testing.assert_allclose(middles[found], middles[row], atol=1e-6)


def test_slots_are_those_of_the_parent_where_all_is_shifted() -> None:
    grid = nested_grid(3)
    levels = tuple(replace(level, origins=level.origins + np.array((7.3, -2.9))) for level in grid.levels)
    shifted = replace(grid, levels=levels)
    for level in (1, 2, 3):
        rows = np.arange(len(grid.levels[level]))
        np.testing.assert_array_equal(shifted.slots(level, rows), grid.slots(level, rows))


def test_nothing_covers_a_point_where_there_are_no_patches() -> None:
    level = level_of(np.empty((0, 2), np.int64), (9.0, 9.0))
    assert len(level.lattice) == 0 and level.covering((1, 1))[1].size == 0
    assert PatchGrid((9, 9), 8, (level,)).row_at(0, 1, 1) is None


@pytest.mark.parametrize(("given", "found"), [(0, 0), (0.5, 128), (0.25, 64), (64, 64), (1, 1), (0.9, 230)])
def test_overlap_is_px_or_a_share(given: float, found: int) -> None:
    assert overlap_px(given, 256, (20.0,)) == found


@pytest.mark.parametrize("wrong", [-1, 1.5, 256, 0.95, float("nan"), float("inf")])
def test_impossible_overlaps_are_refused(wrong: float) -> None:
    with pytest.raises(OverlapError, match=r"overlap"):
        overlap_px(wrong, 256, (20.0,))
    with pytest.raises(OverlapError, match="one magnification only"):
        overlap_px(0.5, 256, (10.0, 20.0))


def test_memory_of_a_grid_includes_what_is_made_later(make_grid) -> None:
    """A bound on the memory of many grids is one on all that they hold."""
    grid = make_grid(4, 5, (5.0, 10.0))
    before = grid.nbytes
    held = sum(
        array.nbytes
        for level in grid.levels
        for array in (level.origins, level.parent, level.tissue, level.lattice)
    )
    assert before == grid.nbytes == held


def test_a_pixel_size_is_told_as_width_and_height() -> None:
    assert mpp_text((0.25, 0.25)) == "0.25 µm/px"
    assert mpp_text((0.5, 0.25)) == "0.25 × 0.5 µm/px"
    assert mpp_text((0.4990, 0.49901)) == "0.499 µm/px"
