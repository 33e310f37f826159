"""Points and complete regions as targets per patch, and the part of a slide that is learnt from."""

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
    """What the points of a document say to a MIL model.

    Attributes
    ----------
    coordinates, others : (M, 2), (K, 2)
        Level-0 y and x of points that count as annotated, and of those that do not.
    classes : tuple of str
        Whose points count.
    label : str or None
        Class of the slide as the model names it, if it is known.
    """

    coordinates: NDArray[np.float64]
    others: NDArray[np.float64]
    classes: tuple[str, ...]
    label: str | None


def classes_named(points: Points, class_names: Sequence[str]) -> dict[str, str]:
    """Classes that have points → the model's class of that name, whatever their case."""
    known = {name.casefold(): name for name in class_names}
    used = (name for name, count in points.counts.items() if count)
    return {name: known[name.casefold()] for name in used if name.casefold() in known}


def marks_of(points: Points, class_names: Sequence[str], label: str | None) -> Marks:
    """Which points count, and which class the slide has.

    Raises
    ------
    ModelError
        If the model knows no class ``label``.
    AnnotationError
        If there is no point, or points are of several classes of the model and ``label`` does not decide.
    """
    known = {name.casefold(): name for name in class_names}
    names = np.array([points.classes[label - 1].name for label in points.labels], object)
    used = classes_named(points, class_names)
    if label is not None and label.casefold() not in known:
        raise ModelError(f"the model tells {', '.join(class_names)} apart, not {label}; choose one of these")
    if not len(names):
        raise AnnotationError("there are no points to train on; mark a few places first")
    if label is None and len(set(used.values())) > 1:
        raise AnnotationError(
            f"there are points of several classes of the model ({', '.join(used)}); "
            "say with --label which of them the slide is"
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
        Level-0 y and x. Those on no patch teach nothing.
    complete : sequence of (n, 2)
        Polygons, level-0 y and x, in which everything is annotated.
    others : (K, 2)
        Points of other classes: a patch that holds one is not known to be background.

    Returns
    -------
    tuple of (n,) int64
        1 = holds a point; −1 = known background, a patch that lies within complete regions and holds none;
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
    """(m,) rows of the patches that hold any of (M, 2) level-0 points, ascending and each once."""
    return np.unique(level.covering(points)[1])


def _pairs(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, np.float64).reshape(-1, 2)


def choose_trees(
    grid: PatchGrid, targets: Targets, looked_at: Rows, patches: int, rng: np.random.Generator
) -> Rows:
    """Patches of the lowest magnification to learn from, each with all patches inside it.

    Those that hold points are all among them, and about as many patches beside them at least. Up to half of
    the room beside them goes to known background and to what the model zooms into, the rest is drawn at
    random from the whole slide.

    Parameters
    ----------
    grid, targets
    looked_at : (m,) int64
        Rows at the lowest magnification that the model zooms into.
    patches : int
        To stay below in all magnifications together, unless points lie in more than half of that.
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
    """As many of the first as there is room for."""
    return order[np.cumsum(sizes[order]) <= room]
