"""Where the tissue of a slide is, and the nested patches that cover it."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.errors import NoTissueError
from napari_zoommil.geometry import (
    Pair,
    PatchGrid,
    PatchLevel,
    child_lattice,
    full_lattice,
    overlap_px,
    zoom_ratios,
)
from napari_zoommil.read_ahead import in_order
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.tiles import damage_note
from napari_zoommil.slides.resample import choose_level
from napari_zoommil.slides.slide import Slide
from napari_zoommil.slides.tissue import DEFAULT_MPP, TissueDetector, tissue_share
from napari_zoommil.slides.tissue_published import Detector

DEFAULT_PATCH = 256
"""Edge of a patch, px, where nobody states another: that of ZoomMIL's authors and of CLAM's."""

STRIP_BYTES = 32 << 20
"""Bytes of source pixels per strip of an overview: slides without a pyramid must fit into memory."""

STRIPS_AT_ONCE = 4

TRACE = 1e-6
"""Tissue share below which a patch counts as empty: float rounding error."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """A tissue mask over a slide.

    Attributes
    ----------
    mask : (h, w) bool
    downsample : (float, float)
        Level-0 px per mask px, y and x.
    """

    mask: NDArray[np.bool_]
    downsample: Pair

    def share(self, origins: NDArray[np.float64], size: Pair) -> NDArray[np.float32]:
        """Tissue share of boxes given by (N, 2) level-0 origins and one level-0 size."""
        scale = np.asarray(self.downsample)
        share = tissue_share(self.mask, origins / scale, (size[0] / scale[0], size[1] / scale[1]))
        return np.where(share < TRACE, np.float32(0), share)

    def edited(self, add: Sequence[NDArray] = (), leave_out: Sequence[NDArray] = ()) -> Tissue:
        """The mask after adding and then removing polygons, each (n, 2) level-0 (y, x)."""
        from skimage.draw import polygon2mask

        mask = self.mask.copy()
        for value, polygons in ((True, add), (False, leave_out)):
            for polygon in polygons:
                mask[polygon2mask(mask.shape, np.asarray(polygon) / self.downsample - 0.5)] = value
        return replace(self, mask=mask)

    def inside(self, area: shapely.Geometry) -> Tissue:
        """The tissue inside an area, level-0 (y, x), without its holes.

        A px of the mask is inside if its centre is; a part of the area that holds no centre counts as one px.
        """
        mask = np.zeros_like(self.mask)
        for part in shapely.get_parts(area):
            if isinstance(part, shapely.Polygon):
                _paint(mask, part, self.downsample)
        return replace(self, mask=mask & self.mask)


def _paint(mask: NDArray[np.bool_], area: shapely.Polygon, downsample: Pair) -> None:
    """Set the px of a mask whose centres are in a polygon."""
    from skimage.draw import polygon

    bounds = np.array(area.bounds).reshape(2, 2) / downsample
    low = np.maximum(np.floor(bounds[0]).astype(int), 0)
    high = np.minimum(np.ceil(bounds[1]).astype(int), mask.shape)
    if (high <= low).any():
        return
    part = np.zeros(high - low, bool)
    for value, rings in ((True, [area.exterior]), (False, area.interiors)):
        for ring in rings:
            rows, columns = (shapely.get_coordinates(ring) / downsample - 0.5 - low).T
            part[polygon(rows, columns, part.shape)] = value
    if not part.any():
        inner = np.array(shapely.get_coordinates(area.representative_point())[0]) / downsample - low
        part[tuple(np.clip(inner.astype(int), 0, np.array(part.shape) - 1))] = True
    mask[low[0] : high[0], low[1] : high[1]] |= part


def overview_strips(slide: Slide, mpp: float) -> Generator[tuple[int, int, RGB], None, None]:
    """The whole slide at a low resolution, strip by strip: (rows so far, all rows, pixels).

    Strips are read ahead on threads; after the iterator is closed, reading stops within one strip.
    """
    own = slide.resolution()
    downsample = (mpp / own[0], mpp / own[1])
    height, width = (max(1, int(np.ceil(n / d))) for n, d in zip(slide.shape, downsample, strict=True))
    level = slide.levels[choose_level(slide.levels, downsample)]
    row_bytes = 3 * level.shape[1] * downsample[0] / level.downsample[0]
    rows = max(1, int(STRIP_BYTES / row_bytes))

    def read(top: int) -> tuple[int, int, RGB]:
        count = min(rows, height - top)
        return top + count, height, slide.read(top * downsample[0], 0, count, width, mpp)

    workers = min(STRIPS_AT_ONCE, os.cpu_count() or 1)
    yield from in_order(read, range(0, height, rows), workers, workers, name="overview-reader")


def read_overview(slide: Slide, mpp: float = DEFAULT_MPP) -> RGB:
    """The whole slide at ``mpp`` µm/px, (h, w, 3)."""
    return np.concatenate([pixels for _, _, pixels in overview_strips(slide, mpp)])


def detect_tissue(slide: Slide, detector: Detector | None = None) -> Tissue:
    """The tissue of a slide.

    Raises
    ------
    MissingResolutionError
        If the slide's resolution is unknown.
    """
    return tissue_of(slide, read_overview(slide), detector)


def tissue_of(slide: Slide, overview: RGB, detector: Detector | None = None) -> Tissue:
    """The tissue on an overview from :func:`read_overview`."""
    own = slide.resolution()
    mask = (detector or TissueDetector())(overview, DEFAULT_MPP)
    return Tissue(mask, (DEFAULT_MPP / own[0], DEFAULT_MPP / own[1]))


def patch_grid(
    slide: Slide,
    tissue: Tissue,
    magnifications: tuple[float, ...],
    patch_size: int = DEFAULT_PATCH,
    min_tissue: float = 0.1,
    overlap: int = 0,
) -> PatchGrid:
    """Nested patches over the tissue, the lowest magnification first.

    Parameters
    ----------
    slide, tissue
    magnifications : tuple of float
        Ascending, with whole ratios, such as ``(5, 10, 20)``.
    patch_size : int
        Edge of a patch in px, at every magnification.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification (0.1 on CAMELYON16 and BRIGHT,
        0.5 on CRC). If no patch has that much, all patches with any tissue are kept. At higher
        magnifications every child with any tissue is kept.
    overlap : int
        Of neighbouring patches, in their own px; with a single magnification only.

    Raises
    ------
    NoTissueError
        If no tissue was found on the slide.
    MagnificationError
        If the slide's resolution is too low, or the ratios are not whole.
    OverlapError
        If patches of several magnifications should overlap.
    """
    ratios = zoom_ratios(magnifications)
    overlap = overlap_px(overlap, patch_size, magnifications)
    mpps = _nested_mpps(slide.serving_mpp(magnifications[-1]), ratios)
    own = slide.resolution()
    strides = [(patch_size * mpp / own[0], patch_size * mpp / own[1]) for mpp in mpps]
    size, share_of_edge = strides[0], 1 - overlap / patch_size
    strides[0] = (size[0] * share_of_edge, size[1] * share_of_edge)
    lattice = full_lattice(_beginning(slide.shape, size, strides[0]), strides[0])
    share = tissue.share(lattice * np.asarray(strides[0]), size)
    keep = (share > 0) & (share >= min_tissue)
    keep = keep if keep.any() else share > 0
    if not keep.any():
        raise no_tissue(slide)
    parent = np.full(int(keep.sum()), -1, np.int64)
    scale = magnifications[0], mpps[0], strides[0]
    levels = [PatchLevel.from_lattice(*scale, lattice[keep], parent, share[keep], size)]
    for index, ratio in enumerate(ratios, 1):
        lattice, parent = child_lattice(levels[-1].lattice, ratio, slide.shape, strides[index])
        share = tissue.share(lattice * np.asarray(strides[index]), strides[index])
        keep = share > 0
        scale = magnifications[index], mpps[index], strides[index]
        levels.append(PatchLevel.from_lattice(*scale, lattice[keep], parent[keep], share[keep]))
    return PatchGrid(slide.shape, patch_size, tuple(levels))


def _beginning(shape: tuple[int, int], size: Pair, stride: Pair) -> tuple[int, int]:
    """Extent in which patches begin that cover something which those before them do not."""
    height, width = (
        max(1, int(np.ceil(extent - (edge - step) - 1e-6)))
        for extent, edge, step in zip(shape, size, stride, strict=True)
    )
    return height, width


def no_tissue(slide: Slide) -> NoTissueError:
    """The error for a slide on which no tissue was found."""
    hurt = f" ({damage_note(slide.damaged)})" if slide.damaged else ""
    return NoTissueError(
        f"no tissue was found on {slide.name}{hurt}; "
        "draw a region to add, or check that it is a stained slide"
    )


def _nested_mpps(finest: float, ratios: tuple[int, ...]) -> list[float]:
    """Resolutions (µm/px), lowest magnification first, as exact multiples of the finest."""
    factors = np.cumprod(np.array((1, *ratios[::-1])))[::-1]
    return [finest * float(factor) for factor in factors]


def read_patch(slide: Slide, grid: PatchGrid, level: int, row: int) -> RGB:
    """Pixels of one patch, (patch_size, patch_size, 3)."""
    patches = grid.levels[level]
    (y, x), edge = patches.origins[row], grid.patch_size
    return slide.read_downsampled(y, x, edge, edge, (patches.size[0] / edge, patches.size[1] / edge))
