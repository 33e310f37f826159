"""The slide as a multiscale image for napari: one lazy dask array per level.

Chunks are 512 px for every tile size; names are deterministic, so dask's cache stays valid when a
slide is opened again. If the coarsest stored level is still large, virtual levels follow it: napari
holds the coarsest level in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol
from weakref import ref

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.prefetch import Prefetcher
from napari_zoommil.slides.readers.base import RGB, Level
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.slides.resample import ReadWindow

CHUNK = 512
COARSEST_PX = 2_000
"""Largest edge of the coarsest level, px."""

AVERAGED_PX = 1 << 27
"""Most pixels of a stored level without cheap decoding that virtual levels average over; larger levels
are sampled."""

SAMPLE_EDGE = 64
"""Edge of a sample, px of the stored level."""

SAMPLED_SQUARE = 42
"""Edge of the square that one sample represents, px of the virtual level; less if decoding is cheap."""


class PixelSource(Protocol):
    """The source of a pyramid's pixels, such as a :class:`~napari_zoommil.slides.slide.Slide`."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def shrinks(self) -> tuple[int, ...]: ...

    def read_level(self, level: int, y: int, x: int, height: int, width: int) -> RGB: ...

    def read_downsampled(self, y: float, x: float, height: int, width: int, downsample: Pair) -> RGB: ...


@dataclass(frozen=True)
class LevelArray:
    """Array-like (height, width, 3) uint8 whose pixels are read on indexing."""

    shape: tuple[int, int, int]
    read: Callable[[int, int, int, int], RGB]
    dtype: ClassVar = np.dtype(np.uint8)
    ndim: ClassVar = 3

    def __getitem__(self, index: tuple[slice, ...]) -> RGB:
        y, y1, dy = index[0].indices(self.shape[0])
        x, x1, dx = index[1].indices(self.shape[1])
        pixels = self.read(y, x, y1 - y, x1 - x)
        return pixels[(slice(None, None, dy), slice(None, None, dx), *index[2:])]


def virtual_levels(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Levels that halve the coarsest stored one again and again, until the edge is small enough."""
    last, found = levels[-1], []
    while max(last.shape) > COARSEST_PX:
        height, width = (-(-edge // 2) for edge in last.shape)
        last = Level((height, width), (last.downsample[0] * 2, last.downsample[1] * 2))
        found.append(last)
    return tuple(found)


def build_pyramid(slide: PixelSource) -> list[da.Array]:
    """Dask arrays (height, width, 3) uint8, finest first, stored levels and then virtual ones."""
    ahead = Prefetcher(_reader_ahead(slide), [level.shape for level in slide.levels], CHUNK)
    levels: list[tuple[tuple[int, int], ReadWindow]] = [
        (level.shape, partial(_read_and_look_ahead, slide, ahead, index))
        for index, level in enumerate(slide.levels)
    ]
    levels += [
        (level.shape, _virtual_reader(slide, level, 2**step))
        for step, level in enumerate(virtual_levels(slide.levels), 1)
    ]
    return [
        da.from_array(
            LevelArray((*shape, 3), read),
            chunks=(CHUNK, CHUNK, 3),
            name=f"slide-{slide.fingerprint}-{index}",
            asarray=False,
            fancy=False,
            lock=False,
            meta=np.empty((0, 0, 0), np.uint8),
        )
        for index, (shape, read) in enumerate(levels)
    ]


def _reader_ahead(slide: PixelSource) -> Callable[..., object]:
    """A read function with a weak reference to the slide: the prefetch thread must not keep it open."""
    held = ref(slide)

    def read(*window: int) -> None:
        still = held()
        if still is not None:
            still.read_level(*window)

    return read


def _read_and_look_ahead(slide: PixelSource, ahead: Prefetcher, level: int, *window: int) -> RGB:
    """Read a chunk and cache it whole: a moving view requests most of its chunks again."""
    with ahead:
        key = ref(slide), slide.fingerprint, level, window
        pixels = TILES.get(key, lambda: slide.read_level(level, *window))
    ahead.viewed(level, *window)
    return pixels


def _virtual_reader(slide: PixelSource, level: Level, factor: int) -> ReadWindow:
    """A reader that averages the coarsest stored level, or samples it if averaging would take long."""
    base = len(slide.levels) - 1
    height, width = slide.levels[base].shape
    if height * width <= AVERAGED_PX * slide.shrinks[-1] or factor <= 4:
        return partial(_averaged, slide, level.downsample)
    return partial(_sampled, slide, base, factor)


def _averaged(slide: PixelSource, downsample: Pair, y: int, x: int, height: int, width: int) -> RGB:
    return slide.read_downsampled(y * downsample[0], x * downsample[1], height, width, downsample)


def _sampled(slide: PixelSource, base: int, factor: int, y: int, x: int, height: int, width: int) -> RGB:
    """One small window per square of a lattice gives the colour of the square: a very large level must
    give an overview in seconds, and decoding all of it takes longer."""
    shrink = slide.shrinks[-1]
    square = max(1, int(SAMPLED_SQUARE / shrink**0.5), 256 // factor)
    rows = range(y // square, -(-(y + height) // square))
    columns = range(x // square, -(-(x + width) // square))
    edge = min(SAMPLE_EDGE, square * factor) // shrink * shrink
    offset = (square * factor - edge) // 2
    # The last squares overhang; positions are multiples of the shrink, so decoding is exact.
    far_y, far_x = (max(extent - edge, 0) for extent in slide.levels[base].shape)
    tops = [min(row * square * factor + offset, far_y) // shrink * shrink for row in rows]
    lefts = [min(column * square * factor + offset, far_x) // shrink * shrink for column in columns]
    coarse = np.array([[_mean_colour(slide, base, top, left, edge) for left in lefts] for top in tops])
    spread = coarse.astype(np.uint8).repeat(square, 0).repeat(square, 1)
    y, x = y - rows[0] * square, x - columns[0] * square
    return np.ascontiguousarray(spread[y : y + height, x : x + width])


def _mean_colour(slide: PixelSource, level: int, y: int, x: int, edge: int) -> NDArray[np.float64]:
    factor, shrink = slide.levels[level].downsample, slide.shrinks[-1]
    size = edge // shrink
    scaled = factor[0] * shrink, factor[1] * shrink
    return slide.read_downsampled(y * factor[0], x * factor[1], size, size, scaled).reshape(-1, 3).mean(0)
