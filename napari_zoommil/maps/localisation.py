"""Does a map point at what somebody has outlined? Jaccard, maximum, pointing game, over one map or many.

A map is compared with regions value by value: a value is inside where its centre is. Values that are not
known (NaN: the model did not look there) count as not pointed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Literal

import numpy as np
import shapely
from annotated_types import Interval
from numpy.typing import NDArray

from napari_zoommil.annotations.regions import Region, area_of
from napari_zoommil.geometry import Pair
from napari_zoommil.maps.heatmap import HeatMap

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]


SIGMA, LARGE = 2.0, 50
"""Smoothing of maps with at least so many values along the shorter edge."""


@dataclass(frozen=True)
class Denoising:
    """From a map to a mask: smooth, cut, open, and drop what is small.

    The defaults were the best ones for Grad-CAM on images with one planted region each; maps of few values,
    or of slides with several regions, want others: see :func:`tune`.

    Attributes
    ----------
    sigma : float, optional
        Of the Gaussian, in values of the map; unknown values have no weight. 0 for none; by default 2, or 4 %
        of the shorter edge of a map with fewer than 50 values there.
    cut : {"quantile", "otsu"}
        What is kept: what lies above a quantile of the known values, or above Otsu's threshold.
    quantile : float
        Where ``cut`` is ``"quantile"``.
    opening : int, optional
        Radius of the opening, in values of the map. 0 for none; by default 1, and 0 on such a small map.
    smallest : int
        Components with fewer values are dropped.
    largest : bool
        Keep the largest component alone.
    """

    sigma: Annotated[float | None, Interval(ge=0, le=100)] = None
    cut: Literal["quantile", "otsu"] = "quantile"
    quantile: Annotated[float, Interval(ge=0, le=1)] = 0.9
    opening: Annotated[int | None, Interval(ge=0, le=50)] = None
    smallest: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    largest: bool = True

    def sized(self, shape: tuple[int, ...]) -> tuple[float, int]:
        """Sigma and opening for a map of a shape."""
        edge = min(shape)
        sigma = min(SIGMA, edge * SIGMA / LARGE) if self.sigma is None else self.sigma
        return sigma, int(edge >= LARGE) if self.opening is None else self.opening

    def on(self, shape: tuple[int, ...]) -> Denoising:
        """With sigma and opening as they are on a map of a shape."""
        sigma, opening = self.sized(shape)
        return replace(self, sigma=sigma, opening=opening)


GRID = tuple(
    Denoising(sigma, "quantile" if quantile else "otsu", quantile or 0.9, opening, 0, largest)
    for sigma, quantile, opening, largest in product(
        (0.0, 1.0, 2.0), (0.8, 0.9, 0.95, 0.98, None), (0, 1), (True, False)
    )
)
"""What :func:`tune` tries."""


def denoised(values: Values, how: Denoising) -> Mask:
    """(h, w) where a map points; nowhere if it is constant, or nothing of it is known."""
    from scipy.ndimage import binary_opening, generate_binary_structure, iterate_structure
    from skimage.filters import threshold_otsu

    known = np.isfinite(values)
    nothing = np.zeros(values.shape, bool)
    if not known.any() or not np.ptp(values[known]) > 0:
        return nothing
    sigma, opening = how.sized(values.shape)
    smooth = _smoothed(values, known, sigma)
    inside = smooth[known]
    if not np.ptp(inside) > 0:
        return nothing
    limit = np.quantile(inside, how.quantile) if how.cut == "quantile" else threshold_otsu(inside)
    mask = known & (np.nan_to_num(smooth, nan=-np.inf) > limit)
    if opening:
        disc = iterate_structure(generate_binary_structure(2, 1), opening)
        mask = binary_opening(mask, disc)
    return _components(mask, how)


def _smoothed(values: Values, known: Mask, sigma: float) -> NDArray[np.float64]:
    """Normalised convolution: unknown values have no weight, and stay unknown."""
    from scipy.ndimage import gaussian_filter

    if not sigma:
        return values.astype(np.float64)
    total = gaussian_filter(np.where(known, values, 0.0).astype(np.float64), sigma, mode="constant")
    weight = gaussian_filter(known.astype(np.float64), sigma, mode="constant")
    return np.where(known, total / np.maximum(weight, 1e-12), np.nan)


def _components(mask: Mask, how: Denoising) -> Mask:
    from scipy.ndimage import label

    numbers, count = label(mask, np.ones((3, 3)))
    if not count:
        return mask
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    kept = sizes >= max(how.smallest, 1)
    if how.largest:
        kept &= np.arange(len(sizes)) == sizes.argmax()
    return kept[numbers]


def inside(one: HeatMap, regions: Sequence[Region]) -> Mask:
    """(h, w) which values of a map lie in regions.

    Those whose centres do; of a region that holds no centre, those that it touches.
    """
    mask = np.zeros(one.values.shape, bool)
    for region in regions:
        area = area_of(region)
        if area.is_empty:
            continue
        shapely.prepare(area)
        low, high = np.array(area.bounds[:2]), np.array(area.bounds[2:])
        step, origin = np.asarray(one.downsample), np.asarray(one.origin)
        first = np.floor((low - origin) / step).clip(0, mask.shape).astype(int)
        last = np.clip(np.floor((high - origin) / step) + 1, 0, mask.shape).astype(int)
        y, x = (origin[axis] + np.arange(first[axis], last[axis]) * step[axis] for axis in (0, 1))
        top, left = np.meshgrid(y, x, indexing="ij")
        found = shapely.contains_xy(area, top + step[0] / 2, left + step[1] / 2)
        if not found.any():
            found = shapely.intersects(area, shapely.box(top, left, top + step[0], left + step[1]))
        mask[first[0] : last[0], first[1] : last[1]] |= found
    return mask


def jaccard(one: Mask, other: Mask) -> float:
    """Intersection over union; NaN where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else float("nan")


