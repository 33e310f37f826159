"""The nine published data sets of the ECE paper in their original folder layouts.

The annotation of an image is found by its path, so that the data set need not be named:

- CoNSeP, CPM17, Kumar and CPM15: ``PART/Images/S.png`` (or .tif), ``PART/Labels/S.mat`` with ``inst_map``;
- CPM15 in the layout of its challenge: ``S.png``, ``S_mask.txt``;
- MoNuSeg and Kumar in the layout of their challenge: ``PART/Tissue Images/S.tif``,
  ``PART/Annotations/S.xml``, or ``S.tif`` and ``S.xml`` in one folder;
- TNBC: ``Slide_N/S.png``, ``GT_N/S.png`` (a mask);
- WBC-NuClick: ``PART/images/S.png``, ``PART/masks/S.png`` (a mask);
- CRCHisto: ``imgN/imgN.bmp``, ``imgN/imgN_detection.mat`` (points);
- TIL: ``PATIENT/S.png``, ``PATIENT/S.csv`` with the columns x and y (points).

The folder names of WBC-NuClick and the table of TIL are assumptions.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from skimage.draw import polygon

from napari_zoommil.cells.instances import split_foreground
from napari_zoommil.cells.targets import disc_targets
from napari_zoommil.errors import CohortError, first_line
from napari_zoommil.experiments.data.nuclei import SHARES, SPLIT_SEED, Tile
from napari_zoommil.files import PICTURES, has_ending

Map = NDArray[np.int32]
Reader = Callable[[Path, tuple[int, int]], Map]
"""Annotation and (height, width) → instance map."""

TILES = (*PICTURES, ".bmp")
TNBC_DIAMETER, WBC_DIAMETER = 25.0, 70.0
"""Cell diameters for splitting binary masks, px (supplement of ECE, sec. 2)."""

POINT_DIAMETER = 22.0
"""Diameter of the disc for a point, px: a cell of 12 µm at 20x (0.55 µm/px)."""

VALIDATION = 0.3
"""Share of the training images, for data sets with test images only."""


def mat_instances(path: Path, shape: tuple[int, int]) -> Map:
    """``inst_map`` of a MATLAB file."""
    return _matlab(path, "inst_map").astype(np.int32)


def _matlab(path: Path, name: str) -> NDArray[np.floating]:
    """
    Raises
    ------
    ValueError
        If it is not a MATLAB file of version 7.2 or earlier.
    """
    try:
        return np.asarray(loadmat(path)[name])
    except (MatReadError, NotImplementedError, IndexError) as error:  # of a short file, by version of SciPy
        raise ValueError(first_line(error)) from error


def text_instances(path: Path, shape: tuple[int, int]) -> Map:
    """A text file: width and height, then one number per pixel, row by row."""
    width, height, *numbers = np.array(path.read_text(encoding="ascii").split(), np.int32)
    return np.array(numbers, np.int32).reshape(height, width)


def aperio_instances(path: Path, shape: tuple[int, int]) -> Map:
    """Each ``Region`` of an Aperio XML is a nucleus; in overlaps the later one counts."""
    instances = np.zeros(shape, np.int32)
    for number, region in enumerate(ElementTree.parse(path).getroot().iter("Region"), 1):
        corners = [(float(one.attrib["Y"]), float(one.attrib["X"])) for one in region.iter("Vertex")]
        if len(corners) > 2:
            rows, columns = np.array(corners).T - 0.5  # pixel i spans [i, i + 1)
            instances[polygon(rows, columns, shape)] = number
    return instances


def mask_instances(diameter: float) -> Reader:
    """A reader for binary masks, which are split by a watershed."""

    def read(path: Path, shape: tuple[int, int]) -> Map:
        with Image.open(path) as picture:
            mask = np.asarray(picture)
        return split_foreground((mask if mask.ndim == 2 else mask[..., :3].max(2)) > 0, diameter)

    return read


def mat_points(path: Path, shape: tuple[int, int]) -> Map:
    """``detection`` of a MATLAB file: x and y, starting at 1."""
    found = _matlab(path, "detection").astype(float).reshape(-1, 2)
    return discs(found[:, ::-1] - 0.5, shape)


def csv_points(path: Path, shape: tuple[int, int]) -> Map:
    """The columns x and y, px."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return discs([(float(row["y"]), float(row["x"])) for row in csv.DictReader(file)], shape)


def discs(points: Sequence[tuple[float, float]] | NDArray[np.float64], shape: tuple[int, int]) -> Map:
    """An instance map with a disc per point, (M, 2) (y, x)."""
    numbers = np.arange(1, len(points) + 1)
    return disc_targets(np.reshape(points, (-1, 2)), numbers, POINT_DIAMETER, shape, gap=False).astype(
        np.int32
    )


