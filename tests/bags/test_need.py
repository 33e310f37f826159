from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.bags import LazyBag
from napari_zoommil.bags.need import Need, NeedImage, answer, source_of
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.encoders import load_encoder
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid

ROWS = np.array([4, 1, 3])


@pytest.fixture
def bag(make_slide: Callable, tmp_path: Path) -> Iterator[LazyBag]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        grid = patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)
        yield LazyBag(slide, grid, load_encoder("mean-rgb"), batch_size=4, workers=1)


def test_features_are_the_bags_own(bag: LazyBag) -> None:
    assert source_of(bag, Need(1, ROWS)) is bag
    assert torch.equal(answer(bag, Need(1, ROWS)), bag.features(1, ROWS))


def test_pixels_come_from_the_slide_of_a_bag_of_features(bag: LazyBag) -> None:
    patches = answer(bag, Need(1, ROWS, "pixels"))
    assert patches.shape == (3, 3, 32, 32) and patches.dtype == torch.uint8
    torch.testing.assert_close(patches.float().mean((2, 3)) / 255, bag.features(1, ROWS), atol=1e-6, rtol=0)
    assert answer(bag, NeedImage(Box(0, 0, 20, 30), 1.0)).shape == (3, 20, 30)


@pytest.mark.parametrize("variant", [1, 7])
def test_variants_are_encoded_once_and_apart(bag: LazyBag, variant: int) -> None:
    need = Need(1, ROWS, variant=variant)
    source = source_of(bag, need)
    assert source_of(bag, need) is source is not bag
    assert isinstance(source, LazyBag) and source.turn == variant
    answer(bag, need)
    assert source.encoded == bag.encoded == (0, 3), "a bag counts its variants too"


def test_what_a_bag_cannot_answer_is_said(
    bag: LazyBag, make_grid: Callable[..., object], make_bag: Callable
) -> None:
    stored = make_bag(make_grid(2, 2, (5.0, 10.0)), 4)
    for need in (Need(0, ROWS, "pixels"), NeedImage(Box(0, 0, 1, 1), 1.0)):
        with pytest.raises(ModelError, match="a feature store holds none; it needs the slide itself"):
            answer(stored, need)
    with pytest.raises(ModelError, match="rotated patches, which feature files do not hold"):
        answer(stored, Need(0, ROWS, variant=2))
    with pytest.raises(ModelError, match="built to read pixels and has no encoder"):
        answer(PixelBag(bag.slide, bag.grid), Need(0, ROWS))
