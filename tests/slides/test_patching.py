"""Tissue masks on slides, and nested patches over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.errors import MagnificationError, MissingResolutionError, NoTissueError, OverlapError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides.patching import (
    Tissue,
    detect_tissue,
    overview_strips,
    patch_grid,
    read_overview,
    read_patch,
)
from napari_zoommil.slides.slide import Slide
from napari_zoommil.slides.tissue import DEFAULT_MPP

BLANK = np.full((1500, 1300, 3), 243, np.uint8)


@pytest.fixture(scope="module")
def cmu_grid(cmu: Path):
    with Slide.open(cmu) as slide:
        tissue = detect_tissue(slide)
        yield slide, tissue, patch_grid(slide, tissue, (5, 10, 20), 64)


def random_tissue(seed: int, shape: tuple[int, int], downsample: float) -> Tissue:
    rng = np.random.default_rng(seed)
    mask = np.zeros([int(np.ceil(edge / downsample)) for edge in shape], bool)
    for _ in range(rng.integers(1, 6)):
        y, x = (rng.integers(edge) for edge in mask.shape)
        mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = True
    return Tissue(mask, (downsample, downsample))


def covered(grid: PatchGrid, level: int) -> np.ndarray:
    """Level-0 pixels (by their centres) that the patches of a level cover."""
    patches = grid.levels[level]
    inside = np.zeros(grid.shape, bool)
    for (y, x), (height, width) in zip(patches.origins, [patches.stride] * len(patches), strict=True):
        rows = slice(*np.ceil(np.array((y, y + height)) - 0.5).astype(int))
        columns = slice(*np.ceil(np.array((x, x + width)) - 0.5).astype(int))
        inside[rows, columns] = True
    return inside


def tissue_at_level_0(tissue: Tissue, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        ((np.arange(edge) + 0.5) / step).astype(int)
        for edge, step in zip(shape, tissue.downsample, strict=True)
    )
    return tissue.mask[np.ix_(rows, columns)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    own=st.sampled_from((0.2525, 0.499, 0.5, 0.33, (0.5, 0.25))),
    ratios=st.sampled_from(((2, 2), (4,), (2, 4), (3, 2), (4, 3), ())),
    size=st.sampled_from((16, 50, 64)),
    min_tissue=st.sampled_from((0.0, 0.1, 0.5)),
)
def test_patches_nest_and_cover_the_tissue(array_slide, seed, own, ratios, size, min_tissue) -> None:
    slide = array_slide(BLANK, mpp=own)
    tissue = random_tissue(seed, slide.shape, 16.032)
    magnifications = tuple(float(m) for m in 20 / np.cumprod((1, *ratios[::-1]))[::-1])
    grid = patch_grid(slide, tissue, magnifications, size, min_tissue)
    assert grid.ratios == ratios and grid.magnifications == magnifications
    truth = tissue_at_level_0(tissue, slide.shape)
    assert (grid.levels[0].parent == -1).all()
    for level, patches in enumerate(grid.levels):
        far = patches.origins + patches.stride
        assert len(patches) and (patches.tissue > 0).all() and (patches.tissue <= 1).all()
        assert (patches.origins >= 0).all() and (patches.origins < slide.shape).all()
        assert np.allclose(np.array(patches.stride) * slide.mpp, patches.mpp * size)
        if level:
            above = grid.levels[level - 1]
            assert (np.diff(patches.parent) >= 0).all()
            near = above.origins[patches.parent]
            assert (patches.origins >= near - 1e-6).all()
            assert (far <= near + above.stride + 1e-6).all()
            assert set(patches.parent) == set(range(len(above))), "a patch with tissue but no part with any"
            everywhere = grid.children(level - 1, np.arange(len(above)))
            assert np.array_equal(everywhere, np.arange(len(patches)))
            assert not (truth & covered(grid, level - 1) & ~covered(grid, level)).any()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_no_patch_is_kept_for_rounding_errors(array_slide, seed: int) -> None:
    slide = array_slide(BLANK, mpp=0.2525)
    tissue = random_tissue(seed, slide.shape, 16.032)
    fine = patch_grid(slide, tissue, (5, 20), 16).levels[1]
    near = (fine.origins / tissue.downsample).astype(int)
    far = np.ceil((fine.origins + fine.stride) / tissue.downsample).astype(int)
    assert all(tissue.mask[y0:y1, x0:x1].any() for (y0, x0), (y1, x1) in zip(near, far, strict=True))


def test_too_little_tissue_everywhere_keeps_what_there_is(array_slide) -> None:
    slide = array_slide(BLANK)
    mask = np.zeros((94, 82), bool)
    mask[10, 10] = mask[50, 60] = True
    grid = patch_grid(slide, Tissue(mask, (16.0, 16.0)), (5, 10), 128, min_tissue=0.5)
    assert len(grid.levels[0]) == 2 and len(grid.levels[1]) == 2


@pytest.mark.parametrize("min_tissue", [0.0, 0.1])
def test_a_blank_slide_has_no_tissue(array_slide, min_tissue: float) -> None:
    slide = array_slide(BLANK)
    tissue = detect_tissue(slide)
    assert not tissue.mask.any()
    with pytest.raises(NoTissueError, match=slide.name):
        patch_grid(slide, tissue, (5, 10), min_tissue=min_tissue)


def test_what_the_slide_cannot_give_is_refused(cmu_grid, array_slide) -> None:
    slide, tissue, _ = cmu_grid
    for magnifications in ((10, 20, 40), (10, 5), (5, 12), (), (0, 10)):
        with pytest.raises(MagnificationError):
            patch_grid(slide, tissue, magnifications)
    with pytest.raises(MissingResolutionError):
        detect_tissue(array_slide(BLANK, mpp=None))


def test_strides_on_a_real_20x_slide_are_whole_pixels(cmu_grid) -> None:
    _, _, grid = cmu_grid
    assert [level.stride for level in grid.levels] == [(256, 256), (128, 128), (64, 64)]
    assert [level.mpp for level in grid.levels] == pytest.approx([1.996, 0.998, 0.499])


def test_patches_of_a_real_slide_hold_the_pixels_at_their_origins(cmu_grid) -> None:
    slide, _, grid = cmu_grid
    for level, row in ((0, 3), (1, 20), (2, 90)):
        factor = 4 // 2**level
        y, x = grid.levels[level].origins[row].astype(int)
        source = slide.read_level(0, y, x, 64 * factor, 64 * factor)
        means = source.reshape(64, factor, 64, factor, 3).mean((1, 3))
        error = np.abs(read_patch(slide, grid, level, row) - means)
        assert error.mean() < 0.8 and error.max() < (0.6 if factor == 1 else 16)
    children = grid.children(0, np.array([3]))
    assert np.array_equal(
        np.concatenate([grid.slots(1, children[[0, -1]])]),
        grid.levels[1].lattice[children[[0, -1]]] % 2 @ (2, 1),
    )


def test_tissue_of_a_real_slide_is_dark_and_the_rest_is_light(cmu_grid) -> None:
    slide, tissue, grid = cmu_grid
    overview = read_overview(slide)
    assert overview.shape[:2] == tissue.mask.shape == (186, 139)
    assert overview[tissue.mask].mean() + 30 < overview[~tissue.mask].mean()
    assert 0.2 < tissue.mask.mean() < 0.8
    assert np.allclose(tissue.downsample, DEFAULT_MPP / 0.499)
    assert grid.levels[0].tissue.min() >= 0.1


def test_an_overview_read_in_strips_is_the_overview(cmu: Path, monkeypatch) -> None:
    with Slide.open(cmu) as slide:
        whole = read_overview(slide, 4.0).astype(int)
        monkeypatch.setattr("napari_zoommil.slides.patching.STRIP_BYTES", 1 << 20)
        strips = list(overview_strips(slide, 4.0))
    assert len(strips) > 5 and strips[-1][0] == strips[-1][1] == whole.shape[0]
    assert [done for done, _, _ in strips] == list(np.cumsum([len(pixels) for _, _, pixels in strips]))
    assert np.abs(np.concatenate([pixels for _, _, pixels in strips]) - whole).max() <= 4


def test_strips_are_as_tall_as_the_level_they_are_read_from_allows(array_slide, monkeypatch) -> None:
    monkeypatch.setattr("napari_zoommil.slides.patching.STRIP_BYTES", 200_000)
    slides = array_slide(BLANK), array_slide(BLANK, BLANK[::8, ::8], BLANK[::16, ::16])
    counts = [len(list(overview_strips(slide, 8.0))) for slide in slides]
    assert counts == [32, 1]
    tallest = max(height * width * 3 for _, _, _, height, width in slides[0]._reader.reads)
    assert tallest <= 200_000


def test_polygons_are_added_and_then_left_out() -> None:
    tissue = Tissue(np.zeros((20, 30), bool), (16.0, 8.0))
    square = np.array([(32, 40), (32, 120), (160, 120), (160, 40)], float)
    inner = np.array([(64, 64), (64, 96), (96, 96), (96, 64)], float)
    edited = tissue.edited(add=[square], leave_out=[inner])
    expected = np.zeros((20, 30), bool)
    expected[2:10, 5:15] = True
    expected[4:6, 8:12] = False
    assert np.array_equal(edited.mask, expected)
    assert not tissue.mask.any() and edited.downsample == tissue.downsample


def test_polygons_beyond_the_slide_are_cut_off() -> None:
    tissue = Tissue(np.ones((20, 30), bool), (16.0, 16.0))
    beyond = np.array([(-500, -500), (-500, 80), (80, 80), (80, -500)], float)
    mask = tissue.edited(leave_out=[beyond]).mask
    assert not mask[:5, :5].any() and mask[5:].all() and mask[:, 5:].all()
    assert tissue.edited(leave_out=[beyond + 9000]).mask.all()


@given(st.lists(st.tuples(st.floats(-50, 500), st.floats(-50, 500)), min_size=1, max_size=20))
def test_a_share_is_that_of_the_box(points: list[tuple[float, float]]) -> None:
    mask = np.zeros((25, 30), bool)
    mask[5:15, 10:20] = True
    share = Tissue(mask, (16.0, 16.0)).share(np.array(points), (40.0, 56.0))
    y, x = np.array(points).T
    height = np.clip(np.minimum(y + 40, 240) - np.maximum(y, 80), 0, None)
    width = np.clip(np.minimum(x + 56, 320) - np.maximum(x, 160), 0, None)
    assert share == pytest.approx(height * width / (40 * 56), abs=2e-6)


def test_tissue_inside_an_area_leaves_out_its_holes() -> None:
    tissue = Tissue(np.ones((20, 30), bool), (16.0, 8.0))
    outer, hole = shapely.box(32, 40, 160, 120), shapely.box(64, 64, 96, 96)
    island = shapely.box(70, 70, 90, 90)
    inside = tissue.inside(shapely.union_all([outer - hole, island]))
    expected = np.zeros((20, 30), bool)
    expected[2:10, 5:15] = True
    expected[4:6, 8:12] = False
    expected[4:6, 9:11] = True  # centres of px of the island
    assert np.array_equal(inside.mask, expected)
    assert tissue.mask.all() and inside.downsample == tissue.downsample
    assert not Tissue(~tissue.mask, tissue.downsample).inside(outer).mask.any()


def test_a_part_smaller_than_a_px_of_the_mask_is_not_lost() -> None:
    tissue = Tissue(np.ones((20, 30), bool), (16.0, 8.0))
    area = shapely.union_all([shapely.box(33, 41, 34, 42), shapely.box(319, 239, 320, 240)])
    assert np.argwhere(tissue.inside(area).mask).tolist() == [[2, 5], [19, 29]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 90)] * 4), min_size=1, max_size=5), st.floats(0.7, 9))
def test_a_px_is_inside_if_its_centre_is(boxes: list[tuple[int, ...]], downsample: float) -> None:
    area = shapely.union_all([shapely.box(y, x, y + h + 20, x + w + 20) for y, x, h, w in boxes])
    mask = Tissue(np.ones((60, 40), bool), (downsample,) * 2).inside(area).mask
    y, x = (np.indices(mask.shape) + 0.5).reshape(2, -1) * downsample
    away = shapely.distance(shapely.points(y, x), area.boundary) > 1e-6
    expected = shapely.contains_xy(area, y, x)
    assert not (expected & away & ~mask.ravel()).any()
    only_px = mask.ravel() & ~expected & away  # of parts without a centre inside
    assert only_px.sum() <= len(shapely.get_parts(area))


@pytest.mark.parametrize("overlap", [16, 32, 48])
def test_patches_overlap_and_cover_what_they_cover_without(cmu_grid, overlap: int) -> None:
    slide, tissue, _ = cmu_grid
    plain = patch_grid(slide, tissue, (10,), 64, 0)
    grid = patch_grid(slide, tissue, (10,), 64, 0, overlap)
    (level,), (apart,) = grid.levels, plain.levels
    assert level.size == apart.size and np.allclose(level.stride, np.array(level.size) * (1 - overlap / 64))
    steps = level.origins / level.stride
    assert np.allclose(steps, np.rint(steps)) and (level.origins < slide.shape).all()
    np.testing.assert_allclose(level.tissue, tissue.share(level.origins, level.size))
    middles = np.argwhere(tissue.mask)[::50] + 0.5
    middles = middles * tissue.downsample
    inside = middles[(middles < slide.shape).all(1)]
    assert len(np.unique(level.covering(inside)[0])) == len(inside)
    density = len(level) / len(apart)
    assert 0.8 < density * (1 - overlap / 64) ** 2 < 1.4
    pixels = read_patch(slide, grid, 0, len(level) // 2)
    y, x = level.origins[len(level) // 2]
    np.testing.assert_array_equal(pixels, slide.read(y, x, 64, 64, level.mpp))


def test_no_patch_begins_where_all_it_covers_is_covered_before(cmu_grid) -> None:
    slide, _, _ = cmu_grid
    everything = Tissue(np.ones((30, 23), bool), (100.0, 100.0))
    level = patch_grid(slide, everything, (20,), 256, 0, 128).levels[0]
    far = level.origins.max(0) + np.array(level.size) - level.stride
    assert (far < slide.shape).all() and (level.origins.max(0) + level.size >= slide.shape).all()


def test_nested_patches_do_not_overlap(cmu_grid) -> None:
    slide, tissue, _ = cmu_grid
    with pytest.raises(OverlapError, match=r"at one magnification only.*no single parent"):
        patch_grid(slide, tissue, (5, 10), 64, 0.1, 16)
