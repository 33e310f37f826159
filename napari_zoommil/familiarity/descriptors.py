"""Colour and texture of patches in numbers: what a network that was taught to tell classes apart throws away.

They are of the optical density of stained pixels, so that the share of glass in a patch hardly changes them.
Textures are the details of a Haar transform at five scales from 1 px on. The covariance of details between
red, green and blue tells how many stains there are, and their colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Of the descriptors; statistics of another version cannot be compared with."""

SCALES = 5
"""Scales of texture; each has half the resolution of the one before it."""

LEAST_EDGE = 1 << SCALES
"""Least edge of a patch, px."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
"""Optical density of each value of a pixel, as natural logarithm."""

NOISE = 1e-3
"""Added to standard deviations of optical density before their logarithm: a fraction of a grey level."""

STAINED = 0.1
"""Mean optical density from which a pixel is stained."""

LEAST_STAINED = 0.02
"""Least share of stained pixels in a patch that is judged; others are glass."""

ELSEWHERE = 1e-3
"""Weight of details at the edge of what is stained, which count where there are no others."""

Numbers = NDArray[np.float32]


def describe(patches: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Numbers:
    """Colour and texture of patches.

    Parameters
    ----------
    patches : sequence of (h, w, 3) uint8
        Edges of at least :data:`LEAST_EDGE` px.

    Returns
    -------
    (n, D) float32
        NaN for a patch of glass.
    """
    if not len(patches):
        return np.empty((0, WIDTH), np.float32)
    return np.stack([_describe(patch) for patch in patches])


def _describe(patch: NDArray[np.uint8]) -> Numbers:
    values = np.ascontiguousarray(patch.reshape(-1, 3).T)
    density = DENSITY[values]
    stained = (density.mean(0) > STAINED).astype(np.float32)
    share = float(stained.mean())
    if share < LEAST_STAINED:
        return np.full(WIDTH, np.nan, np.float32)
    shape = patch.shape[:2]
    texture = _texture(density.reshape(3, *shape), stained.reshape(shape))
    return np.array(
        [share, *_colour(values, density, stained), *_hue(density, stained), *texture], np.float32
    )


def _colour(values: NDArray[np.uint8], density: Numbers, stained: Numbers) -> list[float]:
    """Means, standard deviations, correlations and quantiles of the channels."""
    count = stained.sum()
    mean = density @ stained / count
    centred = (density - mean[:, None]) * stained
    covariance = centred @ centred.T / count
    spread = np.sqrt(covariance.diagonal()) + NOISE
    correlation = covariance / np.outer(spread, spread)
    quantiles: list[float] = []
    for channel in values:
        filled = np.cumsum(np.bincount(channel, weights=stained, minlength=256)) / count
        quantiles += DENSITY[np.searchsorted(filled, QUANTILES).clip(0, 255)].tolist()
    return [*mean, *np.log(spread), *correlation[np.triu_indices(3, 1)], *quantiles]


def _hue(density: Numbers, stained: Numbers) -> list[float]:
    """Means and standard deviations of the shares of red and blue in the density."""
    shares = density[::2] / (density.sum(0) + NOISE)
    mean = shares @ stained / stained.sum()
    return [*mean, *np.sqrt(np.square(shares - mean[:, None]) @ stained / stained.sum())]


def _texture(density: Numbers, stained: Numbers) -> list[float]:
    """Of the details at each scale: energies by direction, kurtosis, and the covariance of the channels."""
    found: list[float] = []
    for _ in range(SCALES):
        details, density, stained = _halved(density, stained)
        weights = (stained + ELSEWHERE).ravel()
        count = weights.sum()
        grey = np.square(details.mean(1).reshape(3, -1))
        energy = grey @ weights / count
        fourth = (np.square(grey) @ weights).mean() / count / (energy.mean() ** 2 + NOISE**4)
        flat = details.swapaxes(0, 1).reshape(3, 3, -1)
        covariance = np.tensordot(flat * weights, flat, ((1, 2), (1, 2))) / (3 * count)
        found += [*np.log(np.sqrt(energy) + NOISE), np.log1p(fourth), *_directions(covariance)]
    return found


def _directions(covariance: Numbers) -> list[float]:
    """How much less the second and third stain vary than the first, and its shares of red and blue."""
    values, vectors = np.linalg.eigh(covariance)
    spread = np.log(np.sqrt(values.clip(0)) + NOISE)
    first = np.abs(vectors[:, -1])
    red, _, blue = first / first.sum()
    return [spread[1] - spread[2], spread[0] - spread[2], red, blue]


def _halved(planes: Numbers, stained: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """(3, 3, h/2, w/2) details across, down and diagonal by channel, (3, h/2, w/2) means, and where all four
    pixels are stained: a Haar transform."""
    height, width = (edge // 2 * 2 for edge in stained.shape)
    upper, lower = planes[:, 0:height:2, :width], planes[:, 1:height:2, :width]
    total, down = upper + lower, upper - lower
    left, right, left_down, right_down = total[..., ::2], total[..., 1::2], down[..., ::2], down[..., 1::2]
    details = np.stack((left - right, left_down + right_down, left_down - right_down)) / 4
    pairs = stained[0:height:2, :width] * stained[1:height:2, :width]
    inner = pairs[:, ::2] * pairs[:, 1::2]
    return details.astype(np.float32, copy=False), ((left + right) / 4).astype(np.float32, copy=False), inner


WIDTH = 1 + 9 + 3 * len(QUANTILES) + 4 + 8 * SCALES
"""D, numbers per patch."""
