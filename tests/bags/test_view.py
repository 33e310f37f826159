from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.bags import LazyBag
from napari_zoommil.bags.need import Need, answer
from napari_zoommil.bags.view import PartBag
from napari_zoommil.encoders import load_encoder
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
