"""Which patches of a slide an encoder is trained on: random ones with a neighbour each, or of labelled
regions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_zoommil.annotations.feature import Kind
from napari_zoommil.annotations.geojson import faults_of
from napari_zoommil.annotations.reading import read_content
from napari_zoommil.annotations.regions import union_of
from napari_zoommil.errors import CohortError
from napari_zoommil.files import ANNOTATIONS
from napari_zoommil.geometry import Pair, PatchLevel, Rows

EIGHT = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))

LEAST_INSIDE = 0.5
"""Share of a patch that the regions of a class cover to be its label."""


@dataclass(frozen=True)
class Annotated:
    """Where labels are from.

    Attributes
    ----------
    folder : Path, optional
        Folder of the annotation files, named as the slides; beside the slides by default.
    rest : str, optional
        Class of tissue outside all regions; without one it has no label.
    """

    folder: Path | None = None
    rest: str | None = None

    def regions(self, slide: Path, stem: str, origin: Pair) -> dict[str, shapely.Geometry]:
        """The area of each class on a slide, level-0 (y, x); regions without a class are left out.

        Outlines that cannot be read are left out too, which a warning says. ``origin`` is
        :attr:`~napari_zoommil.slides.Slide.origin`.

        Raises
        ------
        FileError, AnnotationError
            If the file cannot be read.
        CohortError
            If there is none.
        """
        folder = self.folder or slide.parent
        found = [folder / f"{stem}{ending}" for ending in ANNOTATIONS]
        path = next((one for one in found if one.is_file()), None)
        if path is None:
            raise CohortError(
                f"{slide.name} has no annotation file {stem}.geojson, .json or .xml in {folder}; supervised "
                "training of slides needs regions with classes"
            )
        areas: dict[str, list[shapely.Polygon]] = {}
        content = read_content(path, origin)
        if faults := faults_of(content):
            warnings.warn(f"{path.name}: {faults}", stacklevel=2)
        for feature in content.features:
            if feature.kind is Kind.REGION and feature.class_name and not feature.fault:
                areas.setdefault(feature.class_name, []).extend(feature.polygons)
        return {name: union_of(polygons) for name, polygons in areas.items()}


def labels_of(
    level: PatchLevel, regions: Mapping[str, shapely.Geometry], rest: str | None, classes: Sequence[str]
) -> NDArray[np.int64]:
    """(n,) class of each patch: that which covers most of it, at least :data:`LEAST_INSIDE`; −1 for none.

    With ``rest``, patches that no region touches are of that class.
    """
    y, x = level.origins.T
    boxes = shapely.box(y, x, y + level.size[0], x + level.size[1])
    shares = np.zeros((len(level), len(classes)))
    touched = np.zeros(len(level), bool)
    for name, area in regions.items():
        near = np.flatnonzero(shapely.intersects(area, boxes))
        cut = shapely.area(shapely.intersection(area, boxes[near]))
        touched[near[cut > 0]] = True
        if name in classes:
            shares[near, classes.index(name)] = cut / (level.size[0] * level.size[1])
    found = np.where(shares.max(1) >= LEAST_INSIDE, shares.argmax(1), -1)
    if rest is not None:
        found[~touched] = classes.index(rest)
    return found.astype(np.int64)


def balanced(labels: Sequence[NDArray[np.int64]], count: int, rng: np.random.Generator) -> list[Rows]:
    """At most ``count`` labelled patches of several slides: of each class the same number, and within a class
    of each slide, as far as there are enough.

    Parameters
    ----------
    labels : sequence of (n,) int64
        Of the patches of each slide.
    count : int
        Of all slides together.
    rng : Generator

    Returns
    -------
    list of (k,) int64
        Rows of each slide, ascending.
    """
    classes = max((int(one.max(initial=-1)) for one in labels), default=-1) + 1
    counts = [np.bincount(one[one >= 0], minlength=classes) for one in labels]
    there = np.array(counts, np.int64).reshape(len(labels), classes)
    wanted = np.zeros_like(there)
    for number, most in enumerate(_alike(there.sum(0), count)):
        wanted[:, number] = _alike(there[:, number], int(most))
    return [
        np.sort(
            np.concatenate(
                [rng.permutation(np.flatnonzero(own == one))[:most] for one, most in enumerate(row)]
                or [np.empty(0, np.int64)]
            )
        )
        for own, row in zip(labels, wanted.tolist(), strict=True)
    ]


def _alike(there: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many to take of each of so many things, ``count`` in all: the same number, as far as there are
    enough."""
    taken, left = np.zeros_like(there), count
    for number, which in enumerate(np.argsort(there, kind="stable")):
        taken[which] = min(int(there[which]), left // (len(there) - number))
        left -= int(taken[which])
    return taken


def with_neighbours(lattice: NDArray[np.int64], count: int, rng: np.random.Generator) -> Rows:
    """About ``count`` patches, half of them drawn at random, and of each one that is beside it; ascending.

    Parameters
    ----------
    lattice : (n, 2) int
        Row and column of each patch.
    count : int
    rng : Generator
    """
    places = {(int(y), int(x)): row for row, (y, x) in enumerate(lattice)}
    chosen: set[int] = set()
    for row in rng.permutation(len(lattice)):
        if len(chosen) >= count:
            break
        y, x = lattice[row]
        around = [places[y + a, x + b] for a, b in EIGHT if (y + a, x + b) in places]
        chosen.add(int(row))
        if around:
            chosen.add(int(rng.choice(around)))
    return np.array(sorted(chosen), np.int64)[:count] if chosen else np.empty(0, np.int64)
