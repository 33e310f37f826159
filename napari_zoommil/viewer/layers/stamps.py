"""Many small marks put into a picture at once: it costs time with its pixels, not with the marks in it.

Markers of napari's Points cost time with their number, also of those out of view (15 s a frame for
300,000, software OpenGL, napari 0.9.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.maps.colours import Pixels

SIZE_STEP = 0.04
"""Diameters are rounded to this, relative to them: marks of one size share one stamp."""

MANY = 4
"""Stamps are put pixel by pixel if there are at most so many pixels to a stamp."""

Floats = NDArray[np.float64]


class Stamp(NamedTuple):
    """Pixels of a mark around its centre: (n,) y, x, and opacity 0 to 255, the faint ones first."""

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    alpha: NDArray[np.uint32]
    reach: int


def round_stamp(radius: float, opacity: Callable[[Floats], Floats]) -> Stamp:
    """A stamp by the opacity, 0 to 1, at distances in px from its centre; none beyond ``radius``."""
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    alpha = opacity(np.hypot(y, x))
    order = np.argsort(alpha, axis=None, kind="stable")
    order = order[alpha.ravel()[order] > 1 / 255]
    strength = np.round(alpha.ravel()[order] * 255).astype(np.uint32)
    return Stamp(y.ravel()[order], x.ravel()[order], strength, reach)


def packed(colour: tuple[int, int, int]) -> int:
    """Red, green and blue from the lowest byte on."""
    red, green, blue = colour
    return red | green << 8 | blue << 16


def size_of(diameters: Floats) -> Floats:
    """Sizes of stamps, to be rounded: equal steps are equal ratios of diameters."""
    return np.log(np.maximum(diameters, 1e-3)) / SIZE_STEP


def diameter_of(size: int) -> float:
    """Diameter of a stamp in px by its size."""
    return math.exp(SIZE_STEP * size)


def step_of(places: Floats) -> float:
    """Distance of evenly spaced pixels."""
    return float(places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 1.0


def painted(
    y: Floats,
    x: Floats,
    columns: Floats,
    sizes: Floats,
    colours: NDArray[np.uint32],
    rows: NDArray[np.intp],
    least: int,
    stamp: Callable[[int], Stamp],
) -> Pixels:
    """RGBA of pixels by their centres, evenly spaced level-0 px.

    Parameters
    ----------
    y, x : (height,), (width,)
    columns : (2, n)
        Level-0 y and x of all marks.
    sizes : (n,)
        Of their stamps in a picture of level 0, see :func:`size_of`.
    colours : (n,) uint32
        See :func:`packed`.
    rows : (m,)
        Of the marks to paint; later ones of a size cover earlier ones, and smaller ones larger ones.
    least : int
        Size of the smallest stamp in this picture.
    stamp : callable
        The stamp of a size.
    """
    picture = np.zeros((len(y), len(x)), np.dtype("<u4"))
    steps = step_of(y), step_of(x)
    at_y, at_x = (
        np.rint((along[rows] - places[0]) / step).astype(np.intp)
        for along, places, step in zip(columns, (y, x), steps, strict=True)
    )
    own_sizes = np.rint(sizes[rows] - size_of(np.array(math.sqrt(steps[0] * steps[1])))).astype(np.intp)
    own_sizes = np.maximum(own_sizes, least) - least
    for size in np.flatnonzero(np.bincount(own_sizes))[::-1]:  # small marks lie above large ones
        own = own_sizes == size
        _press(picture, at_y[own], at_x[own], colours[rows[own]], stamp(int(size) + least))
    return picture.view(np.uint8).reshape(*picture.shape, 4)


def near(y: Floats, x: Floats, columns: Floats, reach: float) -> NDArray[np.bool_]:
    """Whether each of (2, n) places lies within ``reach`` of the pixels of a picture, level-0 px."""
    inside = np.ones(columns.shape[1], bool)
    for along, places in zip(columns, (y, x), strict=True):
        inside &= (along > places[0] - reach) & (along < places[-1] + reach)
    return inside


def _press(
    picture: NDArray[np.uint32],
    at_y: NDArray[np.intp],
    at_x: NDArray[np.intp],
    colours: NDArray[np.uint32],
    one: Stamp,
) -> None:
    """Put a stamp at pixels of a picture; later marks cover earlier ones.

    Many small stamps are put pixel by pixel of the stamp, and few large ones mark by mark.
    """
    (height, width), reach = picture.shape, one.reach
    flat, alpha, offsets = picture.reshape(-1), one.alpha << np.uint32(24), one.y * width + one.x
    whole = (at_y >= reach) & (at_y < height - reach) & (at_x >= reach) & (at_x < width - reach)
    places, own = at_y[whole] * width + at_x[whole], colours[whole]
    if MANY * len(places) > len(offsets):
        for offset, opacity in zip(offsets.tolist(), alpha, strict=True):
            flat[places + offset] = own | opacity
    else:
        for place, colour in zip(places.tolist(), own, strict=True):
            flat[offsets + place] = alpha | colour
    for row, column, colour in zip(
        at_y[~whole].tolist(), at_x[~whole].tolist(), colours[~whole], strict=True
    ):
        y, x = one.y + row, one.x + column
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        picture[y[inside], x[inside]] = alpha[inside] | colour
