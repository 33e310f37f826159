"""Training data of the shipped cell models: free tiles, rescaled and restained, and synthetic tissue.

All data may be redistributed: dsb2018 and the tiles without labels are free, and the rest is synthetic
(:mod:`napari_zoommil.synthetic`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.linalg import sqrtm
from skimage.measure import regionprops
from skimage.segmentation import expand_labels
from skimage.transform import resize

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.cells.boxes import instance_boxes, iou_matrix
from napari_zoommil.cells.haematoxylin import Haematoxylin
from napari_zoommil.cells.instances import Cells, find_cells
from napari_zoommil.cells.model import Finds, as_images
from napari_zoommil.cells.outputs import class_probabilities
from napari_zoommil.cells.targets import BACKGROUND, NOT_ANNOTATED
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.experiments.data.nuclei import Tile, read_tiles, split_tiles, typical_diameter
from napari_zoommil.experiments.shipped.drawn_nuclei import PLANES, drawn_tissue, stained
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.synthetic.nuclei import UM_PER_PX, Stain

NUCLEUS = CellClass("nucleus", CLASS_CYCLE[0], 8.0)

RESOLUTIONS = (0.5, 0.25)
"""Possible resolutions of tiles, µm/px."""

DIAMETERS_UM = (5.0, 9.0)
"""Range of the median diameter to which nuclei of real tiles are rescaled, drawn for each copy."""

HELD_OUT_UM = 7.0
"""Median diameter of nuclei in held-out tiles."""

DRAWN_PX, CUT_PX = 1024, 512
"""Edges of a synthetic texture and of the tiles cropped from it, px at 40x."""

LEAST_EDGE = 128
"""Least edge of a rescaled tile: that of the training crops, px."""

WHITE = 190
"""Green value above which pixels are glass; tiles with a tenth of such pixels are not used."""

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

SLIVER_PX = 12
"""Nuclei with a smaller visible area are neither targets nor known background."""


Teacher = Callable[[RGB], Finds]
"""Returns the detections of a trained network in an image."""


@dataclass(frozen=True, eq=False)
class FreeData:
    """Training data and held-out data at the resolution of a model.

    Attributes
    ----------
    train : list of Window
        Windows in which every nucleus is annotated.
    tissue : list of (h, w, 3) uint8
        Real tissue without labels, see :func:`marked_windows`.
    validation, test : list of Tile
        Held-out real tiles with nuclei of :data:`HELD_OUT_UM`. Validation tiles occur in their own colours
        and in those of other tissue, because a threshold for purple tiles is too low for others; test tiles
        occur in their own colours.
    synthetic : list of Tile
        Tiles of a held-out texture.
    """

    train: list[Window]
    tissue: list[RGB]
    validation: list[Tile]
    test: list[Tile]
    synthetic: list[Tile]

    @classmethod
    def read(
        cls, folder: Path, mpp: float, variants: int = 12, textures: Sequence[int] = (1, 2, 3, 4)
    ) -> FreeData:
        """Read ``nuclei/dsb2018``, ``tiles`` and a slide below a folder; the last texture is held out."""
        split = split_dsb(folder / "nuclei" / "dsb2018")
        tissue = unlabelled_tissue(folder, mpp)
        styles = tissue_colours(tissue)
        rng = np.random.default_rng(3)
        validation = [rescaled(tile, HELD_OUT_UM / mpp) for tile in split["val"]]
        validation += [replace(tile, image=restained(tile.image, styles, rng)) for tile in validation * 2]
        test = [rescaled(tile, HELD_OUT_UM / mpp) for tile in split["test"]]
        train = real_windows(split["train"], styles, variants, mpp, seed=0)
        train += synthetic_windows(textures[:-1], mpp, seed=1)
        drawn = [resampled(tile, UM_PER_PX / mpp) for tile in synthetic_tiles(textures[-1:], seed=2)]
        return cls(train, tissue, validation, test, drawn)


def split_dsb(folder: Path) -> dict[str, list[Tile]]:
    """Training, validation and test tiles of dsb2018: sections, and nuclei on bare glass for training."""
    tiles = read_tiles(folder)
    covered = sections(tiles)
    split = split_tiles(covered)
    known = {tile.name for tile in covered}
    others = [tile for tile in tiles if tile.name not in known and len(np.unique(tile.instances)) > FEWEST]
    return split | {"train": split["train"] + others}


def sections(tiles: Sequence[Tile]) -> list[Tile]:
    """The tiles that are completely covered with stained tissue and have nuclei."""
    return [
        tile
        for tile in tiles
        if np.percentile(tile.image[..., 1], 90) <= WHITE and len(np.unique(tile.instances)) > 3
    ]


def resampled(tile: Tile, factor: float) -> Tile:
    """The tile enlarged by a factor."""
    shape = tuple(round(edge * factor) for edge in tile.instances.shape)
    image = resize(tile.image, shape, order=1, anti_aliasing=factor < 1, preserve_range=True)
    instances = resize(tile.instances, shape, order=0, anti_aliasing=False, preserve_range=True)
    return Tile(tile.name, np.rint(image).astype(np.uint8), instances.astype(np.int32))


def rescaled(tile: Tile, diameter_px: float) -> Tile:
    """The tile rescaled to a median diameter of its nuclei, limited by :data:`LEAST_EDGE`."""
    factor = diameter_px / typical_diameter([tile])
    return resampled(tile, max(factor, LEAST_EDGE / min(tile.instances.shape)))


@dataclass(frozen=True, eq=False)
class Colours:
    """Mean (3,) and covariance (3, 3) of the optical densities of a tissue."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, image: RGB, least_density: float = 0.0) -> Colours:
        """Colours of the pixels whose mean density is at least ``least_density``."""
        density = _density(image).reshape(-1, 3)
        density = density[density.mean(1) >= least_density]
        return cls(density.mean(0), np.cov(density.T) + 1e-5 * np.eye(3))

    def laid_on(self, image: RGB) -> RGB:
        """The image in these colours, by the linear Monge-Kantorovitch map of densities (Pitié 2007)."""
        own = Colours.of(image)
        root = np.real(sqrtm(own.covariance))
        inverse = np.linalg.inv(root)
        to_these = inverse @ np.real(sqrtm(root @ self.covariance @ root)) @ inverse
        return _light((_density(image) - own.mean) @ to_these + self.mean)


