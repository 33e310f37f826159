from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.nuclei import (
    annotated,
    nuclei_folder,
    read_tiles,
    split_tiles,
    thinned,
    typical_diameter,
    window_of,
)


def test_tiles_come_with_their_nuclei_by_name(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    assert [tile.name for tile in tiles] == [f"tile{number}" for number in range(6)]
    for tile in tiles:
        assert tile.image.shape == (64, 64, 3) and tile.image.dtype == np.uint8
        assert np.unique(tile.instances).tolist() == list(range(10))
        assert tile.image[tile.instances > 0].mean() < tile.image[tile.instances == 0].mean() - 50


def test_splits_are_whole_tiles_that_share_none(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    for seed in range(5):
        split = split_tiles(tiles, seed)
        names = [tile.name for part in split.values() for tile in part]
        assert sorted(names) == [tile.name for tile in tiles]
        assert [len(part) for part in split.values()] == [4, 1, 1]
    parts = {tuple(tile.name for tile in split_tiles(tiles, seed)["test"]) for seed in range(20)}
    assert len(parts) > 2, "the seed decides"


def test_sixty_twenty_twenty(nuclei: Path) -> None:
    split = split_tiles(read_tiles(nuclei)[:1] * 13)
    assert {name: len(part) for name, part in split.items()} == {"train": 7, "val": 3, "test": 3}


def test_labels_are_nested_within_a_seed_and_differ_between_seeds_and_tiles(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    for tile in tiles:
        kept = [set(annotated(tile, percent, 3).tolist()) for percent in range(10, 101, 10)]
        assert all(small <= large for small, large in pairwise(kept))
        assert [len(one) for one in kept] == [round(9 * percent / 100) for percent in range(10, 101, 10)]
    draws = {tuple(annotated(tile, 30, seed).tolist()) for tile in tiles for seed in range(5)}
    assert len(draws) > 15


def test_a_thinned_tile_forgets_the_rest(nuclei: Path) -> None:
    tile = read_tiles(nuclei)[0]
    kept = annotated(tile, 30, 0)
    sparse = thinned(tile, 30, 0)
    assert np.unique(sparse.instances).tolist() == [0, *kept.tolist()]
    for number in kept:
        assert ((sparse.instances == number) == (tile.instances == number)).all()
    window = window_of(sparse)
    assert set(np.unique(window.dense)) == {0, 1} and len(window.boxes) == len(kept)
    assert not window.complete.any()
    assert 8 < typical_diameter([sparse]) < 12


def test_nothing_annotated_says_so(nuclei: Path) -> None:
    with pytest.raises(CohortError, match="larger share"):
        typical_diameter([thinned(read_tiles(nuclei)[0], 1, 0)])


def test_the_folder_is_named_or_found(nuclei: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nuclei_folder(nuclei) == nuclei
    monkeypatch.setenv("NAPARI_ZOOMMIL_DATA", str(tmp_path))
    with pytest.raises(CohortError, match="not a folder"):
        nuclei_folder()
    (tmp_path / "nuclei" / "monuseg").mkdir(parents=True)
    assert nuclei_folder() == tmp_path / "nuclei" / "monuseg"
    monkeypatch.delenv("NAPARI_ZOOMMIL_DATA")
    with pytest.raises(CohortError, match="--data"):
        nuclei_folder()


def test_bad_tiles_are_named(nuclei: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="three tiles"):
        read_tiles(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(nuclei, folder)
    imsave(folder / "tile2_instances.png", np.zeros((5, 5), np.uint16), check_contrast=False)
    with pytest.raises(CohortError, match=r"tile2_instances\.png is of shape"):
        read_tiles(folder)
    (folder / "tile1.png").unlink()
    with pytest.raises(CohortError, match=r"tile1\.png"):
        read_tiles(folder)
    (folder / "tile0.png").write_bytes(b"no picture")
    with pytest.raises(CohortError, match=r"tile0\.png"):
        read_tiles(folder)


def test_real_tiles(data: Path) -> None:
    tiles = read_tiles(data / "nuclei" / "monuseg")
    assert len(tiles) == 13 and all(tile.instances.shape == (1000, 1000) for tile in tiles)
    assert 4500 < sum(len(np.unique(tile.instances)) - 1 for tile in tiles) < 6000
