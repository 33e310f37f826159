"""How well ZoomMIL's attention finds the known region of a slide, at each magnification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_average_precision

from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.bags.bag import Bag
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.maps.agreement import attention_agreement, coverage
from napari_zoommil.models.mil import MILModel
from napari_zoommil.slides import Slide
from napari_zoommil.slides.slide import stem_of

COVERED = 0.5
"""Least share of a patch within the region for it to count as one of the region."""


@dataclass(frozen=True)
class MapNumbers:
    """One map against the region.

    Attributes
    ----------
    magnification : float
    head : str
        ``attention`` (for pooling) or ``zoom``.
    patches : int
        Patches that the model read there.
    inside : float
        Share of the softmax attention within the region.
    expected : float
        The same for even attention.
    precision : float or None
        Average precision of the attention for patches of the region; None without such patches, or if all
        are.
    chance : float
        That of random scores: the share of such patches.
    """

    magnification: float
    head: str
    patches: int
    inside: float
    expected: float
    precision: float | None
    chance: float


@dataclass(frozen=True, eq=False)
class SlideMaps:
    """A prediction of a slide with the region that is known on it.

    Attributes
    ----------
    grid : PatchGrid
    predicted, label : str
    rows : tuple of (n,) int64
        Patches that were read at each magnification.
    scores : tuple of (n, H) float32
    heads : tuple of str
    outline : tuple of shapely.Polygon
        Level-0 y and x, with holes; empty without a region.
    """

    grid: PatchGrid
    predicted: str
    label: str
    rows: tuple[Rows, ...]
    scores: tuple[NDArray[np.float32], ...]
    heads: tuple[str, ...]
    outline: tuple[shapely.Polygon, ...]

    @property
    def right(self) -> bool:
        return self.predicted == self.label

    def numbers(self) -> list[MapNumbers]:
        """Of each head at each magnification; none without a region."""
        if not self.outline:
            return []
        found = []
        for level, (rows, scores) in enumerate(zip(self.rows, self.scores, strict=True)):
            share = coverage(self.grid, level, rows, self.outline)
            for head, values in zip(self.heads, scores.T, strict=False):
                agreement = attention_agreement(self.grid, level, rows, values, self.outline)
                magnification = self.grid.magnifications[level]
                found.append(
                    MapNumbers(
                        magnification, head, len(rows), agreement.inside, agreement.expected,
                        average_precision(values, share >= COVERED), float((share >= COVERED).mean()),
                    )
                )  # fmt: skip
        return found

    def told(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "label": self.label,
            "predicted": self.predicted,
            "maps": [asdict(one) for one in self.numbers()],
        }


def average_precision(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> float | None:
    """Of scores for what is true; None unless some and not all are."""
    if truth.all() or not truth.any():
        return None
    return float(
        binary_average_precision(torch.from_numpy(scores.copy()), torch.from_numpy(truth.astype(int)))
    )


def maps_of(mil: MILModel, bag: Bag, label: str, outline: Sequence[shapely.Polygon]) -> SlideMaps:
    """Predict from stored features."""
    with torch.no_grad():
        output = mil(bag)
    return SlideMaps(
        bag.grid,
        mil.task.predicted(mil.task.link(output.logits).numpy()),
        label,
        tuple(step.rows for step in output.steps),
        tuple(step.scores.numpy() for step in output.steps),
        mil.heads,
        tuple(outline),
    )


def outline_beside(slide: Path) -> tuple[shapely.Polygon, ...]:
    """Polygons, level-0 y and x, of STEM.geojson; none if there is no such file, or no region in it.

    Raises
    ------
    SlideError
        If there are regions, but the slide cannot be opened.
    FileError
        If the file cannot be read.
    AnnotationError
        If it is malformed, or an outline in it is.
    """
    path = slide.with_name(f"{stem_of(slide)}.geojson")
    if not path.is_file():
        return ()
    with Slide.open(slide) as opened:
        origin = opened.origin
    return read_regions(path, origin=origin, needed=False)
