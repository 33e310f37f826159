"""The lazy pyramid a viewer draws from."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from pathlib import Path
from weakref import ref

import numpy as np
import pytest
import tifffile

from napari_zoommil.slides.pyramid import CHUNK, COARSEST_PX, build_pyramid, virtual_levels
from napari_zoommil.slides.readers.base import RGB, Level
from napari_zoommil.slides.readers.tiles import CACHE_BYTES, TILES
from napari_zoommil.slides.slide import Slide

MEGABYTE = 1 << 20


def test_the_levels_of_a_real_slide(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        levels = slide.pyramid()
        assert [level.shape for level in levels] == [(2967, 2220, 3), (1484, 1110, 3)]
        assert all(level.dtype == np.uint8 for level in levels)
        assert levels[0].chunks[0] == (512,) * 5 + (407,) and levels[0].chunks[2] == (3,)
        assert np.array_equal(
            levels[0][500:1100, 400:1300].compute(), slide.read_level(0, 500, 400, 600, 900)
        )


def test_a_chunk_in_view_is_put_together_once(cmu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, windows = Slide.read_level, []

    def noted(slide: Slide, *window: int) -> RGB:
        windows.append(window)
        return read(slide, *window)

    TILES.clear()
    with Slide.open(cmu) as slide:
        finest = slide.pyramid()[0]
        monkeypatch.setattr(Slide, "read_level", noted)
        first, again = (finest[512:1024, :512].compute() for _ in range(2))
    assert np.array_equal(first, again) and windows.count((0, 512, 0, 512, 512)) == 1


def test_memory_is_given_back_by_flat_slides_that_are_opened_and_closed(tmp_path: Path) -> None:
    """Each is one strip, and more than the cache may hold."""
    image = np.full((4800, 4800, 3), 200, np.uint8)
    paths = [tmp_path / f"{number}.tif" for number in range(10)]
    for path in paths:
        tifffile.imwrite(path, image, rowsperstrip=4800, compression="zlib", photometric="rgb")
    size = image.nbytes
    del image
    assert size > CACHE_BYTES
    TILES.clear()
    tracemalloc.start()
    try:
        before = None
        for path in paths:
            with Slide.open(path) as slide:
                slide.pyramid()[0][:1000, :1000].compute()
                if before is not None:
                    now = tracemalloc.get_traced_memory()[0] - before
                    assert now <= CACHE_BYTES + size, f"{now / MEGABYTE:.0f} MB with {path.name} open"
            gc.collect()
            if before is None:  # what is imported on the way stays
                before = tracemalloc.get_traced_memory()[0]
            now = tracemalloc.get_traced_memory()[0] - before
            assert now <= 4 * MEGABYTE, f"{now / MEGABYTE:.0f} MB after {path.name} was closed"
    finally:
        tracemalloc.stop()
    assert TILES.nbytes == 0


def test_chunks_leave_the_cache_with_their_own_slide(cmu: Path) -> None:
    TILES.clear()
    first, second = Slide.open(cmu), Slide.open(cmu)
    for slide in (first, second):
        slide.pyramid()[0][:1000, :1000].compute()
    both = TILES.nbytes
    first.close()
    assert 0 < TILES.nbytes < both
    second.close()
    assert TILES.nbytes == 0


def test_reading_ahead_does_not_keep_a_slide(cmu: Path) -> None:
    slide = Slide.open(cmu)
    slide.pyramid()[0][1000:1100, 1000:1100].compute()
    assert any(thread.name == "slide-prefetch" for thread in threading.enumerate())
    held = ref(slide)
    slide.close()
    del slide
    gc.collect()
    assert held() is None


def test_names_tell_slides_apart_and_are_the_same_after_reopening(tiff) -> None:
    rng = np.random.default_rng(0)
    paths = [tiff(f"{i}.tif", rng.integers(0, 256, (256, 256, 3), np.uint8)) for i in range(2)]
    names = []
    for path in (*paths, paths[0]):
        with Slide.open(path) as slide:
            names.append([level.name for level in slide.pyramid()])
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(
    "index",
    [
        np.s_[:, :],
        np.s_[100:700, 3:9],
        np.s_[::2, ::3],
        np.s_[5:600:7, 700:20:-5],
        np.s_[5],
        np.s_[:, 9, 1],
        np.s_[-20:, -20:, :2],
        np.s_[[3, 600, 20], 5:9],
    ],
)
def test_it_slices_like_the_image(array_slide, index) -> None:
    image = np.random.default_rng(0).integers(0, 256, (700, 801, 3), np.uint8)
    assert np.array_equal(array_slide(image).pyramid()[0][index].compute(), image[index])


def test_nothing_is_read_until_it_is_looked_at_and_then_only_the_chunks_in_view(array_slide) -> None:
    slide = array_slide(np.zeros((2100, 2050, 3), np.uint8))
    levels = slide.pyramid()
    assert slide._reader.reads == []
    levels[0][600:700, 600:1100].compute()
    assert sorted(slide._reader.reads) == [(0, 512, 512, 512, 512), (0, 512, 1024, 512, 512)]


@pytest.mark.parametrize("shape", [(3001, 5), (4097, 2001), (2001, 9999), (100_000, 80_000), (2000, 2000)])
def test_virtual_levels_halve_until_one_fits(shape: tuple[int, int]) -> None:
    stored = Level(shape, (4.0, 4.1))
    found = virtual_levels((stored,))
    assert max((stored, *found)[-1].shape) <= COARSEST_PX
    assert all(max(level.shape) > COARSEST_PX for level in (stored, *found)[:-1])
    for step, level in enumerate(found, 1):
        assert level.shape == tuple(-(-edge // 2**step) for edge in shape)
        assert level.downsample == (4.0 * 2**step, 4.1 * 2**step)


def test_virtual_levels_are_block_means_of_the_stored_one(array_slide) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2563, 4101, 3), np.uint8)
    levels = array_slide(image).pyramid()
    assert [level.shape for level in levels[1:]] == [(1282, 2051, 3), (641, 1026, 3)]
    for level, factor in zip(levels[1:], (2, 4), strict=True):
        height, width = 2563 // factor, 4101 // factor
        blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
        assert np.abs(level.compute()[:height, :width] - blocks.mean((1, 3))).max() < 0.6


class Giant:
    """A reader of 59,300 × 59,300 px whose colour tells the place, and which counts what is read."""

    vendor = "giant"
    objective = None
    properties: dict[str, str] = {}  # noqa: RUF012
    background = (0, 0, 255)
    associated = ()
    shrinks = (1,)
    icc = None
    damaged = 0
    mpp = (0.25, 0.25)
    edge = 59_300  # so that the middle of the last sampled cell lies beyond it

    def __init__(self) -> None:
        self.levels = (Level((self.edge, self.edge), (1.0, 1.0)),)
        self.reads: list[int] = []

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        self.reads.append(height * width)
        window = np.zeros((height, width, 3), np.uint8)
        window[..., 0] = (np.arange(y, y + height)[:, None] / self.edge * 256).astype(np.uint8)
        window[..., 1] = (np.arange(x, x + width) / self.edge * 256).astype(np.uint8)
        return window

    def close(self) -> None: ...


@pytest.fixture
def giant(tmp_path: Path) -> Slide:
    path = tmp_path / "giant.tif"
    path.write_bytes(b"giant")
    return Slide(path, Giant(), None)


def place(level: np.ndarray, factor: int, y: int, x: int) -> np.ndarray:
    """Red and green that a part of a level ought to have."""
    rows = (np.arange(y, y + level.shape[0]) + 0.5) * factor / Giant.edge * 256
    columns = (np.arange(x, x + level.shape[1]) + 0.5) * factor / Giant.edge * 256
    return np.stack(np.broadcast_arrays(rows[:, None], columns), -1)


def test_a_giant_without_a_pyramid_shows_an_overview_from_a_fraction_of_its_pixels(giant: Slide) -> None:
    levels = build_pyramid(giant)
    reads = giant._reader.reads
    assert reads == []
    overview = levels[-1].compute()
    assert overview.shape == (1854, 1854, 3)
    assert sum(reads) < 0.01 * Giant.edge**2
    assert max(reads) * 3 <= 8 * MEGABYTE
    assert not overview[..., 2].any(), "background at the edges of a slide that has none"
    cell = 42 * 32 / Giant.edge * 256
    error = overview[..., :2] - place(overview, 32, 0, 0)
    assert np.abs(error).max() <= cell / 2 + 3
    assert abs(error.mean()) < 1


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_any_chunk_of_a_giants_virtual_levels_is_bounded_and_in_place(giant: Slide, index: int) -> None:
    levels = build_pyramid(giant)
    factor = 2**index
    for y, x in ((CHUNK, 2 * CHUNK), (0, levels[index].shape[1] // CHUNK * CHUNK)):
        giant._reader.reads.clear()
        chunk = levels[index][y : y + CHUNK, x : x + CHUNK].compute()
        assert max(giant._reader.reads) * 3 <= 13 * MEGABYTE
        assert sum(giant._reader.reads) <= (4 * CHUNK) ** 2
        assert (
            np.abs(chunk[..., :2] - place(chunk, factor, y, x)).max()
            <= 42 * factor / Giant.edge * 256 / 2 + 3
        )


def test_chunks_of_a_sampled_level_fit_together(giant: Slide) -> None:
    level = build_pyramid(giant)[4]
    whole = level[: 2 * CHUNK, : 2 * CHUNK].compute()
    assert np.array_equal(level[300:700, 400:900].compute(), whole[300:700, 400:900])
    seam = np.abs(np.diff(whole[..., 0].astype(int), axis=0)).max(1)
    assert seam.max() <= 42 * 16 / Giant.edge * 256 + 2
