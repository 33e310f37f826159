from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.bags import CachedBag, FeatureCache, LazyBag, StoredBag, cached
from napari_zoommil.bags.cache import EncoderKey, Recent
from napari_zoommil.bags.grids import GridKey
from napari_zoommil.bags.parts import Part
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid, PatchLevel
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch

ROWS = np.array([7, 2, 5])
KEY = GridKey((5.0, 10.0), 32, 0.1, (1.0, 1.0), "detector")


@pytest.fixture
def slide(make_slide: Callable, tmp_path: Path) -> Iterator[Slide]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as opened:
        yield opened


@pytest.fixture
def grid(slide: Slide) -> PatchGrid:
    return patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)


@pytest.fixture
def make(slide: Slide, grid: PatchGrid, tmp_path: Path) -> Callable[..., CachedBag]:
    """Bags on one folder."""

    def build(patches: PatchGrid = grid, dtype: str = "float32", variant: int = 0) -> CachedBag:
        cache = FeatureCache(tmp_path / "features", dtype)
        return CachedBag(cache, slide, patches, load_encoder("mean-rgb"), variant, batch_size=4, workers=1)

    return build


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Patches of each call of an encoder."""
    found: list[int] = []
    real = Encoder.__call__

    def counted(encoder: Encoder, patches: Any) -> torch.Tensor:
        found.append(len(patches))
        return real(encoder, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    return found


def test_what_was_encoded_is_found_again(make: Callable[..., CachedBag], counts: list[int]) -> None:
    first = make()
    features = first.features(1, ROWS)
    assert (first.encoded, first.taken) == ((0, 3), (0, 0)) and sum(counts) == 3
    again = make()
    assert again.stored(1).sum() == 3 and not again.known(1).any()
    assert torch.equal(again.features(1, ROWS), features)
    assert (again.encoded, again.taken) == ((0, 0), (0, 3)) and sum(counts) == 3
    again.features(1, np.arange(9))
    assert (again.encoded, again.taken) == ((0, 6), (0, 3))
    assert make().stored(1).sum() == 9


def test_it_is_a_lazy_bag(make: Callable[..., CachedBag], slide: Slide, grid: PatchGrid) -> None:
    lazy = LazyBag(slide, grid, load_encoder("mean-rgb"), 4, 1)
    for _ in range(2):
        bag, rows = make(), np.arange(11)
        for level in (0, 1):
            yielded = np.concatenate(list(bag.encode(level, rows)))
            assert sorted(yielded) == rows.tolist(), "each row is told of once, wherever it comes from"
            assert bag.known(level)[rows].all() and list(bag.encode(level, rows)) == []
            assert torch.equal(bag.features(level, rows), lazy.features(level, rows))


def test_half_precision_gives_the_same_before_and_after(make: Callable[..., CachedBag]) -> None:
    first, again = make(dtype="float16"), make(dtype="float16")
    features = first.features(1, ROWS)
    assert features.dtype == torch.float32 and torch.equal(again.features(1, ROWS), features)
    assert torch.equal(features.half().float(), features) and again.encoded == (0, 0)


def test_other_magnifications_share_what_they_have_in_common(
    make: Callable[..., CachedBag], slide: Slide, grid: PatchGrid
) -> None:
    bag = make()
    for level in (0, 1):
        bag.features(level, np.arange(len(grid.levels[level])))
    alone = patch_grid(slide, detect_tissue(slide), (10.0,), 32, 0.5)
    other = make(alone)
    both = {tuple(origin) for origin in alone.levels[0].origins} & {tuple(o) for o in grid.levels[1].origins}
    assert other.stored(0).sum() == len(both) > 50
    rows = np.flatnonzero(other.stored(0))[:3]
    expected = [read_patch(slide, alone, 0, row).mean((0, 1)) / 255 for row in rows]
    np.testing.assert_allclose(other.features(0, rows), expected, atol=1e-6)


def test_patches_of_other_tools(make: Callable[..., CachedBag], slide: Slide, grid: PatchGrid) -> None:
    """With an offset, and half over one another."""
    level = grid.levels[1]
    stride = (level.size[0] / 2, level.size[1] / 2)
    y, x = np.mgrid[100 : 300 : stride[0], 90 : 310 : stride[1]]
    origins = np.stack([y.ravel() + 0.25, x.ravel()], 1)
    parent = np.full(len(origins), -1)
    tissue = np.ones(len(origins), np.float32)
    foreign = PatchLevel(10.0, level.mpp, level.size, stride, origins, parent, tissue)
    patches = PatchGrid(grid.shape, 32, (foreign,))
    rows = np.array([0, 1, len(origins) - 1])
    for _ in range(2):
        features = make(patches).features(0, rows)
        expected = [read_patch(slide, patches, 0, row).mean((0, 1)) / 255 for row in rows]
        np.testing.assert_allclose(features, expected, atol=1e-6)
    assert make(patches).stored(0).sum() == 3


def test_each_view_has_features_of_its_own(make: Callable[..., CachedBag], counts: list[int]) -> None:
    features = [make(variant=variant).features(1, ROWS) for variant in (0, 3, 0, 3)]
    assert sum(counts) == 6 and torch.equal(features[1], features[3])


def test_what_was_encoded_before_a_close_is_kept(make: Callable[..., CachedBag]) -> None:
    batches = make().encode(1, np.arange(12))
    next(batches)
    batches.close()
    assert make().stored(1).sum() == 4


def test_taking_can_be_cancelled(make: Callable[..., CachedBag], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "TAKEN_ROWS", 5)
    make().features(1, np.arange(20))
    bag = make()
    batches = bag.encode(1, np.arange(20))
    next(batches)
    batches.close()
    assert bag.taken == (0, 5)


@pytest.mark.parametrize("failure", ["in the way", "disk full", "anything"])
def test_a_cache_that_cannot_be_written_does_not_fail(
    make: Callable[..., CachedBag], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    if failure == "in the way":
        (tmp_path / "features").write_text("a file")
    else:
        error = OSError(28, "No space left on device") if failure == "disk full" else RuntimeError("odd")

        def fail(*arguments: object) -> None:
            raise error

        monkeypatch.setattr("napari_zoommil.bags.parts._append", fail)
    bag = make()
    assert bag.features(1, ROWS).shape == (3, 3) and bag.encoded == (0, 3)
    assert bag.unkept.startswith(f"features cannot be stored in {tmp_path / 'features'} (")
    told = bag.unkept
    bag.features(1, np.arange(9))
    assert bag.unkept == told and bag.encoded == (0, 9)
    if failure == "disk full":
        assert "No space left on device" in told
        assert not [path for path in (tmp_path / "features").rglob(".new*")]


def test_what_is_damaged_is_encoded_again(
    make: Callable[..., CachedBag], tmp_path: Path, counts: list[int]
) -> None:
    features = make().features(1, ROWS)
    for file in (tmp_path / "features").rglob("features/c/0/0"):
        file.write_bytes(b"not features")
    for encoded in (3, 0):
        counts.clear()
        bag = make()
        assert torch.equal(bag.features(1, ROWS), features)
        assert sum(counts) == encoded == bag.encoded[1]


def test_a_stored_bag_reads_what_was_kept(
    make: Callable[..., CachedBag], slide: Slide, grid: PatchGrid, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features")
    key = EncoderKey("mean-rgb", load_encoder("mean-rgb").hash)
    stored = StoredBag(cache, slide.fingerprint, KEY, key)
    with pytest.raises(StoreError, match="does not hold the patches of this slide; embed it again"):
        assert stored.grid
    cache.keep_grid(slide.fingerprint, KEY, grid)
    bag = make(dtype="float16")
    bag.features(1, np.arange(9))
    sizes = [len(level) for level in grid.levels]
    assert stored.missing() == (sizes[0], sizes[1] - 9)
    with pytest.raises(StoreError, match=r"lacks features of the slide .* embed it again"):
        StoredBag(cache, slide.fingerprint, KEY, key).features(0, ROWS)
    for level in (0, 1):
        rows = np.random.default_rng(0).permutation(sizes[level])
        expected = bag.features(level, rows)
        again = StoredBag(FeatureCache(cache.folder), slide.fingerprint, KEY, key)
        found = again.features(level, rows)
        assert found.dtype == torch.float32 and torch.equal(found, expected) and again.dim == 3
    for patches, other in zip(again.grid.levels, grid.levels, strict=True):
        np.testing.assert_array_equal(patches.origins, other.origins)
    bag.features(0, ROWS).zero_()
    assert torch.equal(again.features(1, ROWS), bag.features(1, ROWS))


@pytest.fixture
def stored(make_grid: Callable, tmp_path: Path, features_of: Callable) -> StoredBag:
    """A bag of 1,600 patches at 10x in seven files, of which none is remembered."""
    grid = make_grid(20, 20, (5.0, 10.0))
    cache, key = FeatureCache(tmp_path / "features"), EncoderKey("made", "e" * 16)
    cache.keep_grid("0" * 32, KEY, grid)
    for level in grid.levels:
        cache.group("0" * 32, key, level, grid.patch_size).append(level.origins, features_of(level.origins))
    cache.recent = Recent(0)
    return StoredBag(cache, "0" * 32, KEY, key)


def test_only_the_rows_of_a_few_patches_are_read(stored: StoredBag, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once their files were read whole, which checks them."""
    rows = np.random.default_rng(0).permutation(1600)[:300]
    expected = stored.features(1, np.arange(1600))[rows]
    whole: list[int] = []
    real = Part.chunk
    monkeypatch.setattr(Part, "chunk", lambda part, number: whole.append(number) or real(part, number))
    assert torch.equal(stored.features(1, rows), expected) and whole == []
    stored.features(1, np.arange(200))
    assert whole == [0], "of a file, most"