@dataclass(frozen=True)
class Localisation:
    """How one map agrees with regions.

    Attributes
    ----------
    jaccard : float
        Of the denoised map; NaN on a slide without regions.
    maximum : float
        The largest value: the confidence of the one place that is pointed at. NaN if nothing is known.
    place : (float, float) or None
        Level-0 y, x of its centre.
    hit : float
        Whether it lies in a region (1) or not (0); where several places have the largest value, the share of
        these that do. 0 for a constant map.
    present : bool
        Whether the slide has regions.
    share : float
        Of the known values that lie in regions: how often a random place hits.
    """

    jaccard: float
    maximum: float
    place: Pair | None
    hit: float
    present: bool
    share: float


def localise(one: HeatMap, truth: Mask, how: Denoising, present: bool | None = None) -> Localisation:
    """Compare a map with the mask of the regions on its lattice, see :func:`inside`.

    ``present`` tells whether the slide has regions, where the map may be of a part without any.
    """
    known = np.isfinite(one.values)
    present = bool(truth.any()) if present is None else present
    overlap = jaccard(denoised(one.values, how), truth) if present else float("nan")
    share = float(truth[known].mean()) if known.any() else 0.0
    if not known.any():
        return Localisation(overlap, float("nan"), None, 0.0, present, share)
    at = np.unravel_index(int(np.nanargmax(one.values)), one.values.shape)
    y, x = (start + (n + 0.5) * step for start, n, step in zip(one.origin, at, one.downsample, strict=True))
    highest = one.values == one.values[at]
    hit = float(truth[highest].mean()) if np.ptp(one.values[known]) > 0 else 0.0
    return Localisation(overlap, float(one.values[at]), (float(y), float(x)), hit, present, share)


def average_precision(found: Iterable[Localisation]) -> float:
    """Average precision of one detection per image, the place of maximum saliency (Pawlowski et al. 2019).

    The maximum is the confidence. A place inside a region is a true positive; a wrong place on an image with
    a region counts as a false positive and as a false negative; any place on an image without one as a false
    positive. Of several equal maxima, each counts by its share. NaN without an image that has a region.
    """
    every = list(found)
    present = sum(one.present for one in every)
    if not present:
        return float("nan")
    given = [one for one in every if np.isfinite(one.maximum)]
    confidence = np.array([one.maximum for one in given])
    hits = np.array([one.hit for one in given], float)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(hits[order])
    precision = right / np.arange(1, len(order) + 1)
    # Places with the same confidence come and go together.
    last = np.append(np.diff(confidence[order]) != 0, True) if len(order) else np.empty(0, bool)
    recall = np.concatenate([[0], right[last] / present])
    return float((np.diff(recall) * precision[last]).sum())


def pointing_game(found: Iterable[Localisation]) -> float:
    """Share of the images with a region whose maximum lies in it, equal maxima by their share; NaN without
    any."""
    hits = [one.hit for one in found if one.present]
    return float(np.mean(hits)) if hits else float("nan")


def mean_jaccard(found: Iterable[Localisation]) -> float:
    """Over the images with a region; NaN without any."""
    values = [one.jaccard for one in found if one.present]
    return float(np.mean(values)) if values else float("nan")


def tune(
    maps: Sequence[HeatMap], truths: Sequence[Mask], choices: Sequence[Denoising] = GRID
) -> tuple[Denoising, float]:
    """The denoising with the highest mean Jaccard, and that Jaccard; of equal ones the first.

    Parameters
    ----------
    maps, truths : sequence
        Of validation images only: what is measured on the same images as it was chosen by says nothing.
    """
    pairs = [(one.values, truth) for one, truth in zip(maps, truths, strict=True) if truth.any()]
    if not pairs:
        raise ValueError("no map has a region: nothing to tune on")
    scores = [float(np.mean([jaccard(denoised(v, how), t) for v, t in pairs])) for how in choices]
    best = int(np.argmax(scores))
    return choices[best], scores[best]


def random_map(one: HeatMap, rng: np.random.Generator) -> HeatMap:
    """A control: uniform noise wherever the map is known."""
    noise = rng.random(one.values.shape, np.float32)
    return replace(one, values=np.where(np.isfinite(one.values), noise, np.nan).astype(np.float32))


def interval(
    values: Sequence[float], groups: Sequence[str], seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval over groups such as patients; NaN are left out.

    Parameters
    ----------
    values : (n,) float
    groups : (n,) str
        Slides of one group are drawn together.
    """
    data = np.asarray(values, np.float64)
    known = np.isfinite(data)
    if not known.any():
        return (float("nan"),) * 3
    names, number = np.unique(np.asarray(groups)[known], return_inverse=True)
    sums, counts = np.bincount(number, data[known]), np.bincount(number)
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return float(data[known].mean()), low, high
