"""Where a job looks: tissue detection as a job, with a cache, and regions as an area of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
import shapely
from cachetools import LRUCache

from napari_zoommil.annotations.regions import Region, covered
from napari_zoommil.errors import AnnotationError, NoTissueError
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue, overview_strips, tissue_of
from napari_zoommil.slides.tissue import DEFAULT_MPP
from napari_zoommil.slides.tissue_published import DEFAULT, detector_of

KEPT = 16
"""Number of slides whose tissue mask (some megabytes) is cached."""

_found: LRUCache[tuple[str, Pair, str], Tissue] = LRUCache(KEPT)
_lock = Lock()


def area_on(slide: Slide, regions: Sequence[Region]) -> shapely.Geometry | None:
    """The area of a slide inside regions, level-0 (y, x); None without regions.

    Raises
    ------
    AnnotationError
        If the regions cover nothing of the slide.
    """
    if not len(regions):
        return None
    area = covered(regions, slide.shape)
    if not area.area:
        height, width = slide.shape
        raise AnnotationError(
            f"the regions cover nothing of {slide.name}, which has {width:,} × {height:,} px; draw them on it"
        )
    return area


def tissue_inside(slide: Slide, tissue: Tissue, area: shapely.Geometry | None) -> Tissue:
    """The tissue inside an area; all of it without an area.

    Raises
    ------
    NoTissueError
        If there is tissue on the slide, but none inside.
    """
    if area is None:
        return tissue
    inside = tissue.inside(area)
    if tissue.mask.any() and not inside.mask.any():
        raise NoTissueError(
            f"no tissue was found inside the regions of {slide.name}; draw a region to add, or other regions"
        )
    return inside


def find_tissue(slide: Slide, detector: str = DEFAULT) -> Job[Tissue]:
    """Read the overview strip by strip and detect the tissue on it.

    Parameters
    ----------
    slide : Slide
    detector : str
        One of :data:`~napari_zoommil.slides.tissue_published.DETECTORS`.

    Raises
    ------
    JobError
        If there is no such detector.
    MissingResolutionError
        If the slide's resolution is unknown.
    """
    detect, key = detector_of(detector), (slide.fingerprint, slide.resolution(), detector)
    with _lock:
        known = _found.get(key)
    if known is not None:
        return known
    strips = []
    for done, total, pixels in overview_strips(slide, DEFAULT_MPP):
        strips.append(pixels)
        yield Progress(done, total, "detecting tissue")
    tissue = tissue_of(slide, np.concatenate(strips), detect)
    with _lock:
        _found[key] = tissue
    return tissue
