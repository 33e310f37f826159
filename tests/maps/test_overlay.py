"""Maps of several magnifications as one picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.colours import colourise
from napari_zoommil.maps.overlay import FRAME_PX, Overlay, Style, frames_of

STRIDE = 64.0


def heat_map(values: np.ndarray, stride: float = STRIDE, origin: float = 0.0, magnification: float = 10):
    return HeatMap(
        values.astype(np.float32), (origin, origin), (stride, stride), None, magnification, "attention"
    )


def places(start: float, stop: float, step: float = 1.0) -> np.ndarray:
    return np.arange(start + step / 2, stop, step)


@pytest.fixture
def two() -> Overlay:
    """2 × 2 patches of 5x, of which the first was zoomed into; one of its four of 10x was not looked at."""
    coarse, fine = np.array([[5.0, 4], [3, -9]]), np.full((4, 4), np.nan)
    fine[:2, :2] = [[1, 9], [2, np.nan]]
    return Overlay.of([heat_map(coarse, 2 * STRIDE, magnification=5), heat_map(fine)], "raw", "smoothed")


def colours(shown: Overlay, values: np.ndarray) -> np.ndarray:
    return colourise(shown.scale.places(np.asarray(values, np.float32)), False)


def test_each_place_shows_the_finest_magnification_that_was_looked_at(two: Overlay) -> None:
    middles = places(0, 4 * STRIDE, STRIDE)
    painted = Overlay.of(two.maps, "raw").paint(middles, middles)
    shown = np.array([[1, 9, 4, 4], [2, 5, 4, 4], [3, 3, -9, -9], [3, 3, -9, -9]])
    # Middles of single pixels that are as large as a patch are its outline: of the same colour, opaque.
    np.testing.assert_array_equal(painted[..., :3][shown > -9], colours(two, shown)[..., :3][shown > -9])
    assert (painted[2:, 2:, 3] == 0).all(), "the least is see-through"


def test_a_magnification_can_be_left_out_and_the_scale_stays(two: Overlay) -> None:
    coarse, fine = two.only(lambda magnification: magnification == 5), two.only((10).__eq__)
    assert coarse.scale == fine.scale == two.scale and len(coarse.maps) == len(fine.maps) == 1
    at = np.array([1.5 * STRIDE - 10])
    assert (fine.paint(at, at) == 0).all() and coarse.paint(at, at)[0, 0, 3] > 0
    assert (two.only(lambda _: False).paint(at, at) == 0).all()


def test_nothing_is_painted_beyond_the_maps(two: Overlay) -> None:
    painted = two.paint(places(-200, 500, 4), places(-200, 500, 4))
    inside = slice(50, 50 + int(4 * STRIDE / 4))
    assert painted[inside, inside, 3].any()
    painted[inside, inside] = 0
    assert not painted.any()


def test_outlines_leave_the_tissue_free() -> None:
    values = np.array([[0, 5], [np.nan, 9]])
    shown = Overlay.of([heat_map(values)], "raw", "outlines")
    painted = shown.paint(places(0, 2 * STRIDE), places(0, 2 * STRIDE))
    opaque = painted[..., 3] > 0
    upper, lower = opaque[:64, 64:], opaque[64:, 64:]
    assert not opaque[:, :64].any(), "nothing of the least, nor of what was not looked at"
    for patch in (upper, lower):
        assert patch[0].all() and patch[-1].all() and patch[:, 0].all() and patch[:, -1].all()
        assert not patch[5:-5, 5:-5].any()
    assert set(map(tuple, painted[64:, 64:][lower].tolist())) == {(255, 238, 0, 255)}


def test_patches_are_filled_between_their_lines() -> None:
    shown = Overlay.of([heat_map(np.array([[0, 9.0]]))], "raw")
    painted = shown.paint(places(0, STRIDE), places(STRIDE, 2 * STRIDE))
    assert painted[32, 32].tolist() == colours(shown, np.array([9.0]))[0].tolist()
    assert painted[0, 0, 3] == 255 > painted[32, 32, 3]


def test_smoothed_values_lie_between_those_of_neighbours_and_only_where_something_was_looked_at() -> None:
    values = np.array([[0, 10, np.nan, 4.0]])
    shown = Overlay.of([heat_map(values)], "raw", "smoothed")
    across = shown.paint(np.array([STRIDE / 2]), places(0, 4 * STRIDE, 8))[0]
    opacity = across[:, 3].astype(int)
    assert (np.diff(opacity[4:12]) > 0).all() and not opacity[16:24].any()
    assert len({tuple(one) for one in across[24:].tolist()}) == 1, "no neighbour, one colour"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 5), st.sampled_from(["filled", "outlines", "smoothed"]),
    st.floats(-300, 300), st.floats(0.5, 90),
)  # fmt: skip
def test_any_window_is_the_same_part_of_the_whole(
    h: int, w: int, style: Style, start: float, step: float
) -> None:
    values = np.random.default_rng(h * 7 + w).normal(size=(h, w))
    shown = Overlay.of([heat_map(values, 37.5, 11.25)], "raw", style)
    y, x = (start + (np.arange(24) + 0.5) * step for _ in range(2))
    whole = shown.paint(y, x)
    np.testing.assert_array_equal(whole[3:9, 5:20], shown.paint(y[3:9], x[5:20]))


def test_frames_stay_within_the_slide_and_have_the_same_width_at_any_zoom(make_grid: Callable) -> None:
    grid = make_grid(3, 3, (5.0, 10.0))
    size = grid.levels[0].size[0]
    frames = frames_of(grid, [(0, np.array([4])), (1, np.empty(0, np.int64))])
    assert len(frames) == 1 and frames[0].magnification == 5
    np.testing.assert_allclose(frames[0].boxes, [[size, size, 2 * size, 2 * size]])
    shown = Overlay.of([heat_map(np.full((1, 1), np.nan))], "times", frames=frames)
    for step in (1.0, size / 32):
        y = places(0, 3 * size, step)
        painted = shown.paint(y, y)[len(y) // 2]
        dark = (painted[:, :3] == (17, 17, 17)).all(1) & (painted[:, 3] == 255)
        assert dark.sum() == 2 * FRAME_PX and dark[len(y) // 3] and not dark[: len(y) // 3].any()
    beyond = frames_of(grid, [(0, np.arange(9))])[0].boxes
    assert (beyond[:, 2:] <= grid.shape).all()


def test_maps_of_other_offsets_share_a_lattice() -> None:
    coarse = heat_map(np.array([[1.0, 2]]), 128, 40.0, 5)
    fine = heat_map(np.array([[9.0]]), 64, 104.0)
    shown = Overlay.of([coarse, fine], "raw", "smoothed")
    at = np.array([70.0]), np.array([70.0, 136.0, 230.0])
    finest = shown._raster.finest[shown._raster.index(0, at[0])][:, shown._raster.index(1, at[1])]
    assert finest.tolist() == [[0, 0, 0]]
    assert (
        shown._raster.finest[
            shown._raster.index(0, np.array([120.0]))[0], shown._raster.index(1, np.array([120.0]))[0]
        ]
        == 1
    )
