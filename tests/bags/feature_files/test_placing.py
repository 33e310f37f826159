from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.bags.feature_files.frame import (
    Frame,
    at_magnifications,
    magnification_in,
    of_patch_size,
)
from napari_zoommil.bags.feature_files.layouts import read_stated
from napari_zoommil.bags.feature_files.placing import place
from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import MICRONS_AT_1X
from napari_zoommil.slides import Slide


def patches(places: object, magnification: float | None, size: float, **changed: object) -> Stated:
    """Of 64 px."""
    made = np.asarray(places, np.float64).reshape(-1, 2)
    edge = (size, size)
    own = Stated(Path("s.h5"), "TRIDENT", "features", len(made), 3, made, "px", edge, edge, 64, magnification)
    return replace(own, **changed)  # type: ignore[arg-type]


def tiles(rows: int, columns: int, step: float, offset: float = 0) -> np.ndarray:
    return np.indices((rows, columns)).reshape(2, -1).T * step + offset


def test_patches_are_put_in_raster_order_with_their_rows() -> None:
    places = np.random.default_rng(0).permutation(tiles(4, 5, 128.0))
    placed = place([patches(places, 20, 128)], Frame())
    (level,) = placed.grid.levels
    assert np.array_equal(level.origins, tiles(4, 5, 128.0))
    assert np.array_equal(places[placed.rows[0]], level.origins)
    assert (level.magnification, level.mpp, level.size, level.stride) == (20, 0.5, (128, 128), (128, 128))
    assert (placed.grid.shape, placed.grid.patch_size, placed.mpp) == ((512, 640), 64, None)


def test_offset_and_overlap_are_kept() -> None:
    overlapping = patches(tiles(3, 3, 96, 17), 20, 128, step=(96, 96))
    (level,) = place([overlapping], Frame()).grid.levels
    assert level.size == (128, 128) and level.stride == (96, 96) and level.origins.min() == 17
    (inferred,) = place([replace(overlapping, step=None)], Frame()).grid.levels
    assert inferred.stride == (96, 96)
    apart = patches([(0, 0), (0, 300)], 20, 128, step=None)
    assert place([apart], Frame()).grid.levels[0].stride == (128, 128)


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, unique=True),
    st.floats(-31.9, 31.9),
    st.sampled_from([2, 4]),
)
def test_children_lie_in_their_parents_by_their_middles(
    kept: list[tuple[int, int]], offset: float, ratio: int
) -> None:
    """Also where the tools' lattices do not begin at the same place."""
    coarse = patches(tiles(6, 6, 64.0 * ratio, 40), 20 / ratio, 64 * ratio)
    fine = patches(np.array(sorted(kept)) * 64.0 + 40 + offset, 20, 64)
    centres = fine.coordinates + 32 + 1e-6
    inside = ((centres >= 40) & (centres < 40 + 6 * 64 * ratio)).all(1)
    if not inside.any():
        with pytest.raises(FeatureFileError, match="no patch at 20x lies in one"):
            place([coarse, fine], Frame())
        return
    placed = place([coarse, fine], Frame())
    low, high = placed.grid.levels
    assert sorted(placed.rows[1].tolist()) == np.flatnonzero(inside).tolist()
    assert (np.diff(high.parent) >= 0).all()
    within = high.origins + 32 - low.origins[high.parent]
    assert ((within >= -1e-5) & (within < 64 * ratio + 1e-5)).all()
    rows = np.arange(len(low))
    children = placed.grid.children(0, rows)
    slots = placed.grid.slots(1, children)
    pairs = set(zip(high.parent[children].tolist(), slots.tolist(), strict=True))
    assert len(pairs) == len(high)  # no two children of one patch at one place


def test_overlapping_patches_are_not_nested() -> None:
    coarse, fine = patches(tiles(3, 3, 96), 10, 128, step=(96, 96)), patches(tiles(4, 4, 64), 20, 64)
    with pytest.raises(FeatureFileError, match=r"at 10x overlap.*no single parent"):
        place([coarse, fine], Frame())
    with pytest.raises(FeatureFileError, match="at 20x overlap"):
        place([replace(coarse, step=(128, 128)), replace(fine, step=(32, 32))], Frame())


def test_micrometres_become_px_of_the_slide() -> None:
    one = patches([(0, 0), (256, 512)], 10, 256, unit="µm", patch_size=224)
    (level,) = place([one], Frame((0.5, 0.25))).grid.levels
    assert np.allclose(level.origins, [(0, 0), (512, 2048)]) and level.size == (512, 1024)
    assert level.mpp == pytest.approx(256 / 224)
    alone = place([one], Frame())
    assert alone.mpp == (1, 1) and np.allclose(alone.grid.levels[0].origins, [(0, 0), (256, 512)])