def tissue_colours(images: Sequence[RGB]) -> list[Colours]:
    """Colours of those images that are mostly tissue with both stains."""
    found = []
    for image in images:
        density = _density(image)
        tissue = density.mean(-1) > 0.12
        red, green = density[tissue].mean(0)[:2] if tissue.any() else (0, 1)
        if tissue.mean() > 0.3 and red > 0.4 * green:  # blood has no haematoxylin, which absorbs red
            found.append(Colours.of(image, 0.12))
    return found


def restained(image: RGB, styles: Sequence[Colours], rng: np.random.Generator) -> RGB:
    """The image in the colours of a random tissue, slightly lighter or darker."""
    style = styles[int(rng.integers(len(styles)))]
    strength, contrast = rng.uniform(0.6, 1.2), rng.uniform(0.4, 1)
    return Colours(style.mean * strength, style.covariance * contrast).laid_on(image)


def real_windows(
    tiles: Sequence[Tile], styles: Sequence[Colours], variants: int, mpp: float, seed: int
) -> list[Window]:
    """Windows of each tile in several sizes and colours, the last in its own colours."""
    rng = np.random.default_rng(seed)
    windows = []
    for tile in tiles:
        for variant in range(variants):
            made = rescaled(tile, rng.uniform(*DIAMETERS_UM) / mpp)
            image = restained(made.image, styles, rng) if variant < variants - 1 else made.image
            windows.append(window_of(Tile(tile.name, image, made.instances)))
    return windows


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


def rescaled_image(image: RGB, factor: float) -> RGB:
    """The image enlarged by a factor."""
    return resampled(Tile("", image, np.zeros(image.shape[:2], np.int32)), factor).image


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


def window_of(tile: Tile) -> Window:
    """A window of a completely annotated tile, with a gap of one pixel between touching nuclei."""
    areas = np.bincount(tile.instances.ravel())
    sliver = (areas < SLIVER_PX)[tile.instances] & (tile.instances > 0)
    window = window_of_instances(tile.image, np.where(sliver, 0, tile.instances), complete=True)
    dense = window.dense.copy()
    dense[_touching(tile.instances)] = BACKGROUND
    dense[sliver] = NOT_ANNOTATED
    return replace(window, dense=dense, complete=window.complete & ~sliver)


def synthetic_tiles(
    seeds: Sequence[int], seed: int, size: int = DRAWN_PX, cut: int = CUT_PX
) -> Iterator[Tile]:
    """Tiles of ``cut`` px at 40x from each synthetic texture of ``size`` px, each in its own colours; of the
    tiles without nuclei only one per texture."""
    rng = np.random.default_rng(seed)
    for texture in seeds:
        for name, draw in PLANES.items():
            stain, instances = drawn_tissue(draw, texture, size)
            empty = False
            for row, column in np.ndindex(size // cut, size // cut):
                part = np.s_[row * cut : (row + 1) * cut, column * cut : (column + 1) * cut]
                if empty and not instances[part].any():
                    continue
                empty |= not instances[part].any()
                image = stained(Stain(stain.h[part], stain.e[part]), rng)
                yield Tile(f"{name} {texture} {row} {column}", image, instances[part])


def synthetic_windows(seeds: Sequence[int], mpp: float, seed: int) -> list[Window]:
    """Windows of synthetic tiles in several sizes."""
    rng = np.random.default_rng(seed)
    return [
        window_of(
            rescaled(tile, rng.uniform(*DIAMETERS_UM) / mpp)
            if tile.instances.any()
            else resampled(tile, UM_PER_PX / mpp)
        )
        for tile in synthetic_tiles(seeds, seed)
    ]


def _touching(instances: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels of a nucleus whose upper or left neighbour is in another nucleus."""
    seam = np.zeros(instances.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b = instances[here], instances[there]
        seam[here] |= (a != b) & (a > 0) & (b > 0)
    return seam


def _density(image: RGB) -> NDArray[np.float64]:
    return -np.log((image.astype(np.float64) + 1) / 256)


def _light(density: NDArray[Any]) -> RGB:
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)
