"""Training windows: pixels with what is annotated in them, around the points of a slide or of a tile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.augmentation import Placement
from napari_zoommil.cells.boxes import as_points, instance_boxes, point_boxes
from napari_zoommil.cells.targets import NOT_ANNOTATED, disc_targets, instance_targets, region_mask
from napari_zoommil.errors import AnnotationError
from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CORE = 0.75
"""Share of a window's edge within which a point counts as covered: at the rim it lacks surroundings."""


@dataclass(frozen=True, eq=False)
class Window:
    """Pixels and targets; cells in px of the window.

    Attributes
    ----------
    image : (h, w, 3) uint8
    dense : (h, w) int64
        Target per pixel: 0, 1, 2, … or −1.
    boxes : (M, 4)
        Of annotated cells that are centred in it.
    labels : (M,) int64
        Their classes, from 1.
    complete : (h, w) bool
        Where every cell is annotated.
    origin : (int, int)
        Its corner among the windows of a slide, px.
    """

    image: RGB
    dense: Labels
    boxes: Floats
    labels: Labels
    complete: NDArray[np.bool_]
    origin: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        return self.dense.shape[0], self.dense.shape[1]

    @property
    def centres(self) -> Floats:
        """(M, 2) of its cells."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def cropped(self, y: int, x: int, size: int) -> Window:
        """A square of it; boxes whose centres lie outside are left out."""
        part = np.s_[y : y + size, x : x + size]
        boxes, places = self.boxes - (y, x, y, x), self.centres - (y, x)
        inside = ((places >= 0) & (places < size)).all(1)
        return Window(
            self.image[part], self.dense[part], boxes[inside], self.labels[inside], self.complete[part]
        )

    def without(self, others: Sequence[Window]) -> Window:
        """As if nothing were known of what other windows of the slide show."""
        dense, complete, kept = self.dense.copy(), self.complete.copy(), np.ones(len(self.boxes), bool)
        for other in others:
            low = np.subtract(other.origin, self.origin)
            high = low + other.shape
            top, left, bottom, right = np.clip([*low, *high], 0, [*self.shape, *self.shape]).tolist()
            dense[top:bottom, left:right], complete[top:bottom, left:right] = NOT_ANNOTATED, False
            kept &= ((self.centres < low) | (self.centres >= high)).any(1)
        return Window(self.image, dense, self.boxes[kept], self.labels[kept], complete, self.origin)

    def placed(self, placement: Placement) -> Window:
        """Turned and flipped."""
        corners = placement.points(self.boxes.reshape(-1, 2), self.shape).reshape(-1, 2, 2)
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        apply = placement.apply
        return Window(apply(self.image), apply(self.dense), boxes, self.labels, apply(self.complete))


def window_of_instances(
    image: RGB, instances: NDArray[np.integer], keep: Collection[int] | None = None, complete: bool = False
) -> Window:
    """A tile with an instance map (h, w), of which only some instances are annotated."""
    boxes, numbers = instance_boxes(instances)
    kept = np.ones(len(numbers), bool) if keep is None else np.isin(numbers, list(keep))
    known = np.full(instances.shape, complete)
    dense = instance_targets(instances, keep, complete=complete)
    return Window(image, dense, boxes[kept], np.ones(int(kept.sum()), np.int64), known)


def windows_of_points(
    slide: Slide, points: Points, classes: Sequence[CellClass], mpp: float, size: int
) -> list[Window]:
    """Windows of ``size`` px at ``mpp`` µm/px that together show all points and complete regions.

    Parameters
    ----------
    slide : Slide
    points : Points
        Points of other classes than ``classes`` are not looked at.
    classes : sequence of CellClass
        Labels 1, 2, … of the windows.
    mpp : float
    size : int

    Raises
    ------
    AnnotationError
        If there is no point on the slide to train on.
    """
    origins, places, labels, regions = _planned(points, classes, slide.shape, slide.resolution(), mpp, size)
    if not len(places):
        raise AnnotationError(f"there are no points on {slide.name} to train on; mark a few cells first")
    diameters = np.array([one.diameter_um for one in classes])[labels - 1] / mpp
    return [_window(slide, origin, size, mpp, places, labels, diameters, regions) for origin in origins]


def count_windows(
    points: Points,
    classes: Sequence[CellClass],
    shape: tuple[int, int],
    resolution: Pair,
    mpp: float,
    size: int,
) -> int:
    """How many windows :func:`windows_of_points` would read of a slide, without reading it.

    Parameters
    ----------
    points, classes, mpp, size
        As there.
    shape : (int, int)
        Of the slide, level-0 px.
    resolution : (float, float)
        Of the slide, µm/px.
    """
    origins, places, _, _ = _planned(points, classes, shape, resolution, mpp, size)
    return len(origins) if len(places) else 0


def _planned(
    points: Points,
    classes: Sequence[CellClass],
    shape: tuple[int, int],
    resolution: Pair,
    mpp: float,
    size: int,
) -> tuple[list[tuple[int, int]], Floats, Labels, list[Floats]]:
    """Corners of the windows, then points with their labels, and regions: px at ``mpp``."""
    scale = np.array([resolution[0] / mpp, resolution[1] / mpp])
    label_of = {one.name: number for number, one in enumerate(classes, 1)}
    labels = np.array([label_of.get(points.classes[label - 1].name, 0) for label in points.labels], np.int64)
    used = (labels > 0) & ~points.outside(shape)
    places = points.coordinates[used] * scale
    regions = [polygon * scale for polygon in points.complete.values()]
    return window_origins(places, regions, size), places, labels[used], regions


def hold_out(windows: Sequence[Window], share: float, seed: int) -> tuple[list[Window], list[Window]]:
    """Windows to train on, and a share of them that watches the training: what these show is not known to
    the others, and a window of which nothing is left goes."""
    order = np.random.default_rng(seed).permutation(len(windows))
    count = round(share * len(windows))
    watching = [windows[i] for i in order[:count]]
    training = [windows[i].without(watching) for i in order[count:]]
    return [one for one in training if (one.dense != NOT_ANNOTATED).any()], watching


def window_origins(places: ArrayLike, regions: Sequence[Floats], size: int) -> list[tuple[int, int]]:
    """Corners, px, of few windows that cover all points and regions: around the first point that none
    covers, again and again; regions are tiled."""
    origins: list[tuple[int, int]] = []
    for region in regions:
        low, high = region.min(0), region.max(0)
        counts = np.maximum(np.ceil((high - low) / size).astype(int), 1)
        start = (low + high - counts * size) / 2
        for row, column in np.ndindex(*counts):
            y, x = np.rint(start + np.array([row, column]) * size).astype(int).tolist()
            if region_mask([region - (y, x)], (size, size)).any():
                origins.append((y, x))
    missing = as_points(places)
    for y, x in origins:
        missing = missing[~_covered(missing, (y, x), size, 1)]
    while len(missing):
        y, x = np.rint(missing[0] - size / 2).astype(int).tolist()
        origins.append((y, x))
        missing = missing[~_covered(missing, (y, x), size, CORE)]
    return origins


def _covered(places: Floats, origin: tuple[int, int], size: int, core: float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.abs(places - origin - size / 2) <= core * size / 2
    return np.logical_and(inside[:, 0], inside[:, 1])


def _window(
    slide: Slide,
    origin: tuple[int, int],
    size: int,
    mpp: float,
    places: Floats,
    labels: Labels,
    diameters: Floats,
    regions: Sequence[Floats],
) -> Window:
    own: Pair = slide.resolution()
    image = slide.read(origin[0] * mpp / own[0], origin[1] * mpp / own[1], size, size, mpp)
    complete = region_mask([region - origin for region in regions], (size, size))
    # Discs reach into the window from outside, boxes answer for what is centred in it.
    near = _covered(places, origin, size, 1 + 2 * float(diameters.max()) / size)
    dense = disc_targets(places[near] - origin, labels[near], diameters[near], (size, size), complete)
    inside = _covered(places, origin, size, 1)
    boxes = point_boxes(places[inside] - origin, diameters[inside])
    return Window(image, dense, boxes, labels[inside], complete, origin)
