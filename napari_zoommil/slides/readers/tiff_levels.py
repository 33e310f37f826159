"""How much coarser the resolutions of a TIFF are than the finest one: a file tells it by its extents only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import Level
from napari_zoommil.slides.readers.tiles import TiledLevel

Extent = tuple[int, int]

LARGEST = 1 << 12
"""Largest factor that is looked for."""

TILE_UNIT = 16
"""Edges of tiles are multiples of it, by the TIFF specification."""


def levels_of(geometries: Sequence[TiledLevel]) -> tuple[Level, ...]:
    """Levels with their downsamples, finest first.

    A downsample is the ratio of the extents. Where a level is padded to whole tiles, or was made of one that
    is, that ratio is too small: there it is the whole factor before padding.
    """
    full = geometries[0].shape
    found = [Level(full, (1.0, 1.0))]
    for one in geometries[1:]:
        factor = _before_padding(full, one, [level.downsample[0] for level in found])
        factor = factor or _of_padded(one, found[-1], full)
        found.append(Level(one.shape, (factor, factor) if factor else ratio_of(one.shape, full)))
    return tuple(found)


def ratio_of(shape: Extent, full: Extent) -> Pair:
    """Downsample of a level that is not padded."""
    return full[0] / shape[0], full[1] / shape[1]


def _before_padding(full: Extent, level: TiledLevel, finer: Sequence[float]) -> float | None:
    """The factor of a level that is padded; None if it is not, or if it cannot be told.

    Where several factors come to its extents, it is that by which the finer levels go on, or else the only
    power of two after powers of two.
    """
    ratio = max(ratio_of(level.shape, full))
    is_exact = _is_power_of_2(round(ratio)) and _comes_to(full, round(ratio), level.shape, (1, 1))
    if any(have % edge or edge % TILE_UNIT for have, edge in _pairs(level)):
        return None
    following = _whole(finer[-1] ** 2 / finer[-2]) if len(finer) > 1 else None
    if is_exact and (following is None or _is_power_of_2(following)):
        return None
    most = min(edge / max(have - unit, 1) for edge, (have, unit) in zip(full, _pairs(level), strict=True))
    factors = range(max(2, math.floor(ratio)), min(math.ceil(most), LARGEST) + 1)
    found = [one for one in factors if _comes_to(full, one, level.shape, level.tile)]
    if len(found) > 1:
        found = _going_on(found, following, _whole(finer[-1]))
    return float(found[0]) if len(found) == 1 else None


def _going_on(factors: Sequence[int], following: int | None, last: int | None) -> list[int]:
    """Those among factors that go on as the finer levels do; none after the finest level alone."""
    if following is not None and following in factors:
        return [following]
    by_2 = last is not None and last > 1 and _is_power_of_2(last)
    return [one for one in factors if by_2 and _is_power_of_2(one)]


def _whole(factor: float) -> int | None:
    """The whole number that a ratio of extents is nearly; None if it is not."""
    return round(factor) if math.isclose(factor, round(factor), rel_tol=1e-3) else None


def _of_padded(level: TiledLevel, finer: Level, full: Extent) -> float | None:
    """The factor of a level that was made of the one before it, with its padding."""
    if finer.downsample == ratio_of(finer.shape, full):
        return None
    step = round(max(ratio_of(level.shape, finer.shape)))
    return finer.downsample[0] * step if _comes_to(finer.shape, step, level.shape, (1, 1)) else None


def _comes_to(full: Extent, factor: int, shape: Extent, tile: Extent) -> bool:
    """Whether an image that is reduced by a factor, and padded to whole tiles, has a shape."""
    return factor > 0 and all(
        have in (_padded(edge // factor, unit), _padded(-(-edge // factor), unit))
        for edge, have, unit in zip(full, shape, tile, strict=True)
    )


def _pairs(level: TiledLevel) -> list[Extent]:
    """Edges of a level and of its tiles."""
    return list(zip(level.shape, level.tile, strict=True))


def _is_power_of_2(factor: int) -> bool:
    return factor > 0 and factor & (factor - 1) == 0


def _padded(edge: int, tile: int) -> int:
    return -(-edge // tile) * tile
