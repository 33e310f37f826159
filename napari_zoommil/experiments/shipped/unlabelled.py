"""Free tissue without labels, and the nuclei in it that are sure.

The sure ones are those of the classical detector with a clear outline, or those that two detectors agree on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import expand_labels

from napari_zoommil.cells.boxes import instance_boxes, iou_matrix
from napari_zoommil.cells.haematoxylin import Haematoxylin
from napari_zoommil.cells.instances import Cells, find_cells
from napari_zoommil.cells.model import Finds, as_images
from napari_zoommil.cells.outputs import class_probabilities
from napari_zoommil.cells.targets import BACKGROUND
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.experiments.data.nuclei import Tile
from napari_zoommil.experiments.shipped.cell_tiles import (
    HELD_OUT_UM,
    LEAST_EDGE,
    NUCLEUS,
    resampled,
    rescaled_image,
)
from napari_zoommil.experiments.shipped.stain_colours import restained, tissue_colours
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB

RESOLUTIONS = (0.5, 0.25)
"""Possible resolutions of tiles, µm/px."""

FEWEST = 10
"""Least number of nuclei on a tile of nuclei on bare glass, or of sure nuclei on one without labels."""

SLIDE, SLIDE_TILE_UM = "CMU-1-Small-Region.svs", 180.0
"""A slide without labels, and the edge of the tiles that are cropped from it."""

SURE, SOLID, AREAS_UM2 = 0.8, 0.92, (12.0, 120.0)
"""Of nuclei that the classical detector is sure of: least mean probability, least solidity, range of area."""

RING_UM, CLEAR, FREE = 1.0, 0.3, 0.6
"""Width of the ring around such a nucleus, the largest mean probability in it, and its least part outside of
other nuclei: clumps have no clear edge."""

AGREED = 0.6
"""Least IoU of the boxes of a nucleus that two detectors find."""

EMPTY, EMPTY_UM, UNLIKELY = -1, 2.0, 0.05
"""Number of places without nuclei in an instance map, half the edge of the squares around them, which are
larger than the pale inside of a nucleus, and the largest probability in these squares."""

SCALES = (0.8, 1.0, 1.25)
"""Scales of the tiles without labels."""

Teacher = Callable[[RGB], Finds]
"""Returns the detections of a trained network in an image."""


def unlabelled_tissue(folder: Path, mpp: float) -> list[RGB]:
    """Tissue without labels: ``tiles/tcga``, ``tiles/histolab`` and a slide in tiles."""
    images = [image for _, image in free_tiles(folder, mpp)]
    path = folder / "slides" / SLIDE
    if path.is_file():
        with Slide.open(path) as slide:
            images += slide_tiles(slide, mpp)
    return [image for image in images if min(image.shape[:2]) >= LEAST_EDGE]


def free_tiles(folder: Path, mpp: float) -> Iterator[tuple[str, RGB]]:
    """(slide, image) of ``tiles/tcga`` and ``tiles/histolab``.

    The resolution of the tiles is unknown: of :data:`RESOLUTIONS`, that is used at which nuclei are closest
    to :data:`HELD_OUT_UM`.
    """
    for path in (path for name in ("tcga", "histolab") for path in _pictures(folder / "tiles" / name)):
        image = np.asarray(Image.open(path).convert("RGB"))
        scaled = (rescaled_image(image, own / mpp) for own in RESOLUTIONS)
        yield path.parent.name, min(scaled, key=lambda one: _misfit(one, mpp))


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def slide_tiles(slide: Slide, mpp: float) -> list[RGB]:
    """A slide in tiles of :data:`SLIDE_TILE_UM`, without incomplete ones."""
    own = slide.resolution()
    step = [SLIDE_TILE_UM / one for one in own]
    rows, columns = (int(edge // one) for edge, one in zip(slide.shape, step, strict=True))
    size = round(SLIDE_TILE_UM / mpp)
    return [slide.read(y * step[0], x * step[1], size, size, mpp) for y, x in np.ndindex(rows, columns)]


def marked_windows(
    images: Sequence[RGB], mpp: float, teacher: Teacher | None = None, seed: int = 4
) -> list[Window]:
    """Windows of tissue with what is surely a nucleus or none, at several scales, in their own and in other
    colours. All other pixels are not annotated.

    Without a teacher, which returns the detections of a trained network, these are the nuclei that the
    classical detector is sure of; with one, also those that both find.
    """
    rng, styles = np.random.default_rng(seed), tissue_colours(images)
    windows = []
    for image in images:
        marked = sure(image, mpp, None if teacher is None else teacher(image))
        if len(np.unique(marked)) <= FEWEST + 1:
            continue
        for scale in SCALES:
            tile = resampled(Tile("", image, marked), scale)
            if min(tile.instances.shape) < LEAST_EDGE:
                continue
            for own in (tile.image, restained(tile.image, styles, rng)):
                windows.append(window_of_sure(Tile("", own, tile.instances)))
    return windows


def window_of_sure(tile: Tile) -> Window:
    """A window of nuclei and places without nuclei of which the classical detector is sure."""
    where = tile.instances == EMPTY
    window = window_of_instances(tile.image, np.where(where, 0, tile.instances))
    return replace(window, dense=np.where(where, BACKGROUND, window.dense), complete=where)


def sure(image: RGB, mpp: float, finds: Finds | None = None) -> NDArray[np.int32]:
    """Instance map of nuclei that the classical detector is sure of; :data:`EMPTY` where surely none is.

    With detections of another detector also the nuclei that both find.
    """
    probabilities, cells = _classical(image, mpp)
    numbers = np.arange(1, len(cells) + 1)
    around = expand_labels(cells.labels, RING_UM / mpp) * ~ndimage.binary_dilation(cells.labels > 0)
    ring = np.where(around > 0, probabilities, 1)  # a nucleus between others has no ring
    whole = 2 * np.sqrt(np.pi * cells.areas) * (RING_UM / mpp - 1)  # of a disc
    clear = np.bincount(around.ravel(), minlength=len(cells) + 1)[1:] >= FREE * whole
    clear &= ndimage.mean(ring, around, numbers) <= CLEAR
    certain = clear & (cells.scores >= SURE)
    low, high = (area / mpp**2 for area in AREAS_UM2)
    regions = regionprops(cells.labels)
    certain &= np.array([low <= one.area <= high and one.solidity >= SOLID for one in regions], bool)
    if finds is not None and len(cells) and len(finds):
        certain |= iou_matrix(instance_boxes(cells.labels)[0], finds.boxes).max(1) >= AGREED
    chosen = np.append(False, certain)
    nearby = ndimage.maximum_filter(probabilities, 2 * round(EMPTY_UM / mpp) + 1)
    return np.where(nearby <= UNLIKELY, EMPTY, np.where(chosen[cells.labels], cells.labels, 0))


def _classical(image: RGB, mpp: float) -> tuple[NDArray[np.float32], Cells]:
    """Probability of each pixel (h, w) by the classical detector, and its nuclei."""
    network = Haematoxylin(mpp=mpp).adapted([image])
    with torch.inference_mode():
        probabilities = class_probabilities(network(as_images(image[None])))[0, 0].numpy()
    return probabilities, find_cells(probabilities, NUCLEUS.diameter_um / mpp)


def _misfit(image: RGB, mpp: float) -> float:
    """How far the median size of nuclei is from the usual one."""
    areas = _classical(image, mpp)[1].areas
    size = float(np.sqrt(np.median(areas) * 4 / np.pi)) * mpp if len(areas) else 1.0
    return abs(np.log(size / HELD_OUT_UM))
