from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.bags.grids import ARRAYS, GridKey, read_grid, write_grid
from napari_zoommil.geometry import PatchGrid

KEY = GridKey((5.0, 10.0), 256, 0.1, (0.25, 0.25), "detector")


@pytest.fixture(scope="module")
def grid(make_grid: Callable) -> PatchGrid:
    """Two magnifications; the patches of one overlap and have an offset."""
    grid = make_grid(7, 9, (5.0, 10.0), 0.7)
    low, high = grid.levels
    return replace(grid, levels=(replace(low, size=(20.5, 21.5), origins=low.origins + 0.3), high))


def test_a_grid_comes_back_whole(grid: PatchGrid, tmp_path: Path) -> None:
    for _ in range(2):
        write_grid(tmp_path / "grids" / "one", grid)
        read = read_grid(tmp_path / "grids" / "one")
        assert read is not None and (read.shape, read.patch_size) == (grid.shape, grid.patch_size)
        for one, other in zip(read.levels, grid.levels, strict=True):
            for name in ("magnification", "mpp", "size", "stride"):
                assert getattr(one, name) == getattr(other, name)
            for name in (*ARRAYS, "lattice"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
                assert getattr(one, name).dtype == getattr(other, name).dtype
        assert os.listdir(tmp_path / "grids") == ["one"]


@pytest.mark.parametrize("damage", ["absent", "empty", "file", "attributes", "array"])
def test_a_damaged_grid_is_none_and_can_be_replaced(grid: PatchGrid, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "grid"
    write_grid(path, grid)
    if damage == "array":
        shutil.rmtree(path / "10x" / "parent")
    elif damage == "attributes":
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    else:
        shutil.rmtree(path)
        if damage == "empty":
            path.mkdir()
        elif damage == "file":
            path.write_text("grid")
    assert read_grid(path) is None
    write_grid(path, grid)
    assert read_grid(path) is not None


def test_each_fact_makes_another_key() -> None:
    others = [
        replace(KEY, magnifications=(10.0,)),
        replace(KEY, patch_size=128),
        replace(KEY, min_tissue=0.5),
        replace(KEY, mpp=(0.25, 0.26)),
        replace(KEY, detector="another"),
    ]
    assert len({key.name for key in (KEY, *others)}) == 6
    assert KEY.name == replace(KEY).name


def test_the_overlap_of_patches_is_part_of_the_key() -> None:
    assert len({replace(KEY, overlap=overlap).name for overlap in (0, 64, 128)}) == 3
    assert KEY.name == replace(KEY, overlap=0).name
