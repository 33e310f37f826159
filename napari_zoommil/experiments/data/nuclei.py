"""Tiles with instance maps of all nuclei: files ``NAME.png`` and ``NAME_instances.png`` in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.cells.targets import nested_subset
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.errors import CohortError
from napari_zoommil.slides.readers.base import RGB

SUFFIX = "_instances.png"
SPLITS = ("train", "val", "test")
SHARES = (0.6, 0.2, 0.2)
"""Shares of the splits, for data sets without a published split (supplement of ECE)."""

SPLIT_SEED = 0
VARIABLE = "NAPARI_ZOOMMIL_DATA"


@dataclass(frozen=True, eq=False)
class Tile:
    """An image and its nuclei.

    Attributes
    ----------
    name : str
    image : (h, w, 3) uint8
    instances : (h, w) int32
        0 = background, then one number per nucleus.
    """

    name: str
    image: RGB
    instances: NDArray[np.int32]


def nuclei_folder(folder: Path | None = None) -> Path:
    """The folder to read: the given one, or ``nuclei/monuseg`` below $NAPARI_ZOOMMIL_DATA.

    Raises
    ------
    CohortError
        If there is no such folder.
    """
    if folder is None:
        if not (root := os.environ.get(VARIABLE)):
            raise CohortError(
                f"no data: give a folder of NAME.png and NAME{SUFFIX} with --data, or set {VARIABLE}"
            )
        folder = Path(root) / "nuclei" / "monuseg"
    if not folder.is_dir():
        raise CohortError(f"{folder} is not a folder; give one of NAME.png and NAME{SUFFIX} with --data")
    return folder


def read_tiles(folder: Path) -> list[Tile]:
    """All tiles of a folder, sorted by name.

    Raises
    ------
    CohortError
        If there are fewer than three (one per split), or one cannot be read.
    """
    maps = sorted(folder.glob(f"*{SUFFIX}"))
    if len(maps) < len(SPLITS):
        raise CohortError(f"{folder} holds {len(maps)} files NAME{SUFFIX}; at least three tiles are needed")
    return [_tile(path) for path in maps]


def _tile(path: Path) -> Tile:
    name = path.name.removesuffix(SUFFIX)
    picture = path.with_name(f"{name}.png")
    try:
        with Image.open(picture) as coloured, Image.open(path) as numbered:
            image, instances = np.asarray(coloured), np.asarray(numbered)
    except (OSError, ValueError, SyntaxError) as error:
        raise CohortError(f"{picture} and its nuclei cannot be read: {error}") from error
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise CohortError(f"{picture} is not an 8-bit colour picture")
    if instances.shape != image.shape[:2]:
        raise CohortError(f"{path} is of shape {instances.shape}, its picture of {image.shape[:2]}")
    return Tile(name, np.ascontiguousarray(image[..., :3]), instances.astype(np.int32))


def split_tiles(tiles: Sequence[Tile], seed: int = SPLIT_SEED) -> dict[str, list[Tile]]:
    """Random split into 60 % training, 20 % validation and 20 % test tiles, at least one each."""
    order = np.random.default_rng(seed).permutation(len(tiles))
    held = [max(1, round(share * len(tiles))) for share in SHARES[1:]]
    edges = [len(tiles) - sum(held), len(tiles) - held[-1]]
    parts = np.split(order, edges)
    return {name: [tiles[i] for i in sorted(part)] for name, part in zip(SPLITS, parts, strict=True)}


def annotated(tile: Tile, percent: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the nuclei in a sparse annotation, drawn for each tile separately.

    For the same seed, a smaller share is a subset of a larger one.
    """
    numbers = np.unique(tile.instances[tile.instances > 0])
    own = np.random.SeedSequence([seed, *tile.name.encode()]).generate_state(1)[0]
    return nested_subset(numbers, percent / 100, int(own))


def thinned(tile: Tile, percent: int, seed: int) -> Tile:
    """The tile with only the :func:`annotated` nuclei in its instance map."""
    kept = annotated(tile, percent, seed)
    return Tile(tile.name, tile.image, np.where(np.isin(tile.instances, kept), tile.instances, 0))


def window_of(tile: Tile) -> Window:
    """A training window; pixels outside the nuclei of its map are not annotated, even at 100 %."""
    return window_of_instances(tile.image, tile.instances)


def typical_diameter(tiles: Sequence[Tile]) -> float:
    """Median equivalent diameter of the nuclei, px.

    Raises
    ------
    CohortError
        If the tiles have no nuclei.
    """
    areas = np.concatenate([np.bincount(tile.instances.ravel())[1:] for tile in tiles])
    if not areas.any():
        raise CohortError("the training tiles have no annotated nucleus; keep a larger share of them")
    return float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi)))
