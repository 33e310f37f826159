"""Whether a cell model knows the tissue that it searches: patches of the tiles that it reads anyway."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.cells.tiling import CORE_PX, Area
from napari_zoommil.familiarity import Familiarity, Patches, SlideSample, Verdict, fitted
from napari_zoommil.familiarity.descriptors import describe
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB

PATCH_PX = 128
"""Edge of a patch, px at the model's resolution; a core has a whole number of them."""

SAMPLE = 200
"""Most patches of a search that are compared."""


class TileSample:
    """A random sample of the patches in the cores of tiles, as far as these overlap the searched area.

    Parameters
    ----------
    corners : (N, 2) int64
        Of all cores, px at the model's resolution.
    margin : int
        Width of what is read around a core, px.
    downsample : (float, float)
        Level-0 px per px, y and x.
    area : Area
    """

    def __init__(self, corners: NDArray[np.int64], margin: int, downsample: Pair, area: Area) -> None:
        steps = np.indices((CORE_PX // PATCH_PX,) * 2).reshape(2, -1).T * PATCH_PX
        origins = (corners[:, None] + steps).reshape(-1, 2)
        scale = np.asarray(downsample)
        inside = np.flatnonzero(area.touches(origins * scale, (PATCH_PX * scale[0], PATCH_PX * scale[1])))
        self.of = len(inside)
        self._places: dict[int, list[NDArray[np.int64]]] = {}
        for place in np.sort(np.random.default_rng(0).permutation(inside)[:SAMPLE]):
            tile, step = divmod(int(place), len(steps))
            self._places.setdefault(tile, []).append(steps[step] + margin)
        self._found: list[NDArray[np.float32]] = [describe([])]

    def add(self, first: int, tiles: NDArray[np.uint8]) -> None:
        """Take note of some tiles, (B, h, w, 3), of which the first has a number."""
        for number, tile in enumerate(tiles, first):
            parts = [tile[y : y + PATCH_PX, x : x + PATCH_PX] for y, x in self._places.get(number, ())]
            self._found.append(describe(parts))

    def verdict(self, known: Familiarity) -> Verdict:
        """What can be said of the tissue that was searched."""
        return known.verdict([replace(_patches(np.concatenate(self._found)), of=self.of)])


def image_statistics(
    images: Iterable[tuple[str, RGB]], mpp: float, step: int = PATCH_PX // 2, many_kinds: bool = False
) -> Familiarity | None:
    """Statistics of training images at a resolution; None where they are too few.

    Parameters
    ----------
    images : iterable of (str, (h, w, 3) uint8)
        Images of a group, such as a slide, are held out together.
    mpp : float
        µm/px.
    step : int
        Between neighbouring patches, px.
    many_kinds : bool
        Whether the groups are of tissue of many kinds, see :func:`~napari_zoommil.familiarity.fitted`.
    """
    found: dict[str, list[NDArray[np.float32]]] = {}
    for group, image in images:
        found.setdefault(group, []).append(describe(image_patches(image, step)))
    samples = [SlideSample(group, (_patches(np.concatenate(own)),)) for group, own in found.items()]
    return fitted(samples, mpps=(mpp,), patch_size=PATCH_PX, many_kinds=many_kinds)


def _patches(descriptors: NDArray[np.float32]) -> Patches:
    return Patches(descriptors, np.empty((len(descriptors), 0), np.float32), len(descriptors))


def image_patches(image: RGB, step: int) -> list[RGB]:
    """Patches that lie in an image, a step from one to the next."""
    height, width = image.shape[:2]
    return [
        image[y : y + PATCH_PX, x : x + PATCH_PX]
        for y in range(0, height - PATCH_PX + 1, step)
        for x in range(0, width - PATCH_PX + 1, step)
    ]