def test_damage_is_not_read_however_few_the_rows(stored: StoredBag, tmp_path: Path) -> None:
    (file,) = (tmp_path / "features").rglob("10x-*/part-*/features/c/1/0")
    content = bytearray(file.read_bytes())
    content[100] ^= 255
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreError, match="lacks features"):
            stored.features(1, np.array([256]))
    assert len(stored.features(1, np.array([3, 4])))
    (file.parents[1] / "0" / "0").write_bytes(b"short")
    with pytest.raises(StoreError, match="lacks features"):
        stored.features(1, np.array([3]))


def test_bags_of_a_cohort_remember_within_one_bound(
    make_grid: Callable, tmp_path: Path, features_of: Callable
) -> None:
    grid = make_grid(20, 20, (5.0, 10.0))
    cache, key = FeatureCache(tmp_path / "features"), EncoderKey("made", "e" * 16)
    bags = [StoredBag(cache, str(number) * 32, KEY, key) for number in range(6)]
    for bag in bags:
        cache.keep_grid(bag.fingerprint, KEY, grid)
        for level in grid.levels:
            group = cache.group(bag.fingerprint, key, level, grid.patch_size)
            group.append(level.origins, features_of(level.origins))
    rows, expected = np.arange(1600), features_of(grid.levels[1].origins)
    for bag in bags:
        bag.features(1, rows)
    everything = cache.recent.nbytes
    cache.recent = Recent(everything // 3)
    for bag in (*bags, *bags):
        np.testing.assert_array_equal(bag.features(1, rows), expected)
        assert 0 < cache.recent.nbytes <= everything // 3


def test_a_bag_has_the_grid_of_its_key(make_grid: Callable, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    for number in (3, 4):
        cache.keep_grid("f" * 32, replace(KEY, patch_size=number), make_grid(number, 2, (5.0,)))
    bags = [
        StoredBag(cache, "f" * 32, replace(KEY, patch_size=n), EncoderKey("made", "e" * 16)) for n in (3, 4)
    ]
    assert [len(bag.grid.levels[0]) for bag in bags] == [6, 8]
