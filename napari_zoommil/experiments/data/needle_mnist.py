"""Needle-MNIST: is there a 3 in this image? (Pawlowski et al., "Needles in Haystacks", supplement, sec. A.1)

A positive image has one 3 and n other digits, a negative image n + 1 other digits, at random places wholly
inside the canvas. Digits may overlap and are added up to white, as in the authors' generator; the paper says
only that places are random. Each 3 is used once for the training set. The paper's numbers of validation and
test images (1,972 and 4,040, half of them positive) need each of the 493 and 1,010 threes of MNIST's
validation and test images twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.experiments.data.mnist import EDGE, Digits

NEEDLE = 3
CLUTTER = {64: 2, 128: 5, 256: 25, 512: 100, 1024: 400}
"""Canvas → other digits per positive image; the ratio of object to image is 19.1, 4.8, 1.2, .3 and .075 %."""

IMAGES = {"train": 11_276, "val": 1_972, "test": 4_040}
TRAINING_SIZES = (1_400, 2_819, 5_638, 7_500, 11_276, 22_552)
BALANCES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""Shares of positive images in the training set (sec. C.1)."""

SPLIT_NUMBERS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Canvas:
    """How the images of a data set are made.

    Attributes
    ----------
    edge : int
        Of the image, px.
    clutter : int
        Digits beside the 3.
    digit : int
        Edge of a digit, px.
    noise : str
        ``digits``, or ``gaussian``: each image is drawn from an isotropic normal distribution instead, which
        a network can only memorise (sec. 4.2, Optimization).
    """

    edge: int
    clutter: int
    digit: int = EDGE
    noise: Literal["digits", "gaussian"] = "digits"

    def __post_init__(self) -> None:
        if self.clutter < 0 or not 0 < self.digit <= self.edge:
            raise ValueError("a canvas must hold a digit, and clutter is 0 or more")
        if self.noise not in ("digits", "gaussian"):
            raise ValueError(f"noise is 'digits' or 'gaussian', not {self.noise!r}")

    @classmethod
    def published(cls, edge: int) -> Canvas:
        """One of the paper's five canvases."""
        return cls(edge, CLUTTER[edge])

    @property
    def ratio(self) -> float:
        """Area of a digit in that of the image (O2I)."""
        return (self.digit / self.edge) ** 2


@dataclass(frozen=True)
class Placed:
    """Digits of an image.

    Attributes
    ----------
    corners : (n, 2) int64
        (y, x) of their top-left corners; where there is a 3, it is the first.
    images : (n, digit, digit) uint8
    labels : (n,) uint8
    """

    corners: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class NeedleImages:
    """A data set of needle-MNIST; images are drawn when they are asked for.

    A smaller data set of the same seed and balance is a part of a larger one.

    Parameters
    ----------
    digits : Digits
        Those of one split, of the canvas's size.
    canvas : Canvas
    count : int
        Images.
    split : str
    seed : int
    balance : float
        Share of positive images.
    """

    def __init__(
        self, digits: Digits, canvas: Canvas, count: int, split: str, seed: int = 0, balance: float = 0.5
    ) -> None:
        if digits.edge != canvas.digit:
            raise ValueError(f"the digits are of {digits.edge} px, those of the canvas of {canvas.digit} px")
        if count < 2 or not 0 < balance < 1:
            raise ValueError("a data set has 2 images or more, some of each class")
        self.canvas, self.count = canvas, count
        self._key = (seed, SPLIT_NUMBERS[split])
        three = digits.labels == NEEDLE
        self._needles, self._others = digits.where(three), digits.where(~three)
        positive = min(count - 1, max(1, round(count * balance)))
        self.labels = np.zeros(count, np.int64)
        self.labels[_spread(count, positive)] = 1
        within = np.where(self.labels == 1, np.cumsum(self.labels), np.cumsum(1 - self.labels)) - 1
        self._number: NDArray[np.int64] = within
        self._order = np.random.default_rng(self._key).permutation(len(self._needles.labels))

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: one channel, height and width."""
        return 1, self.canvas.edge, self.canvas.edge

    def needle(self, index: int) -> int:
        """Which 3 a positive image has; none is used again before all are used."""
        return int(self._order[self._number[index] % len(self._order)])

    def placed(self, index: int) -> Placed:
        """The digits of an image.

        Raises
        ------
        IndexError
            If there is no such image.
        """
        rng, positive = self._rng(index), bool(self.labels[index])
        others = rng.integers(len(self._others.labels), size=self.canvas.clutter + (not positive))
        images, labels = self._others.images[others], self._others.labels[others]
        if positive:
            number = self.needle(index)
            images = np.concatenate([self._needles.images[[number]], images])
            labels = np.concatenate([self._needles.labels[[number]], labels])
        corners = rng.integers(self.canvas.edge - self.canvas.digit + 1, size=(len(labels), 2))
        return Placed(corners, images, labels)

    def image(self, index: int) -> NDArray[np.float32]:
        """(edge, edge), from 0 (black) to 1; with Gaussian noise of mean 0 and variance 1."""
        edge, digit = self.canvas.edge, self.canvas.digit
        if self.canvas.noise == "gaussian":
            return self._rng(index).standard_normal((edge, edge), np.float32)
        found = self.placed(index)
        canvas = np.zeros((edge, edge), np.uint32)
        for (y, x), image in zip(found.corners, found.images, strict=True):
            canvas[y : y + digit, x : x + digit] += image
        return np.minimum(canvas, 255).astype(np.float32) / np.float32(255)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, 1, edge, edge)."""
        return np.stack([self.image(int(index)) for index in indices])[:, None]

    def needle_mask(self, index: int) -> NDArray[np.bool_]:
        """(edge, edge), True in the square of the 3; empty where there is none."""
        mask = np.zeros((self.canvas.edge,) * 2, bool)
        if self.labels[index]:
            y, x = self.placed(index).corners[0]
            mask[y : y + self.canvas.digit, x : x + self.canvas.digit] = True
        return mask

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng((*self._key, int(self.labels[index]), int(self._number[index])))


def _spread(count: int, positive: int) -> NDArray[np.int64]:
    """``positive`` of ``count`` places at equal distances."""
    return (np.arange(positive) * count) // positive
