"""Training windows: pixels with targets, around the annotated points of a slide or of a tile."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.augmentation import Placement
from napari_zoommil.cells.boxes import as_points, instance_boxes, point_boxes
from napari_zoommil.cells.targets import NOT_ANNOTATED, disc_targets, instance_targets, region_mask
from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CORE = 0.75
"""Central fraction of a window's edge in which a point counts as covered; near the edge it lacks context."""

HELD_OUT = 0.2
"""Share of the windows that are held out for validation."""

LEAST_WINDOWS = 5
"""Least number of windows for holding some out; with fewer, all are used for training."""


@dataclass(frozen=True, eq=False)
class Window:
    """Pixels and targets of a window; coordinates are px of the window.

    Attributes
    ----------
    image : (h, w, 3) uint8
    dense : (h, w) int64
        Target per pixel: 0, 1, 2, … or −1.
    boxes : (M, 4)
        Boxes of annotated cells whose centres are in the window.
    labels : (M,) int64
        Their classes, 1, 2, …
    complete : (h, w) bool
        Where every cell is annotated.
    origin : (int, int)
        Top-left corner on the slide, px.
    rim : int
        Width of the border that is only context for the network, px.
    """

    image: RGB
    dense: Labels
    boxes: Floats
    labels: Labels
    complete: NDArray[np.bool_]
    origin: tuple[int, int] = (0, 0)
    rim: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.dense.shape[0], self.dense.shape[1]

    @property
    def centres(self) -> Floats:
        """(M, 2) centres of its cells."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def inner(self) -> Window:
        """The window without its rim."""
        if not self.rim:
            return self
        return self._part(self.rim, self.rim, *(edge - 2 * self.rim for edge in self.shape))

    def cropped(self, y: int, x: int, size: int) -> Window:
        """A square crop; boxes whose centres are outside are removed."""
        return self._part(y, x, size, size)

    def _part(self, y: int, x: int, height: int, width: int) -> Window:
        part = np.s_[y : y + height, x : x + width]
        boxes, places = self.boxes - (y, x, y, x), self.centres - (y, x)
        inside = ((places >= 0) & (places < (height, width))).all(1)
        origin = self.origin[0] + y, self.origin[1] + x
        seen, labels = (self.image[part], self.dense[part]), self.labels[inside]
        return Window(*seen, boxes[inside], labels, self.complete[part], origin)

    def without(self, others: Sequence[Window]) -> Window:
        """The window with everything that other windows of the slide show set to "not annotated"."""
        dense, complete, kept = self.dense.copy(), self.complete.copy(), np.ones(len(self.boxes), bool)
        for other in others:
            low = np.subtract(other.origin, self.origin) + other.rim
            high = low + other.shape - 2 * other.rim
            top, left, bottom, right = np.clip([*low, *high], 0, [*self.shape, *self.shape]).tolist()
            dense[top:bottom, left:right], complete[top:bottom, left:right] = NOT_ANNOTATED, False
            kept &= ((self.centres < low) | (self.centres >= high)).any(1)
        known = self.boxes[kept], self.labels[kept], complete
        return Window(self.image, dense, *known, self.origin, self.rim)

    def placed(self, placement: Placement) -> Window:
        """The window after a rotation and flip."""
        corners = placement.points(self.boxes.reshape(-1, 2), self.shape).reshape(-1, 2, 2)
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        apply = placement.apply
        return Window(apply(self.image), apply(self.dense), boxes, self.labels, apply(self.complete))


def window_of_instances(
    image: RGB, instances: NDArray[np.integer], keep: Collection[int] | None = None, complete: bool = False
) -> Window:
    """A window from a tile with an instance map (h, w), of which only some instances are annotated."""
    boxes, numbers = instance_boxes(instances)
    kept = np.ones(len(numbers), bool) if keep is None else np.isin(numbers, list(keep))
    known = np.full(instances.shape, complete)
    dense = instance_targets(instances, keep, complete=complete)
    return Window(image, dense, boxes[kept], np.ones(int(kept.sum()), np.int64), known)


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """Windows that together cover all points and complete regions of a slide, before they are read.

    Attributes
    ----------
    origins : tuple of (int, int)
        Their top-left corners, px; empty if there are no points.
    size, rim : int
        Their edge, and the width of the border that is only context for the network, px.
    mpp : float
        Resolution of all px, µm/px.
    places : (M, 2)
        Points on the slide, px.
    labels : (M,) int64
        Their classes, 1, 2, …
    diameters : (M,)
        Their cell diameters, px.
    regions : tuple of (n, 2)
        Complete regions, px.
    """

    origins: tuple[tuple[int, int], ...]
    size: int
    rim: int
    mpp: float
    places: Floats
    labels: Labels
    diameters: Floats
    regions: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def held_out(self) -> int:
        """Number of windows to hold out for validation."""
        return round(HELD_OUT * len(self)) if len(self) >= LEAST_WINDOWS else 0

    def read(self, slide: Slide) -> Iterator[Window]:
        """Read the windows one by one, on demand."""
        for origin in self.origins:
            yield self._window(slide, origin)

    def _window(self, slide: Slide, origin: tuple[int, int]) -> Window:
        own, size = slide.resolution(), self.size
        image = slide.read(origin[0] * self.mpp / own[0], origin[1] * self.mpp / own[1], size, size, self.mpp)
        complete = region_mask([region - origin for region in self.regions], (size, size))
        # Discs may extend into the window from outside; boxes need their centres in it.
        near = _covered(self.places, origin, size, 1 + 2 * float(self.diameters.max()) / size)
        discs = self.places[near] - origin, self.labels[near], self.diameters[near]
        dense = disc_targets(*discs, (size, size), complete)
        inside = _covered(self.places, origin, size, 1)
        boxes = point_boxes(self.places[inside] - origin, self.diameters[inside])
        return Window(image, dense, boxes, self.labels[inside], complete, origin, self.rim)


def plan_windows(
    points: Points,
    shape: tuple[int, int],
    resolution: Pair,
    mpp: float,
    size: int,
    rim: int = 0,
) -> WindowPlan:
    """Windows of ``size`` px at ``mpp`` µm/px that together cover all points and complete regions.

    Labels 1, 2, … are those of :func:`classes_of`.

    Parameters
    ----------
    points : Points
    shape : (int, int)
        Extent of the slide, level-0 px; points outside are left out.
    resolution : (float, float)
        Resolution of the slide, µm/px.
    mpp : float
    size, rim : int
        Points in the rim of a window count as not covered.
    """
    scale = np.array([resolution[0] / mpp, resolution[1] / mpp])
    used = ~points.outside(shape)
    places = points.coordinates[used] * scale
    present, labels = np.unique(points.labels[used], return_inverse=True)
    sizes = np.array([points.classes[label - 1].diameter_um / mpp for label in present])
    regions = tuple(polygon * scale for polygon in points.complete.values())
    found = window_origins(places, regions, size - 2 * rim) if len(places) else []
    origins = tuple((y - rim, x - rim) for y, x in found)
    diameters = sizes[labels] if len(labels) else np.empty(0)
    return WindowPlan(origins, size, rim, mpp, places, labels.astype(np.int64) + 1, diameters, regions)


def classes_of(points: Points, shape: tuple[int, int]) -> tuple[CellClass, ...]:
    """Classes with at least one point on a slide of ``shape``, level-0 px."""
    used = set(points.labels[~points.outside(shape)].tolist())
    return tuple(one for label, one in enumerate(points.classes, 1) if label in used)


def hold_out(windows: Sequence[Window], count: int, seed: int) -> tuple[list[Window], list[Window]]:
    """Split windows into training windows and ``count`` windows for validation. What the latter show is
    removed from the former, and windows without targets are dropped."""
    order = np.random.default_rng(seed).permutation(len(windows))
    watching = [windows[i] for i in order[:count]]
    training = [windows[i].without(watching) for i in order[count:]]
    return [one for one in training if (one.inner.dense != NOT_ANNOTATED).any()], watching


def window_origins(places: ArrayLike, regions: Sequence[Floats], size: int) -> list[tuple[int, int]]:
    """Top-left corners, px, of few windows that cover all points and regions (greedy: a window is placed
    around the first uncovered point until all are covered); regions are tiled."""
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
