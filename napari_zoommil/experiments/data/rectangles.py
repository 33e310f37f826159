"""NIC's synthetic images: digits of one class in a tilted rectangle, which is the label (Tellez et al., 2019,
sec. 4.1.1).

An image has two rectangles at random places: one tilted by 45 or 135 degrees, one horizontal or vertical.
All digits in a rectangle are of its class, all others of random classes; the class of the tilted one is the
label.

Not given in the paper, and decided here: both rectangles lie wholly inside the image and do not meet; their
classes differ; their long sides are drawn independently, uniform from the shortest to the longest; the short
side is ``aspect`` times the long one; a digit lies in a rectangle if its centre does; the digits' places are
distinct, and where digits overlap the brighter pixel counts; a rectangle may hold few digits, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from napari_zoommil.experiments.data.mnist import Digits

EDGE = 9
"""Edge of a digit, and of the patches that are encoded, px."""

CLASSES = 10
IMAGES = {"encoder": 2_500, "train": 16_875, "val": 5_625, "test": 25_000}
"""Of the paper: 22,500 for the CNN, of which 25 % are for validation."""

SPLIT_NUMBERS = {"encoder": 0, "train": 1, "val": 2, "test": 3}
TILTED, UPRIGHT = (45.0, 135.0), (0.0, 90.0)
TRIES = 1_000
"""Positions that are tried before the sizes are drawn again."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How images are made; the paper's by default.

    Attributes
    ----------
    size : int
        Edge of the image, px.
    density : float
        Digits per pixel of the image: 25,920 of 3,600 px.
    shortest, longest : float
        Limits of the long side, px.
    aspect : float
        Short side of a rectangle in its long one.
    aligned : bool
        Whether each digit fills a cell of a grid of 9 px instead of lying anywhere.
    """

    size: int = 3_600
    density: float = 0.002
    shortest: float = 36.0
    longest: float = 1_800.0
    aspect: float = 1 / 3
    aligned: bool = False

    def __post_init__(self) -> None:
        across = self.longest * (1 + self.aspect) / np.sqrt(2)
        if not 0 < self.shortest <= self.longest or not 0 < self.aspect <= 1:
            raise ValueError("the long side is more than 0, the aspect from 0 to 1")
        if self.size < EDGE or max(across, self.longest) > 0.75 * self.size:
            raise ValueError("two rectangles of the longest side do not fit into the image")
        if self.digits > (self.size // EDGE) ** 2:
            raise ValueError("there are more digits than cells of the grid")

    @property
    def digits(self) -> int:
        """Per image."""
        return round(self.density * self.size**2)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of digits of one class; angles turn from x towards y.

    Attributes
    ----------
    y, x : float
        Centre, px.
    long, short : float
        Sides, px.
    degrees : float
        Direction of the long side.
    label : int
    """

    y: float
    x: float
    long: float
    short: float
    degrees: float
    label: int

    def contains(self, y: Points, x: Points) -> NDArray[np.bool_]:
        """Whether points lie inside; their coordinates broadcast."""
        along, across = self._axes
        dy, dx = y - self.y, x - self.x
        inside: NDArray[np.bool_] = (abs(dy * along[0] + dx * along[1]) <= self.long / 2) & (
            abs(dy * across[0] + dx * across[1]) <= self.short / 2
        )
        return inside

    @property
    def corners(self) -> Points:
        """(4, 2) (y, x), in order."""
        along, across = self._axes
        signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
        return np.array(
            [(self.y, self.x) + a * along * self.long / 2 + b * across * self.short / 2 for a, b in signs]
        )

    @property
    def _axes(self) -> tuple[Points, Points]:
        turn = np.deg2rad(self.degrees)
        return np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])


