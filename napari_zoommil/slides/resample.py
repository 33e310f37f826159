"""Resampling of one stored level to any resolution: pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level

ReadWindow = Callable[[int, int, int, int], RGB]

SCALE_TOLERANCE = 0.002
"""Relative difference of scale below which pixels are not resampled: half a pixel in 256."""

ALIGNED = 1e-3
"""Largest distance from a whole pixel, px, at which a position counts as whole: float rounding error."""

DRIFT_PX = 0.5
"""Largest error at the far end of a window, px, when its scale is rounded to a whole number."""


def choose_level(levels: tuple[Level, ...], downsample: Pair) -> int:
    """Index of the coarsest level that is at least as fine as ``downsample``; 0 if there is none."""
    y, x = (factor * (1 + SCALE_TOLERANCE) for factor in downsample)
    fine = [i for i, level in enumerate(levels) if level.downsample[0] <= y and level.downsample[1] <= x]
    return fine[-1] if fine else 0


def choose_shrink(shrinks: tuple[int, ...], origin: Pair, scale: Pair, shape: tuple[int, int]) -> int:
    """The largest decoder shrink usable for result pixels that cover ``scale`` source pixels each.

    For a whole scale the shrink must divide both the scale and the origin (source px), so that each
    result pixel is still the mean of the same block.
    """
    whole = _whole_factors(scale, shape)
    if whole is None:
        return max(shrink for shrink in shrinks if shrink == 1 or shrink <= min(scale))
    return max(
        shrink
        for shrink in shrinks
        if shrink == 1
        or all(
            factor % shrink == 0 and abs(start / shrink - round(start / shrink)) < ALIGNED
            for factor, start in zip(whole, origin, strict=True)
        )
    )


def read_padded(
    read: ReadWindow,
    extent: tuple[int, int],
    y: int,
    x: int,
    height: int,
    width: int,
    background: tuple[int, ...],
) -> RGB:
    """A window that may extend beyond the level; pixels outside are background."""
    if y >= 0 and x >= 0 and y + height <= extent[0] and x + width <= extent[1]:
        return read(y, x, height, width)
    y0, y1 = (min(max(edge, 0), extent[0]) for edge in (y, y + height))
    x0, x1 = (min(max(edge, 0), extent[1]) for edge in (x, x + width))
    out = np.empty((height, width, 3), np.uint8)
    out[:] = background
    if y1 > y0 and x1 > x0:
        out[y0 - y : y1 - y, x0 - x : x1 - x] = read(y0, x0, y1 - y0, x1 - x0)
    return out


def read_scaled(read: ReadWindow, origin: Pair, scale: Pair, shape: tuple[int, int]) -> RGB:
    """Pixels (*shape*, 3) from a float ``origin``; each covers ``scale`` source pixels.

    ``read(y, x, height, width)`` returns source pixels, padded outside the level. A whole factor gives
    the exact mean of each block. Other factors use an antialiased linear filter on the exact float
    window, with a margin as wide as the filter: a window has the same pixels as a larger one around it.
    """
    whole = _whole_factors(scale, shape)
    if whole:
        y, x = (math.floor(start + 0.5) for start in origin)
        region = read(y, x, shape[0] * whole[0], shape[1] * whole[1])
        return region if whole == (1, 1) else np.asarray(Image.fromarray(region).reduce(whole[::-1]))
    margin = [math.ceil(max(1, factor / 2)) for factor in scale]
    top, left = (math.floor(o) - m for o, m in zip(origin, margin, strict=True))
    bottom, right = (
        math.ceil(o + s * n) + m for o, s, n, m in zip(origin, scale, shape, margin, strict=True)
    )
    region = read(top, left, bottom - top, right - left)
    inner_y, inner_x = origin[0] - top, origin[1] - left
    box = (inner_x, inner_y, inner_x + scale[1] * shape[1], inner_y + scale[0] * shape[0])
    image = Image.fromarray(region)
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR, box, reducing_gap=3.0))


def _whole_factors(scale: Pair, shape: tuple[int, int]) -> tuple[int, int] | None:
    """The scale rounded to whole source px; None if the error over ``shape`` px would be too large."""
    y, x = (max(round(factor), 1) for factor in scale)
    for factor, whole, count in ((scale[0], y, shape[0]), (scale[1], x, shape[1])):
        error = abs(factor / whole - 1)
        if error > SCALE_TOLERANCE or error * count > DRIFT_PX:
            return None
    return y, x
