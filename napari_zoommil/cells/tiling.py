"""Cells of whole slides and regions: overlapping tiles; a cell belongs to the tile with its centre."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.regions import Region, covered
from napari_zoommil.cells.model import Finds
from napari_zoommil.geometry import Pair
from napari_zoommil.read_ahead import in_order
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.slides.readers.base import RGB

Floats = NDArray[np.float64]

CORE_PX = 768
"""Edge of the core of a tile, in which its cells count; a multiple of the networks' pooling factors."""

TILES_AHEAD = 8

SAMPLES, SAMPLE_PX = 16, 256
"""Number of tiles from which the stains of a slide are estimated, and their edge."""


class Area(Protocol):
    """The area in which cells are detected; level-0 px."""

    def touches(self, origins: Floats, size: Pair) -> NDArray[np.bool_]:
        """(N,) whether boxes at (N, 2) origins overlap the area."""
        ...

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """(M,) whether (M, 2) points (y, x) are in the area."""
        ...

    @property
    def px(self) -> float:
        """Size of the area, level-0 px squared."""
        ...


@dataclass(frozen=True, eq=False)
class Regions:
    """Outlines or polygons with holes, level-0 (y, x), clipped to a slide of ``shape``, level-0 px;
    overlaps count once."""

    polygons: Sequence[Region]
    shape: tuple[int, int]

    @cached_property
    def covered(self) -> shapely.Geometry:
        """The union of the polygons, (y, x); empty if none of them is on the slide."""
        return covered(self.polygons, self.shape)

    def touches(self, origins: Floats, size: Pair) -> NDArray[np.bool_]:
        y, x = origins.T
        low_y, low_x, high_y, high_x = self.covered.bounds
        touched = (y <= high_y) & (y + size[0] >= low_y) & (x <= high_x) & (x + size[1] >= low_x)
        y, x = origins[touched].T  # few of those of a large slide
        touched[touched] = shapely.intersects(self.covered, shapely.box(y, x, y + size[0], x + size[1]))
        return touched

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        return np.asarray(shapely.contains_xy(self.covered, points[:, 0], points[:, 1]), bool)

    @property
    def px(self) -> float:
        return float(self.covered.area)

    def tissue_px(self, tissue: Tissue) -> float:
        """Size of the tissue in the regions, level-0 px squared."""
        if not self.px:
            return 0.0
        step = np.asarray(tissue.downsample)
        bounds = np.array(self.covered.bounds).reshape(2, 2) / step
        low = np.floor(bounds[0]).astype(np.int64)
        high = np.minimum(np.ceil(bounds[1]).astype(np.int64), tissue.mask.shape)
        corners = (np.argwhere(tissue.mask[low[0] : high[0], low[1] : high[1]]) + low) * step
        (y, x), covered = corners.T, self.covered
        shapely.prepare(covered)
        boxes = shapely.box(y, x, y + step[0], x + step[1])
        whole = shapely.contains_properly(covered, boxes)
        edge = boxes[~whole & shapely.intersects(covered, boxes)]
        return float(whole.sum() * step.prod() + shapely.area(shapely.intersection(covered, edge)).sum())


@dataclass(frozen=True, eq=False)
class OnTissue:
    """The tissue of a slide of ``shape``, level-0 px."""

    tissue: Tissue
    shape: tuple[int, int]

    def touches(self, origins: Floats, size: Pair) -> NDArray[np.bool_]:
        return self.tissue.share(origins, size) > 0

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        mask = self.tissue.mask
        cells = (points / self.tissue.downsample).astype(np.int64)
        inside = ((points >= 0) & (points < self.shape)).all(1) & (cells < mask.shape).all(1)
        cells = np.clip(cells, 0, np.array(mask.shape) - 1)
        return np.logical_and(inside, mask[cells[:, 0], cells[:, 1]])

    @property
    def px(self) -> float:
        rows, columns = (
            np.diff(np.minimum(np.arange(count + 1) * step, edge))  # the last one may overhang the slide
            for count, step, edge in zip(
                self.tissue.mask.shape, self.tissue.downsample, self.shape, strict=True
            )
        )
        return float(rows @ self.tissue.mask @ columns)


def tile_corners(
    shape: tuple[int, int], downsample: Pair, area: Area, core: int = CORE_PX
) -> NDArray[np.int64]:
    """(N, 2) corners of the cores that overlap an area; px at the model's resolution."""
    extent = [math.ceil(edge / factor) for edge, factor in zip(shape, downsample, strict=True)]
    counts = [math.ceil(edge / core) for edge in extent]
    corners = np.indices(counts).reshape(2, -1).T * core
    size = core * downsample[0], core * downsample[1]
    return corners[area.touches(corners * np.asarray(downsample), size)]


def read_tiles(
    slide: Slide, corners: NDArray[np.int64], margin: int, mpp: float, batch: int, workers: int | None = None
) -> Generator[tuple[NDArray[np.int64], NDArray[np.uint8]], None, None]:
    """(corners, pixels) of batches of tiles: cores with a margin on all sides, read ahead on threads.

    After the iterator is closed, reading stops within one tile.
    """
    own, size = slide.resolution(), CORE_PX + 2 * margin
    scale = mpp / own[0], mpp / own[1]

    def read(corner: NDArray[np.int64]) -> RGB:
        y, x = (corner - margin).tolist()
        return slide.read(y * scale[0], x * scale[1], size, size, mpp)

    count = workers or min(8, os.cpu_count() or 1)
    with closing(in_order(read, corners, count, TILES_AHEAD, name="tile-reader")) as tiles:
        for start in range(0, len(corners), batch):
            some = corners[start : start + batch]
            yield some, np.stack(list(islice(tiles, len(some))))


def sample_tiles(slide: Slide, tissue: Tissue, mpp: float) -> list[RGB]:
    """Up to :data:`SAMPLES` tiles with tissue, evenly distributed over the tissue of a slide."""
    own = slide.resolution()
    scale = mpp / own[0], mpp / own[1]
    corners = tile_corners(slide.shape, scale, OnTissue(tissue, slide.shape), SAMPLE_PX)
    some = corners[np.linspace(0, len(corners) - 1, min(SAMPLES, len(corners))).round().astype(int)]
    return [slide.read(y * scale[0], x * scale[1], SAMPLE_PX, SAMPLE_PX, mpp) for y, x in some.tolist()]


def in_core(finds: Finds, margin: int) -> Finds:
    """The detections of a tile whose centres are in its core, in px of the core."""
    centres = finds.centres - margin
    moved = finds.chosen(np.flatnonzero(((centres >= 0) & (centres < CORE_PX)).all(1)))
    return Finds(moved.boxes - margin, moved.scores, moved.labels)


def merge_seams(parts: Sequence[Finds], corners: NDArray[np.int64]) -> Finds:
    """All detections of tiles, px at the model's resolution, after suppression between different tiles.

    Rounding can put the centre of a cell near a seam into both tiles, so that it would count twice.
    Overlapping detections of the same tile are different cells.
    """
    placed = [
        Finds(part.boxes + np.tile(corner, 2), part.scores, part.labels)
        for part, corner in zip(parts, corners, strict=True)
    ]
    every = Finds.together(placed)
    if not len(every):
        return every
    tiles = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    reach = (every.boxes[:, 2:] - every.boxes[:, :2]).max()
    to_seam = np.abs(every.centres - np.rint(every.centres / CORE_PX) * CORE_PX).min(1)
    near = to_seam <= reach
    return Finds.together([every.chosen(~near), every.chosen(near).suppressed(tiles[near])])
