from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.bags import reading
from napari_zoommil.bags.reading import BATCHES_AHEAD, default_workers, read_batches
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch


@pytest.fixture
def slide(make_slide: Callable, tmp_path: Path) -> Iterator[Slide]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as opened:
        yield opened


@pytest.fixture
def grid(slide: Slide) -> PatchGrid:
    return patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)


def readers() -> int:
    return sum(thread.name.startswith("patch-reader") for thread in threading.enumerate())


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_patch_comes_once_in_order(
    slide: Slide, grid: PatchGrid, batch_size: int, workers: int
) -> None:
    rows = np.random.default_rng(0).permutation(len(grid.levels[1]))[:40]
    batches = list(read_batches(slide, grid, 1, rows, batch_size, workers))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in batches]), rows)
    assert all(len(part) == len(patches) <= batch_size for part, patches in batches)
    pixels = np.concatenate([patches for _, patches in batches])
    for row, patch in zip(rows, pixels, strict=True):
        np.testing.assert_array_equal(patch, read_patch(slide, grid, 1, row))


def test_no_rows_no_batches(slide: Slide, grid: PatchGrid) -> None:
    assert list(read_batches(slide, grid, 0, np.empty(0, np.int64))) == []


def test_closing_stops_reading_within_a_batch(
    slide: Slide, grid: PatchGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def slow(slide: Slide, grid: PatchGrid, level: int, row: int) -> np.ndarray:
        read.append(row)
        time.sleep(0.002)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(reading, "read_patch", slow)
    rows = np.arange(len(grid.levels[1]))
    batches = read_batches(slide, grid, 1, rows, 4, 2)
    next(batches)
    assert readers()
    at_close = len(read)
    batches.close()
    assert not readers()
    assert len(read) <= at_close + 4 and at_close <= 4 * (BATCHES_AHEAD + 2)
    assert len(read) < len(rows)


def test_a_failure_to_read_is_raised_and_ends_the_threads(
    slide: Slide, grid: PatchGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(reading, "read_patch", broken)
    with pytest.raises(OSError, match="gone"):
        list(read_batches(slide, grid, 1, np.arange(9), 4, 2))
    assert not readers()


def test_workers_are_the_cores_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 1), (4, 4), (64, 8), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_workers() == expected
