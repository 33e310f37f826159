"""Tissue detection as a job, with a cache."""

from __future__ import annotations

from threading import Lock

import numpy as np
from cachetools import LRUCache

from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue, overview_strips, tissue_of
from napari_zoommil.slides.tissue import DEFAULT_MPP

KEPT = 16
"""Number of slides whose tissue mask (some megabytes) is cached."""

_found: LRUCache[tuple[str, Pair], Tissue] = LRUCache(KEPT)
_lock = Lock()


def find_tissue(slide: Slide) -> Job[Tissue]:
    """Read the overview strip by strip and detect the tissue on it.

    Raises
    ------
    MissingResolutionError
        If the slide's resolution is unknown.
    """
    key = slide.fingerprint, slide.resolution()
    with _lock:
        known = _found.get(key)
    if known is not None:
        return known
    strips = []
    for done, total, pixels in overview_strips(slide, DEFAULT_MPP):
        strips.append(pixels)
        yield Progress(done, total, "detecting tissue")
    tissue = tissue_of(slide, np.concatenate(strips))
    with _lock:
        _found[key] = tissue
    return tissue
