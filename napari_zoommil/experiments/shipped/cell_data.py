"""Training data of the shipped cell models: free tiles, rescaled and restained, and synthetic tissue.

All data may be redistributed: dsb2018 and the tiles without labels are free, and the rest is synthetic
(:mod:`napari_zoommil.synthetic`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.cells.targets import BACKGROUND, NOT_ANNOTATED
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.experiments.data.nuclei import Tile, read_tiles, split_tiles
from napari_zoommil.experiments.shipped.cell_tiles import HELD_OUT_UM, resampled, rescaled
from napari_zoommil.experiments.shipped.drawn_nuclei import PLANES, drawn_tissue, stained
from napari_zoommil.experiments.shipped.stain_colours import Colours, restained, tissue_colours
from napari_zoommil.experiments.shipped.unlabelled import FEWEST, unlabelled_tissue
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.synthetic.nuclei import UM_PER_PX, Stain

DIAMETERS_UM = (5.0, 9.0)
"""Range of the median diameter to which nuclei of real tiles are rescaled, drawn for each copy."""

DRAWN_PX, CUT_PX = 1024, 512
"""Edges of a synthetic texture and of the tiles cropped from it, px at 40x."""

WHITE = 190
"""Green value above which pixels are glass; tiles with a tenth of such pixels are not used."""

SLIVER_PX = 12
"""Nuclei with a smaller visible area are neither targets nor known background."""


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
