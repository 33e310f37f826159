"""Maps of all magnifications as one picture: each place shows the finest magnification looked at there.

The picture has no resolution of its own. It is painted for the pixels that are asked for: the window and
exported pictures are painted by the same code, lines have the same width at any zoom, and the cost depends on
the pixels and not on the number of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair, PatchGrid, Rows
from napari_zoommil.maps.colours import Pixels, colourise, frame_colour
from napari_zoommil.maps.heatmap import HeatMap, map_title
from napari_zoommil.maps.scales import Scale, Scaling, in_unit, scale_of
from napari_zoommil.models.task import LOGIT

Style = Literal["filled", "outlines", "smoothed"]

Places = NDArray[np.floating]
"""Level-0 y or x of the middles of equally spaced pixels."""

OUTLINE_SHARE = 1 / 24
"""Width of an outline, of its patch."""

OUTLINE_PX = (1.0, 5.0)
"""Least and largest width of an outline."""

FRAME_PX = 2
HALO = np.array((255, 255, 255, 150), np.uint8)
"""Beside the line of a frame, so that it is seen on dark tissue too."""

SUBCELLS, MOST_SUBCELLS = 8, 4_000_000
"""Values per patch edge of the finest magnification, and in all, that a smoothed map is interpolated to."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Patches of one magnification that the model zoomed into.

    Attributes
    ----------
    magnification : float
    colour : str
    boxes : (n, 4) float64
        Level-0 y and x of the top-left and the bottom-right corner; within the slide.
    """

    magnification: float
    colour: str
    boxes: NDArray[np.float64]


def frames_of(grid: PatchGrid, zoomed: Iterable[tuple[int, Rows]]) -> tuple[Frames, ...]:
    """Frames of patches given by level and rows; levels without any are left out."""
    found = []
    for level, rows in zoomed:
        patches = grid.levels[level]
        corners = patches.origins[rows]
        boxes = np.concatenate([corners, corners + patches.size], 1).clip(0, np.tile(grid.shape, 2))
        if len(rows):
            found.append(Frames(patches.magnification, frame_colour(level), boxes))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Overlay:
    """Maps of one kind as a picture.

    Attributes
    ----------
    kind : str
    target : str or None
        Class that the maps speak for.
    maps : tuple of HeatMap
        From the lowest magnification on.
    scale : Scale
    values : tuple of (h, w) float32
        Of the maps, in the unit of the scale.
    style : {"filled", "outlines", "smoothed"}
        ``smoothed`` interpolates between the middles of patches of one magnification, only where
        something was looked at.
    frames : tuple of Frames
    left_out : tuple of float
        Magnifications of which there are maps that are not shown.
    output_unit : str
        Of the model's output, which its task tells.
    """

    kind: str
    target: str | None
    maps: tuple[HeatMap, ...]
    scale: Scale
    values: tuple[NDArray[np.float32], ...]
    style: Style = "filled"
    frames: tuple[Frames, ...] = ()
    left_out: tuple[float, ...] = ()
    output_unit: str = LOGIT

    @classmethod
    def of(
        cls,
        maps: Sequence[HeatMap],
        scaling: Scaling,
        style: Style = "filled",
        frames: tuple[Frames, ...] = (),
        output_unit: str = LOGIT,
    ) -> Overlay:
        """An overlay of one or more maps of one kind and class."""
        values = tuple(in_unit(one, scaling) for one in maps)
        kind, target = maps[0].kind, maps[0].target
        scale = scale_of(maps, scaling, output_unit)
        return cls(kind, target, tuple(maps), scale, values, style, frames, output_unit=output_unit)

    def only(self, shown: Callable[[float], bool]) -> Overlay:
        """The same with some magnifications only; the scale stays."""
        pairs = [pair for pair in zip(self.maps, self.values, strict=True) if shown(pair[0].magnification)]
        return replace(
            self,
            maps=tuple(one for one, _ in pairs),
            values=tuple(values for _, values in pairs),
            frames=tuple(one for one in self.frames if shown(one.magnification)),
            left_out=tuple(one.magnification for one in self.maps if not shown(one.magnification)),
        )

    @property
    def what(self) -> str:
        """Such as ``attention`` or ``Grad-CAM tumour``."""
        return map_title(self.kind, self.target)

    def paint(self, y: Places, x: Places) -> Pixels:
        """(h, w, 4) RGBA of the pixels whose middles are at level-0 ``y`` and ``x``."""
        painted = np.zeros((len(y), len(x), 4), np.uint8)
        if self.maps:
            self._paint_maps(painted, y, x)
        for frames in self.frames:
            _draw(painted, y, x, frames)
        return painted

    def _paint_maps(self, painted: Pixels, y: Places, x: Places) -> None:
        raster, packed = self._raster, painted.view(np.uint32)[..., 0]
        rows, columns = raster.index(0, y), raster.index(1, x)
        if self.style != "outlines":
            packed[:] = raster.colours[rows][:, columns]
        if self.style != "smoothed":
            lines, finest = raster.lines[rows][:, columns], raster.finest[rows][:, columns]
            for number, one in enumerate(self.maps):
                edge = _on_edge(one, 0, y)[:, None] | _on_edge(one, 1, x)
                np.copyto(packed, lines, where=edge & (finest == number))

    @cached_property
    def _raster(self) -> _Raster:
        return _Raster.of(self)


@dataclass(frozen=True, eq=False)
class _Raster:
    """Colours of the cells of the finest lattice, or of parts of them, within a margin that is see-through.

    Attributes
    ----------
    origin, step : (float, float)
        Level-0 y, x of the top-left corner of the first cell inside the margin, and size of a cell.
    colours, lines : (h, w) uint32
        RGBA, a byte each: of patches, and of their outlines.
    finest : (h, w) int8
        Number of the map that a cell shows; −1 where nothing was looked at.
    """

    origin: Pair
    step: Pair
    colours: NDArray[np.uint32]
    lines: NDArray[np.uint32]
    finest: NDArray[np.int8]

    @classmethod
    def of(cls, overlay: Overlay) -> _Raster:
        maps, smooth = overlay.maps, overlay.style == "smoothed"
        origin, step, shape = _common_lattice(maps)
        if smooth:
            parts = int(np.clip(np.sqrt(MOST_SUBCELLS / (shape[0] * shape[1])), 1, SUBCELLS))
            step, shape = (step[0] / parts, step[1] / parts), (shape[0] * parts, shape[1] * parts)
        finest = np.full(shape, -1, np.int8)
        places = np.full(shape, np.nan, np.float32)
        y, x = (origin[axis] + (np.arange(shape[axis]) + 0.5) * step[axis] for axis in (0, 1))
        for number, (one, values) in enumerate(zip(maps, overlay.values, strict=True)):
            on_ramp = overlay.scale.places(values)
            there = _nearest(on_ramp, one, y, x)
            looked = ~np.isnan(there)
            finest[looked] = number
            places[looked] = (_between(on_ramp, one, y, x) if smooth else there)[looked]
        colours, lines = (
            np.pad(colourise(places, overlay.scale.signed, line).view(np.uint32)[..., 0], 1)
            for line in (False, True)
        )
        return cls(origin, step, colours, lines, np.pad(finest, 1, constant_values=-1))

    def index(self, axis: int, places: Places) -> NDArray[np.intp]:
        """Cells at level-0 places along an axis; those outside are in the margin."""
        cells = np.floor((places - self.origin[axis]) / self.step[axis])
        return (cells.clip(-1, self.colours.shape[axis] - 2) + 1).astype(np.intp)


def _common_lattice(maps: Sequence[HeatMap]) -> tuple[Pair, Pair, tuple[int, int]]:
    """Origin, step and shape of the lattice of the finest map, extended to the others."""
    step, own = np.asarray(maps[-1].downsample), np.asarray(maps[-1].origin)
    first = np.min([one.origin for one in maps], 0)
    last = np.max([np.asarray(one.origin) + np.multiply(one.values.shape, one.downsample) for one in maps], 0)
    origin = own - np.ceil((own - first) / step - 1e-6) * step
    rows, columns = np.ceil((last - origin) / step - 1e-6).astype(int).tolist()
    return (float(origin[0]), float(origin[1])), maps[-1].downsample, (rows, columns)


def _nearest(values: NDArray[np.float32], one: HeatMap, y: Places, x: Places) -> NDArray[np.float32]:
    """(h, w) values of the patches at places; NaN where there is none."""
    padded = np.pad(values, 1, constant_values=np.nan)
    rows, columns = (
        (np.floor((places - one.origin[axis]) / one.downsample[axis]).clip(-1, values.shape[axis]) + 1)
        for axis, places in enumerate((y, x))
    )
    return padded[rows.astype(np.intp)][:, columns.astype(np.intp)]


def _between(values: NDArray[np.float32], one: HeatMap, y: Places, x: Places) -> NDArray[np.float32]:
    """(h, w) values interpolated between the middles of known patches."""
    known = ~np.isnan(values)
    weights = []
    for axis, places in enumerate((y, x)):
        at = ((places - one.origin[axis]) / one.downsample[axis] - 0.5).clip(0, values.shape[axis] - 1)
        low = np.floor(at).astype(np.intp)
        weights.append((low, np.minimum(low + 1, values.shape[axis] - 1), (at - low).astype(np.float32)))

    def interpolate(of: NDArray[np.float32]) -> NDArray[np.float32]:
        (top, bottom, down), (left, right, across) = weights
        lines = of[top] * (1 - down[:, None]) + of[bottom] * down[:, None]
        found: NDArray[np.float32] = lines[:, left] * (1 - across) + lines[:, right] * across
        return found

    share = interpolate(known.astype(np.float32))
    share[share == 0] = np.nan
    return interpolate(np.where(known, values, np.float32(0))) / share


def _on_edge(one: HeatMap, axis: int, places: Places) -> NDArray[np.bool_]:
    """Which pixels along an axis are on the outline of a patch of a map."""
    if len(places) < 2:
        return np.ones(len(places), bool)
    at = (places - one.origin[axis]) / one.downsample[axis]
    across = one.downsample[axis] / (places[1] - places[0])
    width = np.clip(across * OUTLINE_SHARE, *OUTLINE_PX)
    edge: NDArray[np.bool_] = np.minimum(at - np.floor(at), np.ceil(at) - at) * across < width
    return edge


def _draw(painted: Pixels, y: Places, x: Places, frames: Frames) -> None:
    """Frames along the inner edge of boxes."""
    if len(y) < 2 or len(x) < 2:
        return
    ink = np.array((*bytes.fromhex(frames.colour[1:]), 255), np.uint8)
    start, pixel = np.array((y[0], x[0])), np.array((y[1] - y[0], x[1] - x[0]))
    corners = np.rint((frames.boxes.reshape(-1, 2, 2) - start) / pixel + 0.5).astype(int)
    far = (corners[:, 1] <= 0).any(1) | (corners[:, 0] >= painted.shape[:2]).any(1)
    for (top, left), (bottom, right) in corners[~far].tolist():
        for inset, width, colour in ((0, FRAME_PX, ink), (FRAME_PX, 1, HALO)):
            _rectangle(painted, top + inset, left + inset, bottom - inset, right - inset, width, colour)


def _rectangle(
    painted: Pixels, top: int, left: int, bottom: int, right: int, width: int, colour: NDArray[np.uint8]
) -> None:
    if bottom - top < 2 * width or right - left < 2 * width:
        return
    for y0, y1, x0, x1 in (
        (top, top + width, left, right),
        (bottom - width, bottom, left, right),
        (top, bottom, left, left + width),
        (top, bottom, right - width, right),
    ):
        painted[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour
