from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.encoders.turned import VARIANTS, turned
from napari_zoommil.models.blocks.lattice import as_image
from napari_zoommil.models.blocks.regions import crop_weights, inside, spread, turned_image, whole

PLACES = st.sets(st.tuples(st.integers(-3, 30), st.integers(3, 50)), min_size=1).map(
    lambda found: np.array(sorted(found))
)


@pytest.mark.parametrize("variant", range(VARIANTS))
def test_turned_patches_laid_out_turned_are_the_turned_slide(variant: int) -> None:
    rng = np.random.default_rng(0)
    slide = rng.integers(0, 256, (3 * 4, 5 * 4, 3), np.uint8)
    lattice = np.indices((3, 5)).reshape(2, -1).T
    cut = np.stack([slide[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] for y, x in lattice])
    features = torch.from_numpy(turned(cut, variant).reshape(15, -1).astype(np.float32))
    image = turned_image(as_image(features, lattice)[0], variant)
    whole_slide = np.rot90(slide, variant % 4)
    whole_slide = whole_slide[:, ::-1] if variant >= 4 else whole_slide
    height, width = image.shape[1:]
    expected = whole_slide.reshape(height, 4, width, 4, 3).transpose(1, 3, 4, 0, 2).reshape(48, height, width)
    np.testing.assert_array_equal(image.numpy(), expected)


def test_crops_are_drawn_in_the_depth_of_the_tissue() -> None:
    lattice = np.indices((5, 5)).reshape(2, -1).T + np.array((7, 3))
    weights = crop_weights(lattice).reshape(5, 5)
    np.testing.assert_allclose(weights[2], np.array([1, 4, 9, 4, 1]) / 9)
    np.testing.assert_allclose(weights[0], 1 / 9)
    assert crop_weights(np.array([[0, 0]])) == 1


@given(PLACES, st.integers(1, 20), st.integers(1, 6))
def test_crops_hold_patches_and_lie_where_these_are(lattice: np.ndarray, edge: int, count: int) -> None:
    corners = spread(lattice, edge, count)
    low, high = lattice.min(0), lattice.max(0) + 1
    assert 1 <= len(corners) <= count
    for corner in corners:
        assert len(inside(lattice, corner, edge))
        for axis in (0, 1):
            if high[axis] - low[axis] >= edge:
                assert low[axis] <= corner[axis] <= high[axis] - edge
            else:
                before, after = low[axis] - corner[axis], corner[axis] + edge - high[axis]
                assert 0 <= before - after <= 1 or 0 <= after - before <= 1
    if (high - low <= edge).all():
        assert len(corners) == 1


@given(PLACES, st.integers(1, 20), st.integers(1, 8))
def test_the_whole_holds_all_patches_in_its_middle(lattice: np.ndarray, edge: int, step: int) -> None:
    corner, shape = whole(lattice, edge, step)
    offset = lattice - corner
    assert (offset >= 0).all() and (offset < shape).all()
    margin = np.array(shape) - 1 - offset.max(0) - offset.min(0)
    assert (np.abs(margin) <= 1).all()
    assert all((one - edge) % step == 0 for one in shape)
    for one, extent in zip(shape, np.ptp(lattice, axis=0) + 1, strict=True):
        assert extent <= one and (one == edge or one < extent + step)
