from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_zoommil.bags import LazyBag
from napari_zoommil.bags.bag import encode_patches
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch


@pytest.fixture
def bag(make_slide: Callable, tmp_path: Path) -> Iterator[LazyBag]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        grid = patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)
        yield LazyBag(slide, grid, load_encoder("mean-rgb"), batch_size=4, workers=1)


def test_features_are_those_of_the_patches(bag: LazyBag) -> None:
    rows = np.array([7, 2, 5])
    patches = np.stack([read_patch(bag.slide, bag.grid, 1, row) for row in rows])
    features = bag.features(1, rows)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features, patches.mean((1, 2)) / 255, atol=1e-6)


def test_each_patch_is_encoded_once(bag: LazyBag, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, real = [], Encoder.__call__

    def counted(encoder: Encoder, patches: np.ndarray) -> Tensor:
        counts.append(len(patches))
        return real(encoder, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    first = bag.features(1, np.arange(6))
    again = bag.features(1, np.arange(8))
    assert sorted(counts) == [2, 2, 4] and bag.encoded == (0, 8)
    assert torch.equal(again[:6], first)
    assert bag.known(1).sum() == 8 and not bag.known(0).any()


def test_encoding_yields_what_was_missing(bag: LazyBag) -> None:
    bag.features(1, np.array([1, 3]))
    assert [rows.tolist() for rows in bag.encode(1, np.arange(8))] == [[0, 2, 4, 5], [6, 7]]


def test_what_was_encoded_before_a_close_is_kept(bag: LazyBag) -> None:
    batches = bag.encode(1, np.arange(12))
    next(batches)
    batches.close()
    assert bag.encoded == (0, 4)


def test_features_are_the_callers_own(bag: LazyBag) -> None:
    rows = np.arange(3)
    bag.features(1, rows).zero_()
    assert (bag.features(1, rows) > 0).all()


def test_one_stream_encodes_several_magnifications(bag: LazyBag) -> None:
    wanted = [(0, np.array([3, 1])), (1, np.arange(6))]
    found = list(encode_patches(bag.slide, bag.grid, wanted, bag.encoder, 4, 2))
    assert [(level, rows.tolist()) for level, rows, _ in found] == [
        (0, [3, 1]),
        (1, [0, 1, 2, 3]),
        (1, [4, 5]),
    ]
    for level, rows, features in found:
        np.testing.assert_array_equal(features, bag.features(level, rows))
