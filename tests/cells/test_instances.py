from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.io import imread

from napari_zoommil.cells.instances import find_cells, outlines, split_foreground
from napari_zoommil.cells.metrics import aji


def discs(centres: list[tuple[float, float]], diameter: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = (axis + 0.5 for axis in np.indices(shape))
    return np.any([np.hypot(y - cy, x - cx) <= diameter / 2 for cy, cx in centres], axis=0)


def test_two_discs_that_overlap_become_two_cells_cut_half_way() -> None:
    mask = discs([(20, 15), (20, 33)], 20, (40, 50))
    assert ndimage.label(mask)[1] == 1
    labels = split_foreground(mask, 20, separation=0.5)
    assert labels.dtype == np.int32 and labels.max() == 2
    assert len(np.unique(labels[:, :23])) == len(np.unique(labels[:, 25:])) == 2
    assert split_foreground(mask, 20).max() == 1  # centres 18 px apart are nearer than a whole diameter


def test_cells_a_diameter_apart_are_told_apart_as_the_supplement_does() -> None:
    mask = discs([(15, 15), (15, 36), (40, 15)], 20, (60, 60)) | discs([(15, 26)], 6, (60, 60))
    labels = split_foreground(mask, 20)
    assert labels.max() == 3
    assert len({labels[15, 15], labels[15, 36], labels[40, 15]}) == 3


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(1, 30), st.sampled_from([0.5, 1.0]))
def test_all_of_the_foreground_is_shared_out_and_no_cell_spans_two_pieces(
    seed: int, diameter: float, separation: float
) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.standard_normal((40, 30)), rng.uniform(0, 3)) > 0
    labels = split_foreground(mask, diameter, separation)
    np.testing.assert_array_equal(labels > 0, mask)
    pieces, _ = ndimage.label(mask)
    for number in range(1, labels.max() + 1):
        assert len(np.unique(pieces[labels == number])) == 1
        assert ndimage.label(labels == number)[1] == 1


@pytest.mark.parametrize("mask", [np.zeros((9, 9), bool), np.ones((9, 9), bool), np.eye(9, dtype=bool)])
def test_masks_without_a_rim_or_without_a_cell(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(split_foreground(mask, 5) > 0, mask)


def test_splitting_real_nuclei_brings_back_most_of_them(data: Path) -> None:
    paths = sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[:12]
    whole, half, pieces = [], [], []
    for path in paths:
        known = imread(path)
        diameter = 2 * np.sqrt(np.median(np.bincount(known.ravel())[np.unique(known)[1:]]) / np.pi)
        whole.append(aji(known, split_foreground(known > 0, diameter)))
        half.append(aji(known, split_foreground(known > 0, diameter, 0.5)))
        pieces.append(aji(known, ndimage.label(known > 0)[0]))
    assert np.mean(half) > 0.75 and np.mean(half) > np.mean(whole) > np.mean(pieces)


def test_cells_are_found_where_the_map_is_high() -> None:
    probability = np.where(discs([(12, 10.5), (30, 40)], 12, (50, 60)), 0.9, 0.1)
    probability[29:31, 39:41] = 0.2  # a hole that noise may leave
    probability[45, 5] = 0.99  # and a speck
    cells = find_cells(probability, 12)
    assert len(cells) == 2
    np.testing.assert_allclose(cells.centres, [(12, 10.5), (30, 40)], atol=0.1)
    assert cells.areas[1] == discs([(30, 40)], 12, (50, 60)).sum()
    assert cells.scores[0] == pytest.approx(0.9) and 0.85 < cells.scores[1] < 0.9
    assert cells.classes.tolist() == [1, 1]
    assert cells.labels.dtype == np.int32 and cells.labels[12, 10] == 1 and cells.labels[29, 39] == 2
    assert (
        len(find_cells(probability, 12, least_area=1)) == 4
    )  # the hole splits its cell, and the speck stays
    assert len(find_cells(probability, 12, threshold=0.95)) == 0
    assert len(find_cells(probability, 12, least_area=1000)) == 0


def test_the_class_is_the_likeliest_over_the_cell_and_classes_are_one_foreground() -> None:
    where = discs([(10, 10)], 12, (20, 20))
    left = where & (np.arange(20) < 9)
    first = np.where(left, 0.4, np.where(where, 0.1, 0.0))
    second = np.where(left, 0.2, np.where(where, 0.6, 0.0))
    cells = find_cells(np.stack([first, second]), 12)
    assert len(cells) == 1 and cells.classes.tolist() == [2]
    assert cells.scores[0] == pytest.approx((first + second)[where].mean())
    assert cells.areas[0] == where.sum()  # neither class alone reaches 0.5 everywhere


def test_what_holds_nothing_gives_no_cell() -> None:
    cells = find_cells(np.zeros((3, 16, 12)), 10)
    assert len(cells) == 0 and not cells.labels.any()
    assert cells.centres.shape == (0, 2) and cells.scores.shape == cells.classes.shape == (0,)


def test_outlines_enclose_their_cells(data: Path) -> None:
    known = imread(sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[2])
    labels = split_foreground(known > 0, 20, 0.5)
    found = outlines(labels)
    assert len(found) == labels.max()
    for number, outline in enumerate(found, 1):
        np.testing.assert_array_equal(outline[0], outline[-1])
        inside = polygon2mask(labels.shape, outline - 0.5)
        holes_too = ndimage.binary_fill_holes(labels == number)
        assert (inside != holes_too).sum() == 0


def test_the_outline_of_one_pixel_is_around_its_centre() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[2, 3] = 1
    (outline,) = outlines(labels)
    np.testing.assert_allclose(outline[:-1].mean(0), (2.5, 3.5))
    assert np.abs(outline - (2.5, 3.5)).max() == 0.5
