"""Needle-CAMELYON: crops of slides with a whole lesion, by its share of the crop (Pawlowski et al., "Needles
in Haystacks", supplement, sec. A.2).

At level 3 (one pixel for 8 × 8 of the slide), 50 crops are drawn around each contiguous lesion, uniform among
those that lie in the slide and hold the whole lesion, and kept if the share of lesions in them, all lesions
counted, is in the wanted range. Negative crops are of slides without a lesion, where the mean of the green
channel is below 200. Slides of centre 3 are for validation, those of centre 4 for testing.

The share is that of the outlines' polygons; the paper counts pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, box, make_valid, unary_union

DOWNSAMPLE = 8
EDGES = (128, 256, 512, 1024)
RATIOS = ((0.5, 1.0), (0.1, 0.5), (0.01, 0.1), (0.001, 0.01))
PER_LESION = 50
GREEN = 200.0
SPLIT_OF_CENTRE = {3: "val", 4: "test"}
TRIES = 1_000
"""Places tried for a negative crop."""

Outline = NDArray[np.float64]


@dataclass(frozen=True)
class Crop:
    """A crop of a slide.

    Attributes
    ----------
    y, x : int
        Top-left corner, px of the level.
    edge : int
    lesion : int
        Number of the lesion that it is drawn around; -1 for a negative crop.
    ratio : float
        Share of lesions in it.
    """

    y: int
    x: int
    edge: int
    lesion: int = -1
    ratio: float = 0.0


def split_of(centre: int) -> str:
    """The split of a centre's slides, 0 to 4."""
    return SPLIT_OF_CENTRE.get(centre, "train")


def lesions_of(outlines: Sequence[Outline], downsample: int = DOWNSAMPLE) -> list[Polygon]:
    """Contiguous lesions, px of the level; outlines (n, 2) (y, x) in px of the slide that meet are one."""
    rings = [make_valid(Polygon(np.asarray(ring) / downsample)) for ring in outlines if len(ring) > 2]
    parts = getattr(whole := unary_union(rings), "geoms", [whole])
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0]


def positive_crops(
    lesions: Sequence[Polygon],
    shape: tuple[int, int],
    edge: int,
    ratio: tuple[float, float],
    rng: np.random.Generator,
    count: int = PER_LESION,
) -> list[Crop]:
    """Crops around each lesion whose share of lesions is in a range.

    Parameters
    ----------
    lesions : sequence of Polygon
        (y, x), px of the level.
    shape : (int, int)
        Height and width of the level.
    edge : int
        Of the crops.
    ratio : (float, float)
        Excluded lower and included upper limit.
    rng : Generator
    count : int
        Crops drawn around a lesion, before those out of range are left out.
    """
    everything = unary_union(list(lesions))
    found = []
    for number, lesion in enumerate(lesions):
        low_y, low_x, high_y, high_x = lesion.bounds
        ys, xs = _starts(low_y, high_y, shape[0], edge), _starts(low_x, high_x, shape[1], edge)
        if not len(ys) or not len(xs):
            continue
        for y, x in zip(rng.choice(ys, count), rng.choice(xs, count), strict=True):
            share = everything.intersection(box(y, x, y + edge, x + edge)).area / edge**2
            if ratio[0] < share <= ratio[1]:
                found.append(Crop(int(y), int(x), edge, number, float(share)))
    return found


def _starts(low: float, high: float, size: int, edge: int) -> NDArray[np.int64]:
    """First pixels of the crops that lie in the slide and hold an interval."""
    first, last = max(0, int(np.ceil(high)) - edge), min(size - edge, int(np.floor(low)))
    return np.arange(first, last + 1)


def negative_crops(
    mean_green: Callable[[int, int, int], float],
    shape: tuple[int, int],
    edge: int,
    count: int,
    rng: np.random.Generator,
) -> Iterator[Crop]:
    """Random crops of a slide without a lesion that are not mostly background; fewer if they are not found.

    Parameters
    ----------
    mean_green : callable
        Mean of the green channel of the crop at y, x with an edge, 0 to 255.
    shape : (int, int)
        Height and width of the level.
    edge, count : int
    rng : Generator
    """
    if min(shape) < edge:
        return
    for _ in range(count):
        for _ in range(TRIES):
            y, x = (int(rng.integers(size - edge + 1)) for size in shape)
            if mean_green(y, x, edge) < GREEN:
                yield Crop(y, x, edge)
                break
        else:
            return
