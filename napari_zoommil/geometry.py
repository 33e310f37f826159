"""Magnification, resolution and nested patch grids: frozen dataclasses and pure functions.

Every coordinate is (y, x) in level-0 pixels and stays a float until it meets the pixel grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.errors import MagnificationError, OverlapError

Pair = tuple[float, float]

Rows = NDArray[np.int64]
"""Numbers of patches at one magnification, or of boxes: where they stand in an array."""

MICRONS_AT_1X = 10.0
"""Pixel size at 1x, in µm: the field's convention is 10x = 1 µm/px, 20x = 0.5, 40x = 0.25."""

NOMINAL_MAGNIFICATIONS = (0.625, 1.25, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)

MPP_TOLERANCE = 0.15
"""Relative difference up to which a measured resolution counts as its nominal magnification.

Scanners of "20x" are found between 0.44 and 0.55 µm/px, of "40x" between 0.22 and 0.28.
"""

MOST_OVERLAP = 0.9
"""Largest overlap of patches, of their edge: 100 times as many patches as without."""

ROUNDING = 1e-6
"""Level-0 px by which float rounding may shift the edge of a patch."""


def mpp_of(magnification: float) -> float:
    """Resolution in µm/px of a nominal magnification.

    Raises
    ------
    MagnificationError
        If there is no such magnification.
    """
    if not 0 < magnification < np.inf:
        raise MagnificationError(f"{magnification:g}x is not a magnification; give a number above 0")
    return MICRONS_AT_1X / magnification


def magnification_of(mpp: float) -> float:
    """Nominal magnification of a resolution in µm/px; the exact ratio where none is near."""
    exact = MICRONS_AT_1X / mpp
    nearest = min(NOMINAL_MAGNIFICATIONS, key=lambda nominal: abs(np.log(nominal / exact)))
    return nearest if abs(exact / nearest - 1) <= MPP_TOLERANCE else exact


def mpp_text(mpp: Pair) -> str:
    """A pixel size as width × height, or one number for square pixels: ``0.25 × 0.5 µm/px``."""
    y, x = (f"{value:.4g}" for value in mpp)
    return f"{x if x == y else f'{x} × {y}'} µm/px"


def magnification_name(magnification: float) -> str:
    """Name as written on objectives: ``1.25x``, ``20x``."""
    return f"{magnification:g}x"


def zoom_ratios(magnifications: tuple[float, ...]) -> tuple[int, ...]:
    """Integer ratio between each magnification and the one before it.

    Raises
    ------
    MagnificationError
        If there is none, one is not above 0, they do not rise, or a ratio is not an integer.
    """
    if not (magnifications and all(0 < magnification < np.inf for magnification in magnifications)):
        raise MagnificationError(f"give one magnification above 0 or more, not {magnifications}")
    ratios = []
    for low, high in pairwise(magnifications):
        ratio = high / low
        if ratio < 2 - 1e-6 or abs(ratio - round(ratio)) > 1e-6:
            raise MagnificationError(
                f"magnifications must rise by whole factors of 2 or more, "
                f"but {low:g}x → {high:g}x is a factor of {ratio:.3g}"
            )
        ratios.append(round(ratio))
    return tuple(ratios)


def overlap_px(overlap: float, patch_size: int, magnifications: tuple[float, ...]) -> int:
    """Overlap of neighbouring patches in their own px, given in px or, below 1, as a share of their edge.

    Raises
    ------
    OverlapError
        If there is no such overlap, or patches of several magnifications should be nested.
    """
    if not 0 <= overlap < np.inf or (overlap >= 1 and overlap % 1):
        raise OverlapError(f"an overlap of {overlap:g} is not possible; give whole px, or a share below 1")
    pixels = round(overlap * patch_size if overlap < 1 else overlap)
    if pixels > patch_size * MOST_OVERLAP:
        raise OverlapError(
            f"patches of {patch_size} px cannot overlap by {pixels} px; give at most "
            f"{int(patch_size * MOST_OVERLAP)} px"
        )
    if pixels and len(magnifications) > 1:
        raise OverlapError(
            "patches can overlap at one magnification only: at several, a patch would lie in up to four of "
            "the lower one and have no single parent to be zoomed into from; leave the overlap out, or give "
            "one magnification and a model of one"
        )
    return pixels


