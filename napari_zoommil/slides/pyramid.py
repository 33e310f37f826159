"""The slide as napari likes it: one lazy dask array per level over one thin level object.

Chunks are 512 px whatever the file's tiles are; names are deterministic, so that dask's cache
survives reopening. Where the file's coarsest level is still large, virtual levels follow it:
napari keeps the coarsest level in memory and would otherwise read it whole.
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
"""Largest edge the coarsest level may have."""

AVERAGED_PX = 1 << 27
"""Pixels of a stored level that virtual levels may average over where each must be decoded in full;
beyond, they sample it."""

SAMPLE_EDGE = 64
"""Edge of a sample, px of the stored level."""

SAMPLED_CELL = 42
"""Edge of the cell that one sample stands for, px of the virtual level; less where decoding is cheap."""


class Source(Protocol):
    """What a pyramid is read from, such as a :class:`~napari_zoommil.slides.slide.Slide`."""

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
    """Array-like (height, width, 3) uint8 whose pixels are read when they are indexed."""

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
    """Levels at successive halves after the coarsest stored one, until one fits in memory."""
    last, found = levels[-1], []
    while max(last.shape) > COARSEST_PX:
        height, width = (-(-edge // 2) for edge in last.shape)
        last = Level((height, width), (last.downsample[0] * 2, last.downsample[1] * 2))
        found.append(last)
    return tuple(found)


def build_pyramid(slide: Source) -> list[da.Array]:
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


def _reader_ahead(slide: Source) -> Callable[..., object]:
    """Reads a slide for as long as somebody else keeps it: the thread that reads ahead does not."""
    held = ref(slide)

    def read(*window: int) -> None:
        still = held()
        if still is not None:
            still.read_level(*window)

    return read


def _read_and_look_ahead(slide: Source, ahead: Prefetcher, level: int, *window: int) -> RGB:
    """Chunks are kept as they are put together: a moving view asks for most of its own again."""
    with ahead:
        key = ref(slide), slide.fingerprint, level, window
        pixels = TILES.get(key, lambda: slide.read_level(level, *window))
    ahead.viewed(level, *window)
    return pixels


def _virtual_reader(slide: Source, level: Level, factor: int) -> ReadWindow:
    """The mean of the pixels of the coarsest stored level, or samples of them where that takes long."""
    base = len(slide.levels) - 1
    height, width = slide.levels[base].shape
    if height * width <= AVERAGED_PX * slide.shrinks[-1] or factor <= 4:
        return partial(_averaged, slide, level.downsample)
    return partial(_sampled, slide, base, factor)


def _averaged(slide: Source, downsample: Pair, y: int, x: int, height: int, width: int) -> RGB:
    return slide.read_downsampled(y * downsample[0], x * downsample[1], height, width, downsample)


def _sampled(slide: Source, base: int, factor: int, y: int, x: int, height: int, width: int) -> RGB:
    """One small window per cell of a lattice stands for the cell: a giant without a pyramid must
    show an overview in seconds, and decoding all of it takes longer."""
    shrink = slide.shrinks[-1]
    cell = max(1, int(SAMPLED_CELL / shrink**0.5), 256 // factor)
    rows = range(y // cell, -(-(y + height) // cell))
    columns = range(x // cell, -(-(x + width) // cell))
    edge = min(SAMPLE_EDGE, cell * factor) // shrink * shrink
    offset = (cell * factor - edge) // 2
    # The last cells overhang; places are multiples of the shrink, which is decoded at no loss.
    far_y, far_x = (max(extent - edge, 0) for extent in slide.levels[base].shape)
    tops = [min(row * cell * factor + offset, far_y) // shrink * shrink for row in rows]
    lefts = [min(column * cell * factor + offset, far_x) // shrink * shrink for column in columns]
    coarse = np.array([[_mean_colour(slide, base, top, left, edge) for left in lefts] for top in tops])
    spread = coarse.astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    y, x = y - rows[0] * cell, x - columns[0] * cell
    return np.ascontiguousarray(spread[y : y + height, x : x + width])


def _mean_colour(slide: Source, level: int, y: int, x: int, edge: int) -> NDArray[np.float64]:
    factor, shrink = slide.levels[level].downsample, slide.shrinks[-1]
    size = edge // shrink
    scaled = factor[0] * shrink, factor[1] * shrink
    return slide.read_downsampled(y * factor[0], x * factor[1], size, size, scaled).reshape(-1, 3).mean(0)
