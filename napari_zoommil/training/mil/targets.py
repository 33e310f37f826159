"""Patch targets from points and complete regions, and the choice of training patches of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.annotations import Points
from napari_zoommil.annotations.regions import union_of
from napari_zoommil.bags.subgrid import roots, tree_sizes
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.geometry import PatchGrid, PatchLevel, Rows

Targets = tuple[NDArray[np.int64], ...]

ANNOTATED, NOT_ANNOTATED, BACKGROUND = 1, 0, -1


@dataclass(frozen=True, eq=False)
class Marks:
    """The points of a document as annotations for a MIL model.

    Attributes
    ----------
    coordinates, others : (M, 2), (K, 2)
        Level-0 (y, x) of points that count as annotated, and of those that do not.
    classes : tuple of str
        Classes of the points that count.
    label : str or None
        Class of the slide, by its name in the model, if known.
    """

    coordinates: NDArray[np.float64]
    others: NDArray[np.float64]
    classes: tuple[str, ...]
    label: str | None


def classes_named(points: Points, class_names: Sequence[str]) -> dict[str, str]:
    """Classes that have points → the model's class of the same name, ignoring case."""
    known = {name.casefold(): name for name in class_names}
    used = (name for name, count in points.counts.items() if count)
    return {name: known[name.casefold()] for name in used if name.casefold() in known}


def marks_of(points: Points, class_names: Sequence[str], label: str | None) -> Marks:
    """Determine the points that count and the class of the slide.

    Raises
    ------
    ModelError
        If the model has no class ``label``.
    AnnotationError
        If there are no points, or the points have several classes of the model and no ``label`` is given.
    """
    known = {name.casefold(): name for name in class_names}
    names = np.array([points.classes[label - 1].name for label in points.labels], object)
    used = classes_named(points, class_names)
    if label is not None and label.casefold() not in known:
        raise ModelError(f"the model has no class {label}; choose one of {', '.join(class_names)}")
    if not len(names):
        raise AnnotationError("there are no points to train on; add a few first")
    if label is None and len(set(used.values())) > 1:
        raise AnnotationError(
            f"there are points of several classes of the model ({', '.join(used)}); "
            "state the class of the slide with --label"
        )
    truth = next(iter(used.values()), None) if label is None else known[label.casefold()]
    chosen = [name for name, of in used.items() if of == truth] or sorted(set(names))
    counted = np.isin(names, chosen)
    coordinates = np.asarray(points.coordinates, np.float64).reshape(-1, 2)
    return Marks(coordinates[counted], coordinates[~counted], tuple(chosen), truth)


def patch_targets(
    grid: PatchGrid, points: ArrayLike, complete: Sequence[ArrayLike] = (), others: ArrayLike = ()
) -> Targets:
    """Targets of all patches of a slide, magnification by magnification.

    Parameters
    ----------
    grid : PatchGrid
    points : (M, 2)
        Level-0 (y, x). Points outside all patches have no effect.
    complete : sequence of (n, 2)
        Complete regions: polygons, level-0 (y, x), in which everything is annotated.
    others : (K, 2)
        Points of other classes: a patch with such a point is not known background.

    Returns
    -------
    tuple of (n,) int64
        1 = contains a point; −1 = known background, a patch in complete regions without points;
        0 = not annotated.
    """
    return tuple(_level_targets(level, _pairs(points), complete, _pairs(others)) for level in grid.levels)


def _level_targets(
    level: PatchLevel, points: NDArray, complete: Sequence[ArrayLike], others: NDArray
) -> NDArray[np.int64]:
    targets = np.full(len(level), NOT_ANNOTATED, np.int64)
    if len(complete):
        y, x = level.origins.T
        boxes = shapely.box(y, x, y + level.size[0], x + level.size[1])
        targets[shapely.contains(union_of(map(np.asarray, complete)), boxes)] = BACKGROUND
    targets[rows_of(level, others)] = NOT_ANNOTATED
    targets[rows_of(level, points)] = ANNOTATED
    return targets


def rows_of(level: PatchLevel, points: NDArray) -> Rows:
    """(m,) rows of the patches that contain any of (M, 2) level-0 points, ascending and unique."""
    return np.unique(level.covering(points)[1])


def _pairs(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, np.float64).reshape(-1, 2)


def choose_trees(
    grid: PatchGrid, targets: Targets, looked_at: Rows, patches: int, rng: np.random.Generator
) -> Rows:
    """Choose patches of the lowest magnification for training, each with all its descendants.

    All patches with points are chosen, and about as many others at least. Up to half of the others are
    known background and patches that the model zooms into; the rest is drawn at random from the slide.

    Parameters
    ----------
    grid, targets
    looked_at : (m,) int64
        Rows at the lowest magnification that the model zooms into.
    patches : int
        Largest number of patches of all magnifications, unless those with points are more than half of it.
    rng : numpy.random.Generator

    Returns
    -------
    (n,) int64, ascending
    """
    pointed, known = (
        np.unique(np.concatenate([roots(grid, n, np.flatnonzero(t == kind)) for n, t in enumerate(targets)]))
        for kind in (ANNOTATED, BACKGROUND)
    )
    sizes = tree_sizes(grid)
    room = max(patches - sizes[pointed].sum(), sizes[pointed].sum())
    others = np.setdiff1d(np.arange(len(sizes)), pointed)
    wanted = rng.permutation(np.setdiff1d(np.union1d(known, looked_at), pointed))
    first = _fitting(wanted, sizes, room // 2)
    rest = rng.permutation(np.setdiff1d(others, first))
    return np.sort(np.concatenate([pointed, first, _fitting(rest, sizes, room - sizes[first].sum())]))


def _fitting(order: Rows, sizes: NDArray[np.int64], room: int) -> Rows:
    """The longest prefix of ``order`` whose sizes fit into ``room``."""
    return order[np.cumsum(sizes[order]) <= room]