@dataclass(frozen=True)
class FolderLayout:
    """The position and format of annotations relative to images.

    Attributes
    ----------
    folder : str
        Name of the image's folder, in lower case, that is replaced by ``other``; "" for the same folder.
    other : str
    ending : str
        Suffix of the annotation after the image's stem.
    read : Reader
    grouped : bool
        Whether images of a folder are of one patient or slide and stay in one split.
    """

    folder: str
    other: str
    ending: str
    read: Reader
    grouped: bool = False

    def annotation(self, picture: Path) -> Path | None:
        """The annotation of an image, if it exists."""
        name, place = picture.parent.name, picture.parent
        if self.folder:
            if not name.lower().startswith(self.folder):
                return None
            place = picture.parent.with_name(self.other + name[len(self.folder) :])
        found = place / f"{picture.stem}{self.ending}"
        return found if found.is_file() and found != picture else None


LAYOUTS = (
    FolderLayout("images", "Labels", ".mat", mat_instances),
    FolderLayout("", "", "_mask.txt", text_instances),
    FolderLayout("tissue images", "Annotations", ".xml", aperio_instances),
    FolderLayout("", "", ".xml", aperio_instances),
    FolderLayout("slide_", "GT_", ".png", mask_instances(TNBC_DIAMETER), grouped=True),
    FolderLayout("images", "masks", ".png", mask_instances(WBC_DIAMETER)),
    FolderLayout("", "", "_detection.mat", mat_points),
    FolderLayout("", "", ".csv", csv_points, grouped=True),
)


@dataclass(frozen=True)
class AnnotatedPicture:
    """An image with its annotation."""

    picture: Path
    annotation: Path
    layout: FolderLayout

    def read(self, root: Path) -> Tile:
        """
        Raises
        ------
        CohortError
            If either file cannot be read, or they do not fit.
        """
        try:
            with Image.open(self.picture) as picture:
                image = np.asarray(picture.convert("RGB"))
            instances = self.layout.read(self.annotation, (image.shape[0], image.shape[1]))
        except (OSError, ValueError, KeyError, SyntaxError, TypeError) as error:
            raise CohortError(f"{self.annotation} or its picture cannot be read: {error}") from error
        if instances.shape != image.shape[:2]:
            raise CohortError(
                f"{self.annotation} is of shape {instances.shape}, its picture of {image.shape[:2]}"
            )
        return Tile(self.picture.relative_to(root).with_suffix("").as_posix(), image, instances)

    @property
    def group(self) -> str:
        return str(self.picture.parent if self.layout.grouped else self.picture)

    def part(self, root: Path) -> str:
        """``test``, ``val`` or ``train`` by the names of the folders below the root, else empty."""
        names = [name.lower() for name in self.picture.relative_to(root).parts[:-1]]
        told = {"val": "valid"}
        parts = ("test", "val", "train")
        return next((p for p in parts if any(told.get(p, p) in name or name == p for name in names)), "")


def entries(root: Path) -> Iterator[AnnotatedPicture]:
    """All images below a folder that have an annotation."""
    for picture in sorted(path for path in root.rglob("*") if has_ending(path, TILES)):
        for layout in LAYOUTS:
            if annotation := layout.annotation(picture):
                yield AnnotatedPicture(picture, annotation, layout)
                break


def read_split(root: Path, seed: int = SPLIT_SEED) -> dict[str, list[Tile]]:
    """Read a data set with the splits of the paper.

    Published test and validation images are used. If only test images are published, 30 % of the others are
    for validation; without any, the split is 60, 20 and 20 %. Images of one slide (TNBC) or patient (TIL)
    stay in one split.

    Raises
    ------
    CohortError
        If there are no images in a known layout, or too few to split.
    """
    found = list(entries(root))
    given = {part for entry in found if (part := entry.part(root)) in ("val", "test")}
    shares = {"val": VALIDATION if given else SHARES[1], "test": SHARES[2]}
    drawn = {name: share for name, share in shares.items() if name not in given}
    groups = list(dict.fromkeys(entry.group for entry in found if entry.part(root) not in given))
    if len(groups) <= len(drawn):
        raise CohortError(f"{root} holds too few annotated images of a known layout; give another --data")
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    split_of = dict.fromkeys(order, "train")
    for name, share in drawn.items():
        for _ in range(max(1, round(share * len(groups)))):
            split_of[order.pop()] = name
    split: dict[str, list[Tile]] = {"train": [], "val": [], "test": []}
    for entry in found:
        part = entry.part(root)
        split[part if part in given else split_of[entry.group]].append(entry.read(root))
    return split
