from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags.cache import EncoderKey
from napari_zoommil.geometry import PatchGrid, magnification_name

SLIDE, ENCODER = "0123456789abcdef" * 2, EncoderKey("hf-hub:o/n", "e" * 16)


@pytest.fixture(scope="module")
def grid(make_grid: Callable) -> PatchGrid:
    return make_grid(10, 10, (5.0, 10.0))


@pytest.fixture
def cache(tmp_path: Path, grid: PatchGrid, features_of: Callable) -> FeatureCache:
    """A folder as the first format wrote it, cut off after one of two chunks of 10x."""
    group = zarr.open_group(tmp_path / "a-01234567.hf-hub_o_n.zarr", mode="w")
    about = {"slide": "a.svs", "fingerprint": SLIDE, "encoder": ENCODER.name, "encoder_hash": ENCODER.hash}
    group.attrs.update({**about, "format": 1, "dim": 5, "shape": list(grid.shape), "patch_size": 8})
    for level, done in zip(grid.levels, ([1], [1, 0]), strict=True):
        part = group.create_group(magnification_name(level.magnification))
        part.attrs.update(
            {"magnification": level.magnification, "mpp": level.mpp, "stride": list(level.stride)}
        )
        for name, data in (("cells", level.lattice), ("parent", level.parent), ("tissue", level.tissue)):
            part.create_array(name, data=data)
        part.create_array("coords", data=level.origins)
        part.create_array("features", data=features_of(level.origins).astype(np.float16), chunks=(100, 5))
        part.create_array("done", data=np.array(done, np.uint8))
    return FeatureCache(tmp_path)


def test_a_store_of_the_first_format_is_read(
    cache: FeatureCache, grid: PatchGrid, features_of: Callable
) -> None:
    for level, known in zip(grid.levels, (100, 256), strict=True):
        group = cache.group(SLIDE, ENCODER, level, 8)
        found = group.find(level.origins)
        np.testing.assert_array_equal(np.flatnonzero(found.known), np.arange(known))
        rows = np.arange(known)
        np.testing.assert_array_equal(found.read(rows), features_of(level.origins)[:known])
        group.append(level.origins[known:], features_of(level.origins[known:]))
        both = cache.group(SLIDE, ENCODER, level, 8).find(level.origins)
        np.testing.assert_array_equal(both.read(np.arange(len(level))), features_of(level.origins))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("fingerprint", None),
        ("patch_size", None),
        ("stride", None),
        ("encoder_hash", "which hashed such files in another way"),
        ("format", "format is unknown to this version"),
        ("array", "they are damaged"),
    ],
)
def test_one_of_something_else_or_damaged_is_left_alone(
    cache: FeatureCache, grid: PatchGrid, change: str, reason: str | None
) -> None:
    (path,) = cache.folder.glob("*.zarr")
    group = zarr.open_group(path, mode="r+")
    if change == "stride":
        group["10x"].attrs["stride"] = [8.0, 9.0]
    elif change == "array":
        del group["10x"]["coords"]  # type: ignore[union-attr]
    else:
        group.attrs[change] = 99
    before = sorted(path.rglob("*"))
    level = grid.levels[1]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not cache.group(SLIDE, ENCODER, level, 8).find(level.origins).known.any()
    if reason is None:
        assert not told
    else:
        (one,) = told
        assert reason in str(one.message) and str(path) in str(one.message)
    assert sorted(path.rglob("*")) == before
