from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.bags import kept
from napari_zoommil.bags.kept import KeptBag
from napari_zoommil.encoders import load_encoder
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid

ROWS = np.array([7, 2, 5])


@pytest.fixture
def make(make_slide: Callable, tmp_path: Path) -> Iterator[Callable[..., KeptBag]]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:

        def build(patch_size: int = 32) -> KeptBag:
            grid = patch_grid(slide, detect_tissue(slide), (5.0, 10.0), patch_size)
            return KeptBag(tmp_path / "features", slide, grid, load_encoder("mean-rgb"), workers=1)

        yield build


def test_what_was_encoded_is_found_again(make: Callable[..., KeptBag]) -> None:
    first = make()
    features = first.features(1, ROWS)
    first.keep()
    again = make()
    assert again.encoded == (0, 3)
    np.testing.assert_array_equal(again.features(1, ROWS), features)
    assert again.encoded == (0, 3), "nothing was read"
    again.features(0, ROWS)
    again.keep()
    assert make().encoded == (3, 3)


def test_other_patches_have_a_file_of_their_own(make: Callable[..., KeptBag]) -> None:
    first = make()
    first.features(1, ROWS)
    first.keep()
    assert make(16).encoded == (0, 0) and make(16).path != first.path
    assert "slide" not in first.path.name


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04 a pickle"])
def test_a_damaged_file_counts_as_none(make: Callable[..., KeptBag], content: bytes) -> None:
    bag = make()
    bag.features(1, ROWS)
    bag.keep()
    bag.path.write_bytes(content)
    again = make()
    assert again.encoded == (0, 0)
    again.features(1, ROWS)
    again.keep()
    assert make().encoded == (0, 3)


def test_the_oldest_files_go(make: Callable[..., KeptBag], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT", 2)
    bags = [make(size) for size in (16, 32, 64)]
    for bag in bags:
        bag.keep()
    assert sorted(bag.path.parent.iterdir()) == sorted(bag.path for bag in bags[1:])
