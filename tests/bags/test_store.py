from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr

from napari_zoommil.bags import FeatureStore, StoredBag
from napari_zoommil.bags import store as module
from napari_zoommil.bags.store import CHUNK_ROWS, StoreKey, store_path
from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid

KEY = StoreKey("a.svs", "f" * 32, "mean-rgb", "e" * 16)


@pytest.fixture(scope="module")
def grid(make_grid: Callable) -> PatchGrid:
    """100 and 400 patches: one chunk and two."""
    return make_grid(10, 10, (5.0, 10.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path / "features", "a", "0" * 32, "mean-rgb")


def features_of(grid: PatchGrid, level: int, rows: np.ndarray) -> np.ndarray:
    return np.stack([rows, rows * 0 + level, rows / 7], 1).astype(np.float32)


def fill(store: FeatureStore, chunks: int | None = None) -> list[tuple[int, int]]:
    """Write the missing chunks, or the first of them; returns (level, first row) of each."""
    todo = [(level, rows) for level in range(len(store.grid.levels)) for rows in store.missing(level)][
        :chunks
    ]
    for level, rows in todo:
        store.write(level, rows, features_of(store.grid, level, rows))
    return [(level, int(rows[0])) for level, rows in todo]


def test_a_store_comes_back_whole(grid: PatchGrid, path: Path) -> None:
    fill(FeatureStore.create(path, KEY, grid, 3, "float32"))
    store = FeatureStore.open(path)
    assert (store.key, store.dim, store.grid.shape, store.grid.patch_size) == (KEY, 3, grid.shape, 8)
    for level, (read, made) in enumerate(zip(store.grid.levels, grid.levels, strict=True)):
        assert (read.magnification, read.mpp, read.stride) == (made.magnification, made.mpp, made.stride)
        for name in ("lattice", "parent", "tissue", "origins"):
            np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
        every = np.arange(len(made))
        np.testing.assert_array_equal(store.read(level), features_of(grid, level, every))


def test_half_precision_is_kept_to_its_digits(grid: PatchGrid, path: Path) -> None:
    store = FeatureStore.create(path, KEY, grid, 3)
    fill(store)
    assert store.read(1).dtype == np.float16
    rows = np.array([399, 3, 256])
    features = StoredBag(store).features(1, rows)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features, features_of(grid, 1, rows), rtol=2**-11)


def test_a_store_that_was_cut_off_is_resumed(grid: PatchGrid, path: Path) -> None:
    assert fill(FeatureStore.create(path, KEY, grid, 3), chunks=2) == [(0, 0), (1, 0)]
    store = FeatureStore.create(path, KEY, grid, 3)
    assert fill(store) == [(1, CHUNK_ROWS)]
    assert not store.missing(0) and not store.missing(1)
    np.testing.assert_allclose(store.read(1)[:, 0], np.arange(400))


def test_a_chunk_counts_only_once_it_is_marked(grid: PatchGrid, path: Path) -> None:
    """Killed between features and mark: the chunk is made again."""
    store = FeatureStore.create(path, KEY, grid, 3)
    rows = store.missing(1)[0]
    store._part(1, "features")[: len(rows)] = features_of(grid, 1, rows)
    assert [int(chunk[0]) for chunk in FeatureStore.open(path).missing(1)] == [0, CHUNK_ROWS]


def test_an_incomplete_store_is_no_bag(grid: PatchGrid, path: Path) -> None:
    store = FeatureStore.create(path, KEY, grid, 3)
    fill(store, chunks=2)
    with pytest.raises(StoreError, match=r"a-00000000\.mean-rgb\.zarr is not complete; run embed again"):
        StoredBag(store)


def test_another_slide_is_refused(grid: PatchGrid, path: Path) -> None:
    FeatureStore.create(path, KEY, grid, 3)
    with pytest.raises(StoreError, match=r"features of a\.svs, not of b\.svs"):
        FeatureStore.create(path, replace(KEY, slide="b.svs", fingerprint="0" * 32), grid, 3)


def test_a_renamed_slide_is_the_same(grid: PatchGrid, path: Path) -> None:
    FeatureStore.create(path, KEY, grid, 3)
    assert FeatureStore.create(path, replace(KEY, slide="renamed.svs"), grid, 3).key == KEY


def test_other_weights_are_refused(grid: PatchGrid, path: Path) -> None:
    FeatureStore.create(path, KEY, grid, 3)
    with pytest.raises(StoreError, match="other weights of mean-rgb"):
        FeatureStore.create(path, replace(KEY, encoder_hash="0" * 16), grid, 3)


@pytest.mark.parametrize("change", ["patch size", "magnifications", "count", "lattice", "scale"])
def test_other_patches_are_refused(make_grid: Callable, grid: PatchGrid, path: Path, change: str) -> None:
    low, high = grid.levels
    other = {
        "patch size": replace(grid, patch_size=16),
        "magnifications": make_grid(10, 10, (5.0, 20.0)),
        "count": make_grid(10, 9, (5.0, 10.0)),
        "lattice": replace(grid, levels=(low, replace(high, lattice=high.lattice[::-1]))),
        "scale": replace(grid, levels=(replace(low, stride=(17.0, 17.0)), high)),
    }[change]
    FeatureStore.create(path, KEY, grid, 3)
    with pytest.raises(StoreError, match=r"other patches \(100 at 5x, 400 at 10x, of 8 px\) than now"):
        FeatureStore.create(path, KEY, other, 3)


def test_a_store_cut_off_while_it_was_made_is_made_anew(
    grid: PatchGrid, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "os", SimpleNamespace(replace=kill))
        FeatureStore.create(path, KEY, grid, 3)
    assert not path.exists()
    fill(FeatureStore.create(path, KEY, grid, 3))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["absent", "empty", "file", "attributes", "level", "format"])
def test_a_damaged_store_says_so(grid: PatchGrid, path: Path, damage: str) -> None:
    path.parent.mkdir(parents=True)
    if damage == "empty":
        path.mkdir()
    elif damage == "file":
        path.write_text("features")
    elif damage == "attributes":
        zarr.open_group(path, mode="w")
    elif damage != "absent":
        store = FeatureStore.create(path, KEY, grid, 3)
        if damage == "level":
            del store._group["10x"]["lattice"]  # type: ignore[union-attr]
        else:
            store._group.attrs["format"] = 99
    with pytest.raises(StoreError, match=r"is not a whole feature store.*embed again"):
        FeatureStore.open(path)


def test_names_of_encoders_become_names_of_files(tmp_path: Path) -> None:
    assert store_path(tmp_path, "a", "0123456789", "hf-hub:o/n").name == "a-01234567.hf-hub_o_n.zarr"
