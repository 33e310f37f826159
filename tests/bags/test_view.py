from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.bags import LazyBag
from napari_zoommil.bags.need import Need, answer
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.bags.view import PartBag, ReplacedBag, glass_of
from napari_zoommil.encoders import load_encoder
from napari_zoommil.errors import ModelError
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid


@pytest.fixture
def whole(make_slide: Callable, tmp_path: Path) -> Iterator[LazyBag]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        grid = patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)
        yield LazyBag(slide, grid, load_encoder("mean-rgb"), batch_size=3, workers=1)


def test_a_part_is_answered_from_the_whole(whole: LazyBag) -> None:
    part = PartBag.of_trees(whole, np.array([9, 2, 5]))
    assert part.rows[0].tolist() == [2, 5, 9]
    assert part.rows[1].tolist() == np.sort(whole.grid.children(0, part.rows[0])).tolist()
    whole.features(1, part.rows[1][:2])
    assert np.flatnonzero(part.known(1)).tolist() == [0, 1]
    rows = np.array([7, 0, 3, 5])
    assert [chunk.tolist() for chunk in part.encode(1, rows)] == [[7, 3, 5]]
    assert torch.equal(part.features(1, rows), whole.features(1, part.rows[1][rows]))


def test_pixels_of_a_part_are_those_of_its_patches(whole: LazyBag) -> None:
    part = PartBag.of_trees(whole, np.array([2, 5, 9]))
    found = answer(part, Need(1, np.array([4]), "pixels"))
    assert torch.equal(found, answer(whole, Need(1, part.rows[1][[4]], "pixels")))


def test_turned_patches_of_a_part(whole: LazyBag) -> None:
    part = PartBag.of_trees(whole, np.array([2, 5, 9]))
    found = answer(part, Need(1, np.array([4]), variant=3))
    assert torch.equal(found, answer(whole, Need(1, part.rows[1][[4]], variant=3)))


def test_some_patches_have_other_features(whole: LazyBag) -> None:
    rows = (np.array([2]), whole.grid.children(0, np.array([2])))
    bag = ReplacedBag(whole, rows, torch.tensor([7.0, 8, 9]))
    asked = np.array([3, 2, 0])
    assert np.flatnonzero(bag.known(0)).tolist() == [2]
    assert sorted(np.concatenate(list(bag.encode(0, asked))).tolist()) == [0, 3]
    found = bag.features(0, asked)
    assert found[1].tolist() == [7, 8, 9]
    assert torch.equal(found[[0, 2]], whole.features(0, asked[[0, 2]]))
    assert bag.features(1, rows[1]).tolist() == [[7, 8, 9]] * len(rows[1])
    assert torch.equal(bag.variant(5).features(0, asked)[0], whole.variant(5).features(0, asked)[0])


def test_pixels_are_replaced_too(whole: LazyBag) -> None:
    pixels = PixelBag(whole.slide, whole.grid)
    glass = glass_of(pixels)
    assert glass.shape == (3, 32, 32) and (glass == 255).all()
    bag = ReplacedBag(pixels, (np.array([1]), np.empty(0, np.int64)), glass)
    found = answer(bag, Need(0, np.array([0, 1]), "pixels"))
    assert torch.equal(found[1], glass) and found.dtype == torch.uint8
    assert torch.equal(found[0], pixels.features(0, np.array([0]))[0])


def test_pixels_behind_replaced_features_are_refused(whole: LazyBag) -> None:
    bag = ReplacedBag(whole, (np.array([1]), np.empty(0, np.int64)), glass_of(whole))
    assert glass_of(whole).tolist() == pytest.approx(
        whole.encoder(np.full((1, 8, 8, 3), 255, np.uint8))[0].tolist()
    )
    with pytest.raises(ModelError, match="needs the slide itself"):
        answer(bag, Need(0, np.array([0]), "pixels"))
