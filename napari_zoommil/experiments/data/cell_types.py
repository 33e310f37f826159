"""Nuclei of known type and patient, and tiles of known organ: what encoders of histology are compared on."""

from __future__ import annotations

import csv
import os
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.nuclei import VARIABLE

CELLS = Path("nuclei") / "crc_cell_types_27px.npz"
TILES = Path("tiles") / "tcga"
LABELS = "labels.csv"
TEST_SHARE, SPLIT_SEED = 0.4, 0
"""Of the patients of the nuclei, the same for all seeds: 16 of 41."""

FEWEST_PATIENTS = 4
FEWEST_SLIDES = 3
"""Of each organ: one is left out, one is to learn from, one to choose the epoch."""


@dataclass(frozen=True, eq=False)
class LabelledPatches:
    """Patches of one size.

    Attributes
    ----------
    pixels : (n, p, p, 3) uint8
    labels : (n,) int64
    classes : tuple of str
    patients : (n,) int64
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    patients: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> LabelledPatches:
        """The chosen ones, (n,) bool."""
        return LabelledPatches(self.pixels[chosen], self.labels[chosen], self.classes, self.patients[chosen])

    def of(self, patients: NDArray[np.int64]) -> LabelledPatches:
        """Those of some patients."""
        return self.where(np.isin(self.patients, patients))


def data_folder(folder: Path | None = None) -> Path:
    """The folder with ``nuclei`` and ``tiles``: the given one, or $NAPARI_ZOOMMIL_DATA.

    Raises
    ------
    CohortError
        If there is none, or it lacks either.
    """
    root = folder or (Path(own) if (own := os.environ.get(VARIABLE)) else None)
    if root is None:
        raise CohortError(
            f"no patches: give a folder with {CELLS} and {TILES} with --data, or set {VARIABLE}"
        )
    for part in (CELLS, TILES / LABELS):
        if not (root / part).is_file():
            raise CohortError(f"{root} has no {part}; give another --data")
    return root


def read_cells(root: Path) -> LabelledPatches:
    """Nuclei: an NPZ with ``images`` (n, p, p, 3), ``cell_type`` and ``patient``.

    Raises
    ------
    CohortError
        If it cannot be read, or has too few patients.
    """
    path = root / CELLS
    try:
        with zipfile.ZipFile(path) as file:
            columns = [_array(file, name) for name in ("images", "cell_type", "patient")]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise CohortError(f"{path} cannot be read: {error}") from error
    images, kinds, patients = columns
    classes, labels = np.unique(kinds.astype(str), return_inverse=True)
    if images.ndim != 4 or not len(images) == len(labels) == len(patients):
        raise CohortError(f"{path} does not have an image, a type and a patient for each nucleus")
    if len(np.unique(patients)) < FEWEST_PATIENTS:
        raise CohortError(f"{path} has fewer than {FEWEST_PATIENTS} patients")
    return LabelledPatches(images, labels.astype(np.int64), tuple(classes), patients.astype(np.int64))


class _OnlyStrings(pickle.Unpickler):
    """Reads an array of strings as numpy pickles it, and no other object."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in an array of strings")


def _array(file: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with file.open(f"{name}.npy") as member:
        return _read_npy(member)


def _read_npy(member: IO[bytes]) -> NDArray[Any]:
    version = np.lib.format.read_magic(member)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in header:
        raise ValueError(f"arrays of version {version} are not read")
    shape, fortran, kind = header[version](member)
    if kind.hasobject:
        return np.asarray(_OnlyStrings(member).load())
    values = np.frombuffer(member.read(), kind)
    return values.reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of a slide.

    Attributes
    ----------
    pixels : (h, w, 3) uint8
    slide : int
    organ : int
    """

    pixels: NDArray[np.uint8]
    slide: int
    organ: int


def read_tiles(root: Path) -> tuple[list[Tile], tuple[str, ...]]:
    """Tiles of slides of known organ, and the names of the organs.

    Raises
    ------
    CohortError
        If a tile cannot be read, or there are fewer than two organs with three slides each.
    """
    folder = root / TILES
    with (folder / LABELS).open(newline="", encoding="utf-8") as file:
        organ_of = {row[0]: row[1] for row in csv.reader(file) if len(row) > 1}
    slides, organs = sorted(organ_of), sorted(set(organ_of.values()))
    counts = [sum(organ == one for organ in organ_of.values()) for one in organs]
    if len(organs) < 2 or min(counts) < FEWEST_SLIDES:
        raise CohortError(f"{folder} needs two organs with {FEWEST_SLIDES} slides each")
    found = []
    for number, slide in enumerate(slides):
        for path in sorted((folder / slide).glob("*.png")):
            try:
                pixels = np.asarray(Image.open(path).convert("RGB"))
            except (OSError, UnidentifiedImageError) as error:
                raise CohortError(f"{path} cannot be read: {error}") from error
            found.append(Tile(pixels, number, organs.index(organ_of[slide])))
    if not found:
        raise CohortError(f"{folder} has no tiles in folders of the slides in {LABELS}")
    return found, tuple(organs)


def cut(tiles: list[Tile], organs: tuple[str, ...], edge: int) -> LabelledPatches:
    """All patches of a grid over each tile; patients are the slides."""
    pixels, slides, labels = [], [], []
    for tile in tiles:
        rows, columns = (extent // edge for extent in tile.pixels.shape[:2])
        whole = tile.pixels[: rows * edge, : columns * edge]
        pixels.append(whole.reshape(rows, edge, columns, edge, 3).swapaxes(1, 2).reshape(-1, edge, edge, 3))
        slides += [tile.slide] * rows * columns
        labels += [tile.organ] * rows * columns
    return LabelledPatches(np.concatenate(pixels), np.array(labels), organs, np.array(slides))


def split_patients(cells: LabelledPatches) -> tuple[LabelledPatches, LabelledPatches]:
    """Nuclei to train on and to test on, of different patients; the same for all encoders and seeds."""
    patients = np.random.default_rng(SPLIT_SEED).permutation(np.unique(cells.patients))
    count = round(TEST_SHARE * len(patients))
    return cells.of(patients[count:]), cells.of(patients[:count])


def left_out(patches: LabelledPatches) -> Iterator[tuple[int, ...]]:
    """Slides of each fold: one of each organ, in all combinations."""
    of_organ = [
        np.unique(patches.patients[patches.labels == organ]).tolist() for organ in range(len(patches.classes))
    ]
    return product(*of_organ)