def test_zoommil_is_placed_where_its_authors_padded_the_slide() -> None:
    """Whole patches of the lowest magnification, half of what is missing at the top and left."""
    low = patches([(0, 0), (1, 1)], 5, 1, unit="patch", lowest=5.0)
    high = patches([(0, 1), (3, 3)], 20, 1, unit="patch", lowest=5.0)
    frame = Frame((0.25, 0.25), None, "s.svs", (900, 1000), 40.0)
    placed = place([low, high], frame)
    # at 20x the slide has 450 × 500 px and is padded to 512 × 512: by 31 and 6 px, of 2 level-0 px each
    assert np.allclose(placed.grid.levels[0].origins, [(-62, -12), (450, 500)])
    assert placed.grid.levels[0].size == (512, 512) and placed.grid.levels[1].size == (128, 128)
    assert placed.grid.levels[1].parent.tolist() == [0, 0]
    assert np.allclose(placed.grid.levels[1].origins, [(-62, 116), (322, 372)])
    alone = place([low, high], Frame())
    assert alone.mpp == (0.5, 0.5) and alone.grid.levels[1].size == (64, 64)


def test_the_magnification_is_computed_where_a_file_does_not_state_it() -> None:
    one = patches(tiles(2, 2, 128), None, 128)
    assert magnification_in(one, Frame((0.252, 0.252))) == 20
    with pytest.raises(FeatureFileError, match=r"does not state the magnification.*--mpp"):
        magnification_in(one, Frame())
    with pytest.raises(FeatureFileError, match=r"says that its patches are at 20x, but .* are 10x"):
        magnification_in(replace(one, magnification=20.0), Frame((0.5, 0.5)))


@given(st.floats(0.19, 0.33), st.sampled_from([5.0, 10.0, 20.0, 40.0]))
def test_nominal_and_measured_magnifications_agree(mpp: float, magnification: float) -> None:
    edge = 64 * (MICRONS_AT_1X / magnification) / 0.25
    assert magnification_in(patches([(0, 0)], magnification, edge), Frame((mpp, mpp))) == magnification


def test_features_of_another_slide_are_refused(cmu: Path, data: Path) -> None:
    folder = data / "interop/features_h5/trident/20x_256px_0px_overlap/features_meanrgb"
    with Slide.open(cmu) as slide:
        frame = Frame.of(slide, None, None)
    (own,), (other,) = (
        read_stated(folder / f"{name}.h5") for name in (slide.stem, "tcga-cr-7395-01a-01-ts1")
    )
    assert place([own], frame).grid.shape == slide.shape
    with pytest.raises(FeatureFileError, match=r"of a slide of 4,443 × 3,567 px, but CMU-1-Small-Region.svs"):
        place([other], frame)
    with pytest.raises(FeatureFileError, match="patches outside the slide"):
        place([replace(other, shape=None)], frame)


def test_magnifications_are_chosen_among_files(trident: Callable[..., Path]) -> None:
    coarse = read_stated(trident("a.h5", patch_size_level0=1024, target_magnification=10, overlap=0))
    fine = read_stated(trident("b.h5"))
    (one,) = at_magnifications((*fine, *coarse), (10.0,), Frame())
    assert one.path.name == "a.h5"
    with pytest.raises(FeatureFileError, match="holds patches at 10x, 20x, but features at 5x are needed"):
        at_magnifications((*fine, *coarse), (5.0, 20.0), Frame())
    with pytest.raises(FeatureFileError, match="64 and 256 px"):
        place([replace(coarse[0], patch_size=64), fine[0]], Frame())


def test_of_several_files_at_one_magnification_none_is_taken_silently(trident: Callable[..., Path]) -> None:
    names = ("20x_256px_0px", "20x_256px_128px", "20x_512px_0px")
    paths = (
        trident(
            f"{name}_overlap/features_uni/s.h5", patch_size=size, overlap=overlap, patch_size_level0=size * 2
        )
        for name, size, overlap in zip(names, (256, 256, 512), (0, 128, 0), strict=True)
    )
    every = [one for path in paths for one in read_stated(path)]
    (large,) = at_magnifications(of_patch_size(every, 512), (20.0,), Frame())
    assert large.path.parent.parent.name == "20x_512px_0px_overlap"
    said = r"20x \(20x_256px_0px_overlap/features_uni/s.h5 and 20x_256px_128px_overlap/features_uni/s.h5\)"
    with pytest.raises(FeatureFileError, match=said):
        at_magnifications(of_patch_size(every, 256), (20.0,), Frame())
    assert len(of_patch_size(every, 64)) == len(of_patch_size(every, None)) == 3


def test_patches_further_apart_than_on_any_slide_are_refused() -> None:
    apart = patches([(0, 0), (0, 256), (0, 9e6)], 10, 256, unit="µm")
    with pytest.raises(FeatureFileError, match=r"s.h5 states an extent in px of 3\.6\d*e\+07"):
        place([apart], Frame((0.25, 0.25)))
    with pytest.raises(FeatureFileError, match=r"s.h5 states coordinates of 5e\+08"):
        patches([(0, 0), (0, 256), (0, 5e8)], 10, 256)
