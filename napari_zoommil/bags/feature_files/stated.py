"""What a feature file states about its patches of one magnification, in the units of the tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.hdf5 import dataset, opened
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import Pair

Unit = Literal["px", "µm", "patch"]
"""Of coordinates: level-0 px; µm from the slide's corner; or edges of a patch, from the corner of the slide
after it was padded to whole patches of the lowest magnification, evenly on both sides (ZoomMIL)."""

MOST_PX = 10_000_000
"""Extent in px, µm or patches that no slide has: at 100x a glass slide is less than a million px long."""

MAGNIFICATIONS = (0.01, 1000.0)
"""The lowest and the highest magnification that are believed."""

ROWS = 4096
"""Rows that are checked at once."""


@dataclass(frozen=True, eq=False)
class Stated:
    """Patches of one magnification as a file holds them.

    Attributes
    ----------
    path : Path
    tool : str
    features : str
        Name of the dataset.
    count, width : int
        Patches, and values per patch.
    coordinates : (N, 2) float64
        Top-left corners, y and x.
    unit : {"px", "µm", "patch"}
    size : (float, float) or None
        Edge of a patch, y and x, in that unit.
    step : (float, float) or None
        Distance between neighbours; None where the file does not state it.
    patch_size : int or None
        Edge of a patch in its own pixels.
    magnification : float or None
    shape : (int, int) or None
        Level-0 extent of the slide, px.
    encoder, encoder_hash : str
        Empty where they are not stated.
    lowest : float
        Lowest magnification in the file, which ZoomMIL's padding depends on.
    """

    path: Path
    tool: str
    features: str
    count: int
    width: int
    coordinates: NDArray[np.float64]
    unit: Unit
    size: Pair
    step: Pair | None
    patch_size: int | None
    magnification: float | None
    shape: tuple[int, int] | None = None
    encoder: str = ""
    encoder_hash: str = ""
    lowest: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that no slide has.

        Raises
        ------
        FeatureFileError
        """
        require_within(self.path, "edges of patches", (*self.size, self.patch_size), 1, MOST_PX)
        require_within(self.path, "a magnification", (self.magnification,), *MAGNIFICATIONS)
        require_within(self.path, "a slide", self.shape or (), 1, MOST_PX)
        if len(self.coordinates):
            ends = (float(self.coordinates.min()), float(self.coordinates.max()))
            require_within(self.path, "coordinates", ends, -MOST_PX, MOST_PX)

    def __len__(self) -> int:
        return self.count

    def bare(self) -> Stated:
        """The same without the coordinates, which take memory."""
        return replace(self, coordinates=np.empty((0, 2)))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, D) features of some rows of the file.

        Raises
        ------
        FeatureFileError
            If they cannot be read, or are not finite.
        """
        with opened(self.path) as file:
            values = _rows_of(_still_there(self, file), rows)
        return finite(self.path, rows, values)

    def check(self) -> Iterator[int]:
        """Read all features in pieces; yields the number of rows read so far.

        Raises
        ------
        FeatureFileError
            If they cannot be read, or are not finite.
        """
        with opened(self.path) as file:
            own = _still_there(self, file)
            for start in range(0, len(self), ROWS):
                end = min(start + ROWS, len(self))
                finite(self.path, np.arange(start, end), own[start:end].astype(np.float32))
                yield end


def require_within(path: Path, what: str, values: Iterable[float | None], least: float, most: float) -> None:
    """Refuse numbers outside a range; None is not known, and passes.

    Raises
    ------
    FeatureFileError
    """
    for value in values:
        if value is not None and not least <= value <= most:
            raise FeatureFileError(
                f"{path.name} states {what} of {value:g}, which is not in the range from {least:g} to "
                f"{most:g}; extract its features again"
            )


def _still_there(stated: Stated, file: h5py.File) -> h5py.Dataset:
    own = dataset(file, stated.features)
    if own is None or own.shape != (len(stated), stated.width):
        raise FeatureFileError(f"{stated.path.name} has changed since it was opened; start again")
    return own


def _rows_of(own: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows in any order; many of them are read as one piece, since h5py picks rows slowly."""
    wanted, places = np.unique(rows, return_inverse=True)
    if not len(wanted):
        return np.empty((0, own.shape[1]), np.float32)
    first, last = int(wanted[0]), int(wanted[-1]) + 1
    is_dense = len(wanted) * 8 >= last - first
    found = own[first:last][wanted - first] if is_dense else own[wanted]
    return found[places].astype(np.float32)


def finite(path: Path, rows: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values, if all are numbers.

    Raises
    ------
    FeatureFileError
    """
    good = np.isfinite(values).all(1)
    if not good.all():
        raise FeatureFileError(
            f"{path.name} has features that are NaN or infinite (row {int(rows[~good][0])}); extract the "
            "features of this slide again"
        )
    return values


def features_of(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset of features, (N, D) of numbers.

    Raises
    ------
    FeatureFileError
        If there is none, it has no rows, or another shape or type.
    """
    found = dataset(file, name)
    if found is None:
        raise FeatureFileError(f"{path.name} has no dataset {name!r}; extract its features again")
    if found.dtype.kind not in "fiu":
        raise FeatureFileError(f"{path.name}: {name} holds {found.dtype}, not numbers; extract them again")
    if found.ndim == 1:
        raise FeatureFileError(
            f"{path.name} holds one vector for the whole slide; give the features of its patches instead"
        )
    if found.ndim == 4:
        raise FeatureFileError(
            f"{path.name} holds pixels of patches and not their features; run the extraction of features"
        )
    if found.ndim != 2 or not found.shape[1]:
        raise FeatureFileError(
            f"{path.name}: {name} has the shape {found.shape}, not one row of values per patch"
        )
    if not found.shape[0]:
        raise FeatureFileError(f"{path.name} has no patches; check that tissue was found on the slide")
    return found


def coordinates_of(path: Path, file: h5py.File, name: str, count: int) -> NDArray[np.float64]:
    """The (N, 2) coordinates of the patches, x and y as all these tools store them, turned to y and x.

    Raises
    ------
    FeatureFileError
        If there are none, they are not of ``count`` patches, or two patches lie on the same place.
    """
    found = dataset(file, name)
    if found is None:
        raise FeatureFileError(
            f"{path.name} has no coordinates (dataset {name!r}), so that its features belong to no place; "
            "extract them again"
        )
    if found.shape != (count, 2) or found.dtype.kind not in "fiu":
        raise FeatureFileError(
            f"{path.name}: {name} has the shape {found.shape} of {found.dtype}, not x and y of {count} "
            "patches"
        )
    return checked_places(path, found[:].astype(np.float64)[:, ::-1])


def checked_places(path: Path, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) places, if all are finite and different.

    Raises
    ------
    FeatureFileError
    """
    if not np.isfinite(places).all():
        raise FeatureFileError(f"{path.name} has coordinates that are no numbers; extract its features again")
    _, first, counts = np.unique(places, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        y, x = places[first[counts > 1][0]]
        raise FeatureFileError(
            f"{path.name} has {int((counts - 1).sum())} patches twice (the first at x {x:g}, y {y:g}), which "
            "would count twice; keep one of each"
        )
    return np.ascontiguousarray(places)
