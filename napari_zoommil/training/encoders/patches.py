"""Patches to train an encoder on: their pixels, where they are from, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.errors import CohortError

NO_LABEL = NO_NEIGHBOUR = -1

EIGHT = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))

PARTS = ("train", "val", "test")

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches of several images.

    Attributes
    ----------
    pixels : (n, p, p, 3) or (n, p, p, 1) uint8
        In memory, or mapped from a file.
    images : (n,) int64
        Number of the slide (or picture) that each patch is from.
    neighbours : (n,) int64
        Row of a patch that is beside it in the same image; −1 where there is none.
    labels : (n,) int64
        Class of each patch; −1 where it is not known.
    groups : (n,) int64
        Number of the patient that each patch is of.
    classes : tuple of str
        Names of the labels.
    """

    pixels: NDArray[np.uint8]
    images: Ints
    neighbours: Ints
    labels: Ints
    groups: Ints
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def edge(self) -> int:
        """p, px."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> Literal[1, 3]:
        """3, or 1 for grey."""
        return 1 if self.pixels.shape[3] == 1 else 3

    def rows(self, chosen: ArrayLike) -> PatchSet:
        """Some of the patches, in that order; neighbours that are not among them are none."""
        rows = np.flatnonzero(chosen) if np.asarray(chosen).dtype == bool else np.asarray(chosen, np.int64)
        run = bool(len(rows)) and bool((np.diff(rows) == 1).all())  # pixels of a run are not copied
        place_of: slice | Ints = slice(rows[0], rows[-1] + 1) if run else rows
        place = np.full(len(self) + 1, NO_NEIGHBOUR)  # the last stands for "none"
        place[rows] = np.arange(len(rows))
        return replace(
            self,
            pixels=self.pixels[place_of],
            images=self.images[rows],
            neighbours=place[self.neighbours[rows]],
            labels=self.labels[rows],
            groups=self.groups[rows],
        )

    @property
    def labelled(self) -> PatchSet:
        """Those whose class is known."""
        return self.rows(self.labels >= 0)


def patch_set(
    pixels: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    classes: Sequence[str] = (),
    images: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    neighbours: ArrayLike | None = None,
) -> PatchSet:
    """A set of patches out of arrays.

    Parameters
    ----------
    pixels : (n, p, p), (n, p, p, 1) or (n, p, p, 3) uint8
        Grey or RGB.
    labels : (n,) int, optional
        0, 1, …; −1 where the class is not known.
    classes : sequence of str, optional
        Names of the labels; their numbers by default.
    images : (n,) int, optional
        Image that each patch is from; each from one of its own by default.
    groups : (n,), optional
        Patients, by number or name; the images by default.
    neighbours : (n,) int, optional
        Row of a patch beside it in the same image, −1 for none; :func:`beside` finds them by place.

    Raises
    ------
    CohortError
        If the arrays are not such patches, or do not fit together.
    """
    array = np.asarray(pixels)
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[3] not in (1, 3) or not array.size:
        raise CohortError(
            f"patches are (n, p, p) or (n, p, p, 3) of uint8, not {array.shape} of {array.dtype}"
        )
    if array.shape[1] != array.shape[2]:
        raise CohortError(f"patches are square, not {array.shape[1]} × {array.shape[2]} px")
    count = len(array)
    of_image = np.arange(count) if images is None else _column(images, count, "images")
    label = np.full(count, NO_LABEL) if labels is None else _column(labels, count, "labels")
    beside_it = (
        np.full(count, NO_NEIGHBOUR) if neighbours is None else _column(neighbours, count, "neighbours")
    )
    if beside_it.max() >= count or beside_it.min() < NO_NEIGHBOUR:
        raise CohortError(f"neighbours are rows of the {count} patches, or {NO_NEIGHBOUR}")
    if label.min() < NO_LABEL or (classes and label.max() >= len(classes)):
        raise CohortError(f"labels are 0 to {len(classes) - 1}, or {NO_LABEL} where the class is not known")
    names = tuple(classes) or tuple(map(str, range(int(label.max()) + 1)))
    of_group = of_image if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    return PatchSet(array, of_image, beside_it, label, _column(of_group, count, "groups"), names)


def _column(values: Any, count: int, name: str) -> Ints:
    found = np.asarray(values).reshape(-1)
    if len(found) != count:
        raise CohortError(f"there are {count} patches, but {len(found)} {name}")
    return found.astype(np.int64)


def beside(images: ArrayLike, places: ArrayLike, seed: int = 0) -> Ints:
    """For each patch one that is beside it: a random one of up to eight.

    Parameters
    ----------
    images : (n,) int
    places : (n, 2) int
        Row and column of the patch in its image, in patches that do not overlap.
    seed : int

    Returns
    -------
    (n,) int64
        Its row; −1 where there is none.
    """
    of_image, at = np.asarray(images, np.int64), np.asarray(places, np.int64).reshape(-1, 2)
    low = at.min(0, initial=0) - 1
    extent = at.max(0, initial=0) + 2 - low
    numbers = (of_image * extent[0] + at[:, 0] - low[0]) * extent[1] + at[:, 1] - low[1]
    order = np.argsort(numbers, kind="stable")
    found = np.full((len(EIGHT), len(at)), NO_NEIGHBOUR)
    for which, (y, x) in enumerate(EIGHT):
        wanted = numbers + y * extent[1] + x
        place = np.searchsorted(numbers[order], wanted).clip(max=len(order) - 1)
        hit = numbers[order][place] == wanted
        found[which, hit] = order[place[hit]]
    chance = np.random.default_rng(seed).random(found.shape)
    chance[found == NO_NEIGHBOUR] = -1
    return found[chance.argmax(0), np.arange(len(at))]


@dataclass(frozen=True, eq=False)
class Source:
    """What an encoder is trained, validated and tested on."""

    train: PatchSet
    val: PatchSet
    test: PatchSet | None = None


def divided(
    patches: PatchSet, seed: int = 0, shares: tuple[float, float] = (0.15, 0.0), by_class: bool = False
) -> Source:
    """Patches divided by group, so that no patient is in two parts.

    Parameters
    ----------
    patches : PatchSet
    seed : int
    shares : (float, float)
        Of the groups that validate, at least one, and that test.
    by_class : bool
        Whether to take the groups of each class in these shares, by the most frequent class of a group.

    Raises
    ------
    CohortError
        If there are too few groups.
    """
    names, place = np.unique(patches.groups, return_inverse=True)
    kinds = [_kind(patches, name) if by_class else 0 for name in names]
    return by_part(patches, parts_of(kinds, seed, shares)[place])


def by_part(patches: PatchSet, part: NDArray[np.str_]) -> Source:
    """Patches by the part that each belongs to: train, val or test."""
    found = {name: patches.rows(part == name) for name in PARTS}
    return Source(found["train"], found["val"], found["test"] if len(found["test"]) else None)


def parts_of(kinds: Sequence[int], seed: int, shares: tuple[float, float]) -> NDArray[np.str_]:
    """(n,) train, val or test for each of n groups; the groups of a kind are divided in these shares.

    Raises
    ------
    CohortError
        If there are too few groups.
    """
    parts = np.full(len(kinds), "train")
    rng = np.random.default_rng(seed)
    for kind in sorted(set(kinds)):
        own = rng.permutation(np.flatnonzero(np.asarray(kinds) == kind))
        test = round(len(own) * shares[1]) or int(shares[1] > 0 and len(own) > 2)
        val = max(int(len(own) > test + 1), round(len(own) * shares[0]))
        parts[own[:test]], parts[own[test : test + val]] = "test", "val"
    if not {"train", "val"} <= set(parts):
        raise CohortError(
            f"patches are of {len(kinds)} group{'s' * (len(kinds) != 1)}, too few to train and validate on; "
            "give more patients, or say of which patient each patch is"
        )
    return parts


def _kind(patches: PatchSet, group: int) -> int:
    labels = patches.labels[patches.groups == group]
    known = labels[labels >= 0]
    return int(np.bincount(known).argmax()) if len(known) else NO_LABEL