@dataclass(frozen=True, eq=False)
class RectangleImage:
    """An image with its rectangles.

    Attributes
    ----------
    plan : Plan
    tilted, upright : Rectangle
    corners : (n, 2) int64
        (y, x) of the digits' top-left corners.
    classes : (n,) int64
        Class of each digit.
    images : (n, 9, 9) uint8
    """

    plan: Plan
    tilted: Rectangle
    upright: Rectangle
    corners: NDArray[np.int64]
    classes: NDArray[np.int64]
    images: NDArray[np.uint8]

    @property
    def label(self) -> int:
        return self.tilted.label

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """(size, size)."""
        canvas = np.zeros((self.plan.size,) * 2, np.uint8)
        at = np.arange(EDGE)
        ys, xs = self.corners[:, 0, None] + at, self.corners[:, 1, None] + at
        np.maximum.at(canvas, (ys[:, :, None], xs[:, None, :]), self.images)
        return canvas

    def mask(self, stride: int = EDGE, patch: int = EDGE) -> NDArray[np.bool_]:
        """Patches whose centre lies in the tilted rectangle, (rows, columns) of :func:`grid`."""
        at = grid(self.plan.size, stride, patch).astype(np.float64) + patch / 2
        return self.tilted.contains(at[:, None], at[None])

    def density(self, label: int | None = None, stride: int = EDGE, patch: int = EDGE) -> Points:
        """Digits whose centre lies in each patch, of one class or all, (rows, columns)."""
        chosen = self.classes == label if label is not None else np.ones(len(self.classes), bool)
        centres = self.corners[chosen] + EDGE / 2
        starts = grid(self.plan.size, stride, patch)
        inside = [(starts <= at[:, None]) & (at[:, None] < starts + patch) for at in centres.T]
        counts: Points = inside[0].astype(float).T @ inside[1].astype(float)
        return counts


def grid(size: int, stride: int, patch: int = EDGE) -> NDArray[np.int64]:
    """First pixel of the patches along an axis; all lie wholly inside."""
    return np.arange(0, size - patch + 1, stride)


class RectangleImages:
    """A data set; images are drawn when they are asked for. Labels are balanced: index modulo 10.

    Parameters
    ----------
    digits : Digits
        Of 9 px; all ten classes.
    plan : Plan
    count : int
    split : str
        ``encoder``, ``train``, ``val`` or ``test``.
    seed : int
    """

    def __init__(self, digits: Digits, plan: Plan, count: int, split: str, seed: int = 0) -> None:
        if digits.edge != EDGE:
            raise ValueError(f"digits must be of {EDGE} px")
        self.plan, self.count = plan, count
        self._key = (seed, SPLIT_NUMBERS[split])
        self._digits = digits
        self._of_class = [np.flatnonzero(digits.labels == number) for number in range(CLASSES)]
        self.labels = np.arange(count) % CLASSES

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[RectangleImage]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> RectangleImage:
        tilted, upright, rng = self._begun(index)
        corners = _places(self.plan, rng)
        y, x = (corners + EDGE / 2).T
        classes = rng.integers(CLASSES, size=len(corners))
        for one in (tilted, upright):
            classes[one.contains(y, x)] = one.label
        images = np.empty((len(corners), EDGE, EDGE), np.uint8)
        for number, own in enumerate(self._of_class):
            chosen = np.flatnonzero(classes == number)
            images[chosen] = self._digits.images[own[rng.integers(len(own), size=len(chosen))]]
        return RectangleImage(self.plan, tilted, upright, corners, classes, images)

    def rectangles(self, index: int) -> tuple[Rectangle, Rectangle]:
        """The tilted and the upright one of an image, without drawing its digits."""
        return self._begun(index)[:2]

    def _begun(self, index: int) -> tuple[Rectangle, Rectangle, np.random.Generator]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng((*self._key, index))
        label = int(self.labels[index])
        other = int((label + rng.integers(1, CLASSES)) % CLASSES)
        return *_rectangles(self.plan, label, other, rng), rng


def _rectangles(plan: Plan, label: int, other: int, rng: np.random.Generator) -> tuple[Rectangle, Rectangle]:
    """Two rectangles inside the image that do not meet."""
    while True:
        sides = rng.uniform(plan.shortest, plan.longest, 2)
        angles = rng.choice(TILTED), rng.choice(UPRIGHT)
        for _ in range(TRIES):
            tilted, upright = (
                _inside(plan, float(side), float(angle), number, rng)
                for side, angle, number in zip(sides, angles, (label, other), strict=True)
            )
            if not Polygon(tilted.corners).intersects(Polygon(upright.corners)):
                return tilted, upright


def _inside(plan: Plan, long: float, degrees: float, label: int, rng: np.random.Generator) -> Rectangle:
    centred = Rectangle(0, 0, long, long * plan.aspect, degrees, label)
    reach = abs(centred.corners).max(0)
    y, x = rng.uniform(reach, plan.size - reach)
    return Rectangle(float(y), float(x), long, long * plan.aspect, degrees, label)


def _places(plan: Plan, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distinct corners of digits, (n, 2)."""
    across = plan.size // EDGE if plan.aligned else plan.size - EDGE + 1
    chosen = rng.choice(across**2, plan.digits, replace=False)
    return np.stack(np.divmod(chosen, across), 1) * (EDGE if plan.aligned else 1)
