"""From pixels of one stored level to pixels at any resolution: pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.reader import RGB, Level

ReadWindow = Callable[[int, int, int, int], RGB]

SCALE_TOLERANCE = 0.002
"""Relative difference of scale below which pixels are taken as they are: half a pixel in 256."""

DRIFT_PX = 0.5
"""Pixels by which the far end of a window may be off where its scale is taken for a whole one."""


def choose_level(levels: tuple[Level, ...], downsample: Pair) -> int:
    """The coarsest level that is at least as fine as ``downsample``; level 0 where none is."""
    fine = [
        index
        for index, level in enumerate(levels)
        if all(np.asarray(level.downsample) <= np.asarray(downsample) * (1 + SCALE_TOLERANCE))
    ]
    return fine[-1] if fine else 0


def read_padded(
    read: ReadWindow,
    extent: tuple[int, int],
    y: int,
    x: int,
    height: int,
    width: int,
    background: tuple[int, ...],
) -> RGB:
    """A window that may overhang a level: what lies outside is background."""
    y0, y1 = np.clip((y, y + height), 0, extent[0]).tolist()
    x0, x1 = np.clip((x, x + width), 0, extent[1]).tolist()
    if (y0, x0, y1, x1) == (y, x, y + height, x + width):
        return read(y, x, height, width)
    out = np.empty((height, width, 3), np.uint8)
    out[:] = background
    if y1 > y0 and x1 > x0:
        out[y0 - y : y1 - y, x0 - x : x1 - x] = read(y0, x0, y1 - y0, x1 - x0)
    return out


def read_scaled(read: ReadWindow, origin: Pair, scale: Pair, shape: tuple[int, int]) -> RGB:
    """Pixels (*shape*, 3) where each covers ``scale`` source pixels, from a float ``origin``.

    ``read(y, x, height, width)`` gives source pixels and pads by itself. Whole factors average their
    block exactly; other factors use an antialiased linear filter on the exact float window, with a
    margin as wide as the filter so that a window shows the same pixels as a larger one around it.
    """
    whole = [max(round(factor), 1) for factor in scale]
    if all(_is_whole(f, w, n) for f, w, n in zip(scale, whole, shape, strict=True)):
        y, x = (math.floor(start + 0.5) for start in origin)
        region = read(y, x, shape[0] * whole[0], shape[1] * whole[1])
        return region if whole == [1, 1] else np.asarray(Image.fromarray(region).reduce((whole[1], whole[0])))
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


def _is_whole(factor: float, whole: int, count: int) -> bool:
    """Whether ``count`` px at a scale may be read as if it were whole."""
    error = abs(factor / whole - 1)
    return error <= SCALE_TOLERANCE and error * count <= DRIFT_PX
