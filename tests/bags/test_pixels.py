from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.bags import pixels
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.encoders.turned import turned
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch


@pytest.fixture
def slide(make_slide: Callable, tmp_path: Path) -> Iterator[Slide]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as opened:
        yield opened


@pytest.fixture
def bag(slide: Slide) -> PixelBag:
    return PixelBag(slide, patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32), 4, 1)


def whole(job) -> torch.Tensor:  # type: ignore[no-untyped-def]
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value


def test_pixels_are_those_of_the_patches(bag: PixelBag, slide: Slide) -> None:
    rows = np.array([7, 2, 5, 11, 0])
    assert [chunk.tolist() for chunk in bag.encode(1, rows)] == [[7, 2, 5, 11], [0]]
    found = bag.features(1, rows)
    assert found.dtype == torch.uint8 and found.shape == (5, 3, 32, 32)
    for one, row in zip(found, rows, strict=True):
        np.testing.assert_array_equal(one.permute(1, 2, 0), read_patch(slide, bag.grid, 1, int(row)))
    assert bag.encoded == (0, 5)


def test_what_was_read_last_is_not_read_again(bag: PixelBag, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, read, real = np.arange(6), [], pixels.read_batches

    def counted(*arguments):  # type: ignore[no-untyped-def]
        read.append(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(pixels, "read_batches", counted)
    first = bag.features(1, rows)
    assert torch.equal(bag.features(1, rows[2:4]), first[2:4]) and len(read) == 1
    bag.features(0, rows[:2])
    assert torch.equal(bag.features(1, rows), first) and len(read) == 3


def test_a_variant_is_turned(bag: PixelBag) -> None:
    rows = np.arange(3)
    own = bag.features(1, rows).permute(0, 2, 3, 1).numpy()
    other = bag.variant(6).features(1, rows).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(other, turned(own, 6))


def test_an_image_is_read_in_strips_as_if_it_were_one(
    bag: PixelBag, slide: Slide, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(13.0, -20.0, 400.0, 300.0)
    for mpp in (1.0, 2.0, 3.3):
        height, width = round(400 / mpp), round(300 / mpp)
        monkeypatch.setattr(pixels, "STRIP_BYTES", 3 * width * 50)
        shares = []
        job = bag.image(box, mpp)
        while True:
            try:
                shares.append(next(job))
            except StopIteration as stop:
                found = stop.value
                break
        assert found.shape == (3, height, width) and len(shares) == -(-height // 50) and shares[-1] == 1
        expected = slide.read(13, -20, height, width, mpp).astype(int)
        assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1, mpp


def test_an_image_too_large_is_refused_before_it_is_read(
    bag: PixelBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "LARGEST_IMAGE", 1000)
    with pytest.raises(ModelError, match=r"400 × 300 px \(slide\.tif at 1 µm/px\) is too large"):
        next(bag.image(Box(0, 0, 300, 400), 1.0))
    assert whole(bag.image(Box(0, 0, 18, 18), 1.0)).shape == (3, 18, 18)


def test_a_slide_may_be_opened_for_each_read(bag: PixelBag, slide: Slide) -> None:
    opened = []

    def open_again() -> Slide:
        opened.append(slide.reopen())
        return opened[-1]

    other = PixelBag(open_again, bag.grid, 4, 1)
    assert torch.equal(other.features(1, np.arange(6)), bag.features(1, np.arange(6)))
    whole(other.variant(1).image(Box(0, 0, 9, 9), 1.0))
    assert len(opened) == 2