@dataclass(frozen=True)
class Box:
    """A rectangle in level-0 pixels."""

    y: float
    x: float
    height: float
    width: float


@dataclass(frozen=True, eq=False)
class PatchLevel:
    """The patches of one magnification, wherever they lie.

    Attributes
    ----------
    magnification : float
    mpp : float
        Resolution the patches are read at, µm/px.
    size : (float, float)
        Edge of a patch in level-0 pixels, y and x.
    stride : (float, float)
        Distance between neighbours in level-0 pixels, y and x: equal to ``size`` unless patches overlap.
    origins : (N, 2) float64
        Top-left corners, level-0 pixels.
    parent : (N,) int64
        Row of the patch one magnification lower that holds this one; −1 at the lowest. Ascending.
    tissue : (N,) float32
        Share of the patch that is tissue, 0 to 1.
    """

    magnification: float
    mpp: float
    size: Pair
    stride: Pair
    origins: NDArray[np.float64]
    parent: NDArray[np.int64]
    tissue: NDArray[np.float32]

    @classmethod
    def from_lattice(
        cls,
        magnification: float,
        mpp: float,
        stride: Pair,
        lattice: NDArray[np.int64],
        parent: NDArray[np.int64],
        tissue: NDArray[np.float32],
        size: Pair | None = None,
    ) -> PatchLevel:
        """Patches on a lattice that begins at the origin, given by (N, 2) rows and columns.

        They tile the plane unless their ``size`` is larger than the stride.
        """
        origins = lattice.astype(np.float64) * np.asarray(stride)
        return cls(magnification, mpp, size or stride, stride, origins, parent, tissue)

    def __len__(self) -> int:
        return len(self.origins)

    def chosen(self, rows: Rows, parent: Rows) -> PatchLevel:
        """Some of the patches, with other parents."""
        return replace(self, origins=self.origins[rows], parent=parent, tissue=self.tissue[rows])

    @cached_property
    def lattice(self) -> NDArray[np.int64]:
        """(N, 2) row and column of each patch where a patch at the origin has (0, 0).

        Exact for patches that tile the plane. Where all patches share an offset, it is left out of account;
        patches that lie on no common lattice get the nearest place, which may be that of another one.
        """
        if not len(self):
            return np.empty((0, 2), np.int64)
        first, stride = self.origins.min(0), np.asarray(self.stride)
        steps = np.rint((self.origins - first) / stride) + np.rint(first / stride)
        return steps.astype(np.int64)

    @cached_property
    def _buckets(self) -> tuple[NDArray[np.int64], Rows]:
        """Sorted numbers of the boxes, each as large as a patch, that patches begin in, and their rows."""
        boxes = np.floor((self.origins - self.origins.min(0)) / self.size).astype(np.int64)
        numbers = boxes[:, 0] * self._boxes_across + boxes[:, 1]
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    @cached_property
    def _boxes_across(self) -> int:
        """Boxes beside one another, and room for points beyond them."""
        extent = self.origins[:, 1].max() - self.origins[:, 1].min()
        return int(extent // self.size[1]) + 3

    def covering(self, points: ArrayLike) -> tuple[Rows, Rows]:
        """Which patches hold which points; near edges belong to a patch, far ones to its neighbour.

        Parameters
        ----------
        points : (M, 2)
            Level-0 y and x.

        Returns
        -------
        points, rows : (P,) int64
            Every pair of a point and a patch that holds it, by point and then by row.
        """
        where = np.asarray(points, np.float64).reshape(-1, 2) + ROUNDING
        if not len(self) or not len(where):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        numbers, order = self._buckets
        boxes = np.floor((where - self.origins.min(0)) / self.size)
        boxes = boxes.clip(-1, 2.0**31).astype(np.int64)
        found = []
        for back in ((0, 0), (0, 1), (1, 0), (1, 1)):  # a patch that holds a point began a patch ago at most
            there = boxes - back
            wanted = there[:, 0] * self._boxes_across + there[:, 1]
            inside = (there >= 0).all(1) & (there[:, 1] < self._boxes_across)
            starts = np.searchsorted(numbers, wanted, "left")
            counts = np.where(inside, np.searchsorted(numbers, wanted, "right") - starts, 0)
            found.append(np.stack([np.repeat(np.arange(len(where)), counts), order[ranges(starts, counts)]]))
        point, row = np.concatenate(found, 1)
        within = where[point] - self.origins[row]
        held = ((within >= 0) & (within < self.size)).all(1)
        first = np.lexsort((row[held], point[held]))
        return point[held][first], row[held][first]


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """Patches of ``patch_size`` px at each magnification, nested through explicit parents.

    Attributes
    ----------
    shape : (int, int)
        Level-0 extent of the slide, px.
    patch_size : int
        Edge of a patch in its own pixels; the same at every magnification (ZoomMIL, sec. 3.2).
    levels : tuple of PatchLevel
        From the lowest magnification to the highest.
    """

    shape: tuple[int, int]
    patch_size: int
    levels: tuple[PatchLevel, ...]

    @property
    def magnifications(self) -> tuple[float, ...]:
        return tuple(level.magnification for level in self.levels)

    @cached_property
    def ratios(self) -> tuple[int, ...]:
        """Lattice ratio between each level and the one before it."""
        return zoom_ratios(self.magnifications)

    @property
    def nbytes(self) -> int:
        """Of its arrays, and of the lattices, which are as large as the origins and made when needed."""
        return sum(2 * one.origins.nbytes + one.parent.nbytes + one.tissue.nbytes for one in self.levels)

    def children(self, level: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows at ``level + 1`` whose parents are ``rows``, grouped in the order of ``rows``."""
        parent = self.levels[level + 1].parent
        starts = np.searchsorted(parent, rows, "left")
        return ranges(starts, np.searchsorted(parent, rows, "right") - starts)

    def slots(self, level: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each patch inside its parent, raster order, 0 … ratio² − 1 (``level`` ≥ 1)."""
        ratio, patches = self.ratios[level - 1], self.levels[level]
        offsets = patches.origins[rows] - self.levels[level - 1].origins[patches.parent[rows]]
        inside = np.rint(offsets / np.asarray(patches.stride)).astype(np.int64).clip(0, ratio - 1)
        return inside[:, 0] * ratio + inside[:, 1]

    def row_at(self, level: int, y: float, x: float) -> int | None:
        """Row of the patch at ``level`` that covers a level-0 point, or None.

        Of patches that overlap there, the one whose middle is nearest.
        """
        patches = self.levels[level]
        rows = patches.covering((y, x))[1]
        if not len(rows):
            return None
        middles = patches.origins[rows] + np.asarray(patches.size) / 2
        return int(rows[np.hypot(*(middles - (y, x)).T).argmin()])


def ranges(starts: Rows, counts: Rows) -> Rows:
    """Runs of numbers one after the other: ``counts[0]`` from ``starts[0]`` on, and so forth."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def full_lattice(shape: tuple[int, int], stride: Pair) -> NDArray[np.int64]:
    """(N, 2) row and column of every patch of a lattice that touches the slide, raster order."""
    rows, columns = (int(np.ceil(extent / step - 1e-9)) for extent, step in zip(shape, stride, strict=True))
    return np.indices((rows, columns)).reshape(2, -1).T.astype(np.int64, order="C")


def child_lattice(
    lattice: NDArray[np.int64], ratio: int, shape: tuple[int, int], stride: Pair
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lattice places one magnification higher inside the given ones, and the row of each one's parent.

    Parameters
    ----------
    lattice : (N, 2) int64
    ratio : int
        Lattice ratio between the magnifications.
    shape, stride
        Level-0 extent of the slide and stride of the *higher* magnification; places that lie
        wholly outside the slide are left out.

    Returns
    -------
    lattice : (M, 2) int64
    parent : (M,) int64, ascending
    """
    offsets = np.indices((ratio, ratio)).reshape(2, -1).T
    fine = (lattice[:, None] * ratio + offsets).reshape(-1, 2)
    parent = np.repeat(np.arange(len(lattice)), ratio * ratio)
    inside = (fine * np.asarray(stride) < np.asarray(shape) - 1e-6).all(1)
    return fine[inside], parent[inside]
