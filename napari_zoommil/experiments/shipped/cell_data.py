"""Training data of the shipped cell models: free tiles, rescaled and restained, and synthetic tissue.

All data may be redistributed: dsb2018 and the tiles without labels are free, and the rest is synthetic
(:mod:`napari_zoommil.synthetic`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import sqrtm
from skimage.transform import resize

from napari_zoommil.cells.targets import BACKGROUND, NOT_ANNOTATED
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.experiments.data.nuclei import Tile, read_tiles, split_tiles, typical_diameter
from napari_zoommil.experiments.shipped.drawn_nuclei import PLANES, drawn_tissue, stained
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.synthetic.nuclei import UM_PER_PX, Stain

MPP = 0.35
"""Resolution of the models, µm/px. At 0.5, which every slide has, a nucleus of 6 µm is hardly wider than a
grid cell of YOLLO; 0.25 is not available on slides at 20x."""

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

SLIVER_PX = 12
"""Nuclei with a smaller visible area are neither targets nor known background."""


@dataclass(frozen=True, eq=False)
class FreeData:
    """Training data and held-out data.

    Attributes
    ----------
    train : list of Window
        Windows in which every nucleus is annotated.
    validation, test : list of Tile
        Held-out real tiles with nuclei of :data:`HELD_OUT_UM`. Validation tiles occur twice in the colours
        of other tissue, because a threshold for purple tiles is too low for others; test tiles occur in
        their own colours.
    synthetic : list of Tile
        Tiles of a held-out texture.
    unlabelled : list of (h, w, 3) uint8
        Real tissue without annotations.
    styles : list of Colours
        Colours of that tissue.
    """

    train: list[Window]
    validation: list[Tile]
    test: list[Tile]
    synthetic: list[Tile]
    unlabelled: list[RGB]
    styles: list[Colours]

    @classmethod
    def read(cls, folder: Path, variants: int = 8, textures: Sequence[int] = (1, 2, 3, 4)) -> FreeData:
        """Read ``nuclei/dsb2018`` and ``tiles/tcga`` below a folder; the last texture is held out."""
        split = split_tiles(sections(read_tiles(folder / "nuclei" / "dsb2018")))
        unlabelled = read_images(folder / "tiles" / "tcga")
        styles = tissue_colours(unlabelled)
        validation, test = (
            [rescaled(tile, HELD_OUT_UM / MPP) for tile in split[name]] for name in ("val", "test")
        )
        rng = np.random.default_rng(3)
        validation = [
            replace(tile, image=restained(tile.image, styles, rng)) for tile in validation for _ in range(2)
        ]
        train = real_windows(split["train"], styles, variants, seed=0)
        train += synthetic_windows(textures[:-1], seed=1)
        drawn = [resampled(tile, UM_PER_PX / MPP) for tile in synthetic_tiles(textures[-1:], seed=2)]
        return cls(train, validation, test, drawn, unlabelled, styles)


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


def real_windows(tiles: Sequence[Tile], styles: Sequence[Colours], variants: int, seed: int) -> list[Window]:
    """Windows of each tile in several sizes and colours, the last in its own colours."""
    rng = np.random.default_rng(seed)
    windows = []
    for tile in tiles:
        for variant in range(variants):
            made = rescaled(tile, rng.uniform(*DIAMETERS_UM) / MPP)
            image = restained(made.image, styles, rng) if variant < variants - 1 else made.image
            windows.append(window_of(Tile(tile.name, image, made.instances)))
    return windows


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


def synthetic_windows(seeds: Sequence[int], seed: int) -> list[Window]:
    """Windows of synthetic tiles in several sizes."""
    rng = np.random.default_rng(seed)
    return [
        window_of(
            rescaled(tile, rng.uniform(*DIAMETERS_UM) / MPP)
            if tile.instances.any()
            else resampled(tile, UM_PER_PX / MPP)
        )
        for tile in synthetic_tiles(seeds, seed)
    ]


def read_images(folder: Path) -> list[RGB]:
    """All PNG images below a folder."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.rglob("*.png"))]


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
