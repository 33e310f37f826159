from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags import cache as module
from napari_zoommil.bags.cache import GRIDS, EncoderKey, Recent, open_cache
from napari_zoommil.bags.cache_size import trim
from napari_zoommil.bags.grids import GridKey
from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid, PatchLevel

SLIDE = "f" * 32
ENCODER = EncoderKey("mean-rgb", "e" * 16)
KEY = GridKey((5.0, 10.0), 8, 0.1, (1.0, 1.0), "detector")
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "cache.py"


@pytest.fixture(scope="module")
def grid(make_grid: Callable) -> PatchGrid:
    return make_grid(10, 10, (5.0, 10.0))


@pytest.fixture
def kept(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def add(cache: FeatureCache, level: PatchLevel, features_of: Callable, slide: str = SLIDE) -> Path:
    """Keep features of all patches of a magnification; returns their folder."""
    group = cache.group(slide, ENCODER, level, 8)
    group.append(level.origins, features_of(level.origins))
    return group.folder


def test_two_processes_and_kills_lose_nothing() -> None:
    """Four rounds of the benchmark, which asserts that no writer has loaded torch."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--json", "--rounds", "4", "--seconds", "0.4", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] and all(one["rows"] for one in found["each"][1::2])
    assert found["raw_errors"] == found["wrong"] == found["lost"] == 0


@pytest.mark.parametrize(
    "change", ["slide", "encoder", "hash", "patch size", "scale", "magnification", "view"]
)
def test_features_of_something_else_are_apart(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable, change: str
) -> None:
    level = grid.levels[1]
    add(kept, level, features_of)
    slide, encoder, size, variant = SLIDE, ENCODER, 8, 0
    if change == "slide":
        slide = "0" * 32
    elif change in ("encoder", "hash"):
        encoder = replace(encoder, **{"name" if change == "encoder" else "hash": "0" * 16})
    elif change == "patch size":
        size = 16
    elif change == "scale":
        level = replace(level, size=(9.0, 8.0))
    elif change == "magnification":
        level = replace(level, magnification=20.0)
    else:
        variant = 3
    assert kept.group(SLIDE, ENCODER, grid.levels[1], 8).find(level.origins).known.all()
    assert not kept.group(slide, encoder, level, size, variant).find(level.origins).known.any()


def test_a_bag_is_a_view(kept: FeatureCache, grid: PatchGrid, features_of: Callable) -> None:
    """Of other patches at the same magnification, those that are the same are known."""
    level = grid.levels[1]
    some = level.chosen(np.arange(0, 400, 3), np.full(134, -1))
    add(kept, some, features_of)
    found = kept.group(SLIDE, ENCODER, level, 8).find(level.origins)
    np.testing.assert_array_equal(np.flatnonzero(found.known), np.arange(0, 400, 3))
    halved = replace(level, stride=(4.0, 4.0), origins=level.origins + np.array((0.0, 4.0)))
    assert not kept.group(SLIDE, ENCODER, halved, 8).find(halved.origins).known.any()
    add(kept, halved, features_of)
    group = kept.group(SLIDE, ENCODER, level, 8)
    np.testing.assert_array_equal(
        group.find(halved.origins).read(np.arange(400)), features_of(halved.origins)
    )
    assert group.find(level.origins).known.sum() == 134


def test_no_name_of_a_slide_or_folder_is_written(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable
) -> None:
    encoder = EncoderKey("/home/dr-smith/patient-7/encoder.pt", "e" * 16)
    level = grid.levels[0]
    group = kept.group(SLIDE, encoder, level, 8)
    group.append(level.origins, features_of(level.origins))
    kept.keep_grid(SLIDE, KEY, grid)
    written = [str(path.relative_to(kept.folder)) for path in kept.folder.rglob("*")]
    written += [path.read_text() for path in kept.folder.rglob("zarr.json")]
    assert not [text for text in written if "smith" in text or "patient" in text]
    assert kept.hashes(SLIDE, encoder.name) == ("e" * 16,)
    assert kept.hashes(SLIDE, "pt") == kept.hashes("0" * 32, encoder.name) == ()


def test_patches_are_kept_by_what_decides_them(kept: FeatureCache, grid: PatchGrid) -> None:
    kept.keep_grid(SLIDE, KEY, grid)
    found = kept.grid(SLIDE, KEY)
    assert found is not None and found.magnifications == grid.magnifications
    assert kept.grid(SLIDE, replace(KEY, min_tissue=0.5)) is None and kept.grid("0" * 32, KEY) is None


def test_damage_is_remembered(kept: FeatureCache, grid: PatchGrid) -> None:
    assert kept.damaged(SLIDE, 3) == 3, "of a slide that nothing is kept of"
    kept.keep_grid(SLIDE, KEY, grid)
    assert [kept.damaged(SLIDE, seen) for seen in (0, 3, 1, 7, 0)] == [0, 3, 3, 7, 7]
    assert kept.damaged("0" * 32) == 0


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, grid: PatchGrid, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / ("" if place == "file" else "features")
    cache = FeatureCache(folder)
    with pytest.raises(StoreError, match=r"features cannot be stored in .*file.*name another --store"):
        cache.check_writable()
    cache.keep_grid(SLIDE, KEY, grid)
    assert cache.grid(SLIDE, KEY) is None and cache.damaged(SLIDE, 2) == 2
    level = grid.levels[0]
    assert not cache.group(SLIDE, ENCODER, level, 8).find(level.origins).known.any()


def made_later(folder: Path) -> bytes:
    """Let a group be one of the next format; returns what then describes it."""
    path = folder / "zarr.json"
    content = json.loads(path.read_text())
    assert content["attributes"]["format"] == module.FORMAT
    content["attributes"]["format"] += 1
    path.write_text(json.dumps(content))
    return path.read_bytes()


def test_a_later_format_in_a_named_folder_is_refused(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable
) -> None:
    made_later(add(kept, grid.levels[1], features_of))
    kept.keep_grid(SLIDE, KEY, grid)
    refused = r"features in .*features cannot be used \(.*format 3\); update the package, or name another"
    with pytest.raises(StoreError, match=refused):
        kept.group(SLIDE, ENCODER, grid.levels[1], 8)
    with pytest.raises(StoreError, match=refused):
        kept.grid(SLIDE, KEY)
    assert kept.grid("0" * 32, KEY) is None
    assert not kept.group(SLIDE, ENCODER, grid.levels[0], 8).find(grid.levels[0].origins).known.any()


def test_a_later_format_in_the_users_own_cache_is_left_alone(grid: PatchGrid, features_of: Callable) -> None:
    own, level = open_cache(None), grid.levels[0]
    folder = add(own, level, features_of)
    described, files = made_later(folder), sorted(folder.rglob("*"))
    group = own.group(SLIDE, ENCODER, level, 8)
    assert not group.find(level.origins).known.any()
    with pytest.raises(OSError, match=f"a later version of napari-zoommil made {folder.name}, in format 3"):
        group.append(level.origins, features_of(level.origins))
    assert sorted(folder.rglob("*")) == files and (folder / "zarr.json").read_bytes() == described
    own.keep_grid(SLIDE, KEY, grid)
    assert own.grid(SLIDE, KEY) is not None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"attributes": 1}', '{"attributes": {"format": "9"}}'])
def test_a_group_that_does_not_tell_its_format_is_this_versions(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable, content: str
) -> None:
    level = grid.levels[0]
    (add(kept, level, features_of) / "zarr.json").write_text(content)
    assert kept.group(SLIDE, ENCODER, level, 8).find(level.origins).known.all()


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    FeatureCache(tmp_path / "new" / "features").check_writable()
    assert list((tmp_path / "new" / "features").iterdir()) == []


def test_the_users_own_cache_is_exact_and_bounded(cache: Path, tmp_path: Path) -> None:
    own, named = open_cache(None), open_cache(tmp_path)
    assert (own.folder, own.dtype, own.most_bytes) == (cache, "float32", module.USER_BYTES)
    assert (named.folder, named.dtype, named.most_bytes) == (tmp_path, "float16", None)


def test_what_was_used_least_recently_goes(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable
) -> None:
    slides = [letter * 32 for letter in "abc"]
    folders = []
    for age, slide in enumerate(slides):
        folders += [add(kept, level, features_of, slide) for level in grid.levels]
        kept.keep_grid(slide, KEY, grid)
        for folder in (*folders[-2:], kept.folder / slide / GRIDS / KEY.name):
            os.utime(folder, (1000.0 * (3 - age),) * 2)
    (kept.folder / "0123.npz").write_bytes(b"0" * 5000)  # of an older version
    os.utime(kept.folder / "0123.npz", (500.0, 500.0))
    size = sum(file.stat().st_size for file in kept.folder.rglob("*") if file.is_file())
    trim(kept.folder, size)
    assert (kept.folder / "0123.npz").exists() and all(folder.exists() for folder in folders)
    own = FeatureCache(kept.folder, most_bytes=size)
    own.group(slides[2], ENCODER, grid.levels[0], 8)  # used now
    trim(kept.folder, size // 2)
    assert not (kept.folder / "0123.npz").exists() and not (kept.folder / slides[2] / GRIDS).exists()
    assert [folders[number].exists() for number in (0, 1, 4, 5)] == [True, True, True, False]
    assert sum(file.stat().st_size for file in kept.folder.rglob("*") if file.is_file()) <= size // 2
    trim(kept.folder, 0)
    assert list(kept.folder.iterdir()) == []


def test_a_cache_is_trimmed_as_it_is_written(
    tmp_path: Path, grid: PatchGrid, features_of: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIM_BYTES", 1000)
    small, unbounded = FeatureCache(tmp_path / "a", most_bytes=0), FeatureCache(tmp_path / "b")
    for cache in (small, unbounded):
        add(cache, grid.levels[0], features_of)
        cache.wrote(10)
    assert not list(small.folder.iterdir()) and list(unbounded.folder.iterdir())
    add(small, grid.levels[0], features_of)
    small.wrote(900)
    assert list(small.folder.iterdir())
    small.wrote(100)
    assert not list(small.folder.iterdir())


def test_what_goes_while_it_is_read_counts_as_not_there(
    kept: FeatureCache, grid: PatchGrid, features_of: Callable
) -> None:
    level = grid.levels[1]
    add(kept, level, features_of)
    group = kept.group(SLIDE, ENCODER, level, 8)
    found = group.find(level.origins)
    trim(kept.folder, 0)
    assert np.isnan(found.read(np.arange(400))).all()
    group.append(level.origins, features_of(level.origins))
    np.testing.assert_array_equal(group.find(level.origins).read(np.arange(400)), features_of(level.origins))


def test_what_was_read_last_is_remembered_up_to_a_number_of_bytes() -> None:
    recent, read = Recent(10_000), []

    def get(key: int, size: int = 1000) -> np.ndarray:
        return recent.get(key, lambda: (read.append(key), np.full(size, key, np.uint8))[1])

    for key in (*range(12), 11, 5, 0):
        assert (get(key) == key).all()
    assert read == [*range(12), 0] and recent.nbytes == 10_000
    get(99, 20_000)
    assert recent.nbytes == 10_000, "what is larger than all that may be remembered is not"


def test_another_process_remembers_what_it_reads_itself(kept: FeatureCache) -> None:
    kept.recent = Recent(10_000)
    kept.recent.get("row", lambda: np.zeros(1000, np.uint8))
    sent = pickle.loads(pickle.dumps(kept))
    assert (sent.folder, sent.dtype, sent.recent.nbytes) == (kept.folder, kept.dtype, 0)
    for key in range(20):
        sent.recent.get(key, lambda: np.zeros(1000, np.uint8))
    assert sent.recent.nbytes == 10_000 and kept.recent.nbytes == 1000
