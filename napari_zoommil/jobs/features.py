"""What is kept of a slide: its patches and their features, looked for before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.errors import EncoderError
from napari_zoommil.files import Stamp, stamp_of
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.jobs.loading import encoder_on
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid
from napari_zoommil.slides.tissue import TissueDetector

if TYPE_CHECKING:
    from napari_zoommil.bags.cache import EncoderKey, FeatureCache
    from napari_zoommil.bags.grids import GridKey

_hashes: dict[tuple[str, Stamp | None], str] = {}


def grid_key(slide: Slide, magnifications: tuple[float, ...], patch_size: int, min_tissue: float) -> GridKey:
    """What decides which patches a slide has."""
    from napari_zoommil.bags.grids import GridKey

    how = tuple(map(float, magnifications)), int(patch_size), float(min_tissue)
    return GridKey(*how, slide.resolution(), repr(TissueDetector()))


def find_patches(slide: Slide, cache: FeatureCache, key: GridKey) -> Job[PatchGrid]:
    """The patches of a slide; its tissue is looked for where they are not kept.

    Raises
    ------
    NoTissueError
        If nothing on the slide is tissue.
    MagnificationError
        If the slide was not scanned finely enough, or the ratios are not whole.
    """
    grid = cache.grid(slide.fingerprint, key)
    if grid is None:
        tissue = yield from find_tissue(slide)
        grid = patch_grid(slide, tissue, key.magnifications, key.patch_size, key.min_tissue)
        cache.keep_grid(slide.fingerprint, key, grid)
    return grid


def current_encoder(name: str, cache: FeatureCache, fingerprint: str) -> EncoderKey:
    """Which weights a name stands for now; an encoder is loaded for that once.

    Where it cannot be had, features of a slide that were made with the only weights of that name are taken.

    Raises
    ------
    EncoderError
        If there is no such encoder, and no such features either.
    """
    from napari_zoommil.bags.cache import EncoderKey

    which = name, stamp_of(Path(name))
    if which in _hashes:
        return EncoderKey(name, _hashes[which])
    try:
        with encoder_on("cpu", name) as network:
            _hashes[which] = network.hash
    except EncoderError:
        stored = cache.hashes(fingerprint, name)
        if len(stored) != 1:
            raise
        return EncoderKey(name, stored[0])
    return EncoderKey(name, _hashes[which])
