"""Figures of a slide with its maps: overview, overlay, legend, scale bar and title, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.files import write_file
from napari_zoommil.geometry import Pair
from napari_zoommil.maps import legend
from napari_zoommil.maps.colours import Pixels, over
from napari_zoommil.maps.drawing import (
    Drawing,
    Item,
    Picture,
    Rectangle,
    Text,
    png_bytes,
    to_image,
    to_svg,
    wrapped,
)
from napari_zoommil.maps.legend import legend_of
from napari_zoommil.maps.overlay import Overlay

LONGEST = 900.0
"""Longest edge of the slide in a figure, px at scale 1."""

MARGIN, TITLE, LINE = 16.0, 17.0, 6.0
PAPER, INK = "#ffffff", "#1a1a1a"
BAR_SHARE, BAR_PX = 0.25, 4.0
"""The scale bar is no longer than this share of the slide's width."""


@dataclass(frozen=True, eq=False)
class Overview:
    """A small picture of a slide, or of a part of it.

    Attributes
    ----------
    pixels : (h, w, 3) uint8
    downsample : (float, float)
        Level-0 px per px, y and x.
    mpp : (float, float) or None
        Level-0 µm/px.
    origin : (float, float)
        Level-0 y, x of its top-left corner.
    """

    pixels: NDArray[np.uint8]
    downsample: Pair
    mpp: Pair | None
    origin: Pair = (0.0, 0.0)

    def with_overlay(self, shown: Overlay) -> Pixels:
        """(h, w, 3) uint8: the overlay over the slide."""
        y, x = (
            start + (np.arange(count) + 0.5) * step
            for count, step, start in zip(self.pixels.shape[:2], self.downsample, self.origin, strict=True)
        )
        return over(self.pixels, shown.paint(y, x))


def figure_of(overview: Overview, shown: Overlay, title: Sequence[str] = ()) -> Drawing:
    """A figure.

    Parameters
    ----------
    overview : Overview
    shown : Overlay
    title : sequence of str
        Lines above the picture, the first in bold: slide, model, what it says.
    """
    pixels = overview.with_overlay(shown)
    scale = LONGEST / max(pixels.shape[:2])
    height, width = (edge * scale for edge in pixels.shape[:2])
    explained = legend.draw([legend_of(shown)])
    total = MARGIN + width + MARGIN + explained.width + MARGIN
    items, y = _title(title, total - 2 * MARGIN)
    items += [
        Picture(MARGIN, y, width, height, pixels),
        Rectangle(MARGIN - 1, y - 1, width + 2, height + 2, edge=legend.EDGE),
    ]
    items += explained.moved(MARGIN + width + MARGIN, y)
    low = y + max(height, explained.height)
    if overview.mpp is not None:
        um_per_px = overview.mpp[1] * overview.downsample[1] / scale
        items += _scale_bar(um_per_px, width, MARGIN + width + MARGIN, low)
    return Drawing(total, low + MARGIN, tuple(items))


def write_png(path: Path, figure: Drawing, scale: float = 1.5) -> None:
    """A figure as PNG, ``scale`` px per px.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    write_file(path, png_bytes(to_image(figure, scale, PAPER).convert("RGB")))


def write_svg(path: Path, figure: Drawing) -> None:
    """A figure as SVG.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    write_file(path, to_svg(figure, PAPER).encode())


def _title(title: Sequence[str], width: float) -> tuple[list[Item], float]:
    items: list[Item] = []
    y = MARGIN / 2
    for number, text in enumerate(title):
        size = TITLE if number == 0 else legend.TITLE
        for line in wrapped(text, width, size, bold=number == 0):
            y += size + LINE
            items.append(Text(MARGIN, y, line, size, INK, bold=number == 0))
    return items, y + MARGIN


def _scale_bar(um_per_px: float, width: float, x: float, low: float) -> list[Item]:
    """A bar of a round length at the lower right, beside the slide."""
    length = round_length(BAR_SHARE * width * um_per_px)
    name = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    return [
        Text(x, low - BAR_PX - LINE, name, legend.TITLE, INK),
        Rectangle(x, low - BAR_PX, length / um_per_px, BAR_PX, fill=INK),
    ]


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, … µm that is no more than ``most``."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))
