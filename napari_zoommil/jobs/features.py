"""Lookup of cached patch grids and features of a slide."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import shapely

from napari_zoommil.errors import EncoderError
from napari_zoommil.geometry import PatchGrid, overlap_px
from napari_zoommil.jobs.loading import encoder_on
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.tissue import find_tissue, tissue_inside
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid
from napari_zoommil.slides.tissue_published import DEFAULT, detector_of

if TYPE_CHECKING:
    from napari_zoommil.bags.cache import EncoderKey, FeatureCache
    from napari_zoommil.bags.grids import GridKey


def grid_key(
    slide: Slide,
    magnifications: tuple[float, ...],
    patch_size: int,
    min_tissue: float,
    area: shapely.Geometry | None = None,
    overlap: float = 0.0,
    tissue_detector: str = DEFAULT,
) -> GridKey:
    """The key of a slide's patch grid, or of that of an area of the slide, in the cache.

    The features of patches have no part in it: the same patch of two grids is encoded once.

    Raises
    ------
    JobError
        If there is no such tissue detector.
    OverlapError
        If patches cannot overlap so; see :func:`napari_zoommil.geometry.overlap_px`.
    """
    from napari_zoommil.bags.grids import GridKey

    how = tuple(map(float, magnifications)), int(patch_size), float(min_tissue)
    there = "" if area is None else sha256(shapely.to_wkb(shapely.normalize(area))).hexdigest()[:16]
    pixels = overlap_px(overlap, patch_size, how[0])
    return GridKey(*how, slide.resolution(), repr(detector_of(tissue_detector)), there, pixels)


def find_patches(
    slide: Slide,
    cache: FeatureCache,
    key: GridKey,
    area: shapely.Geometry | None = None,
    tissue_detector: str = DEFAULT,
) -> Job[PatchGrid]:
    """The patch grid of a slide or an area, from the cache or, if it is missing, by tissue detection.

    Raises
    ------
    NoTissueError
        If no tissue was found on the slide.
    MagnificationError
        If the slide's resolution is too low, or the ratios are not whole.
    """
    grid = cache.grid(slide.fingerprint, key)
    if grid is None:
        tissue = tissue_inside(slide, (yield from find_tissue(slide, tissue_detector)), area)
        grid = patch_grid(slide, tissue, key.magnifications, key.patch_size, key.min_tissue, key.overlap)
        cache.keep_grid(slide.fingerprint, key, grid)
    return grid


def current_encoder(name: str, cache: FeatureCache, fingerprint: str) -> EncoderKey:
    """The encoder of a name with its current hash; it is loaded if it is not in memory.

    If it cannot be loaded and the cache has features of the slide from exactly one encoder of that name, that
    encoder is returned.

    Raises
    ------
    EncoderError
        If the encoder cannot be loaded, and there are no such features.
    """
    from napari_zoommil.bags.cache import EncoderKey

    try:
        with encoder_on("cpu", name) as network:
            return EncoderKey(network.name, network.hash)
    except EncoderError:
        stored = cache.hashes(fingerprint, name)
        if len(stored) != 1:
            raise
        return EncoderKey(name, stored[0])
