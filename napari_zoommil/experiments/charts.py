"""Line charts as SVG: the figures of reports, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.files import write_file
from napari_zoommil.maps.colours import class_colour

WIDTH, HEIGHT = 330, 250
"""Of a panel's plot, px."""

LEFT, TOP, BOTTOM, KEY = 80, 34, 52, 18
COLUMNS = 2
TICKS = 5


@dataclass(frozen=True)
class Line:
    """A curve; ``spread`` is drawn as a bar to either side of each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves in one pair of axes.

    Attributes
    ----------
    title, x, y : str
        Of the panel and its axes.
    lines : sequence of Line
    limits : (float, float), optional
        Of y; from the values otherwise.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    limits: tuple[float, float] | None = None


def write_svg(path: Path, panels: Sequence[Panel]) -> None:
    """Panels in rows of two; a name has the same colour in all of them, and one key at the foot."""
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    colours = {name: class_colour(index) for index, name in enumerate(names)}
    cell = WIDTH + LEFT + 20, HEIGHT + TOP + BOTTOM
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // COLUMNS)
    width, height = columns * cell[0], rows * cell[1] + KEY * len(names) + 10
    body = [
        f'<g transform="translate({index % COLUMNS * cell[0] + LEFT},{index // COLUMNS * cell[1] + TOP})">'
        f"{_panel(panel, colours)}</g>"
        for index, panel in enumerate(panels)
    ]
    for index, (name, colour) in enumerate(colours.items()):
        y = rows * cell[1] + KEY * index + 10
        body.append(f'<path d="M{LEFT} {y}h24" stroke="{colour}" stroke-width="2"/>')
        body.append(_text(LEFT + 32, y + 4, name, "start"))
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
        f"{''.join(body)}</svg>\n"
    )
    write_file(path, text.encode())


def _panel(panel: Panel, colours: dict[str, str]) -> str:
    across = _extent(np.concatenate([np.asarray(line.x, float) for line in panel.lines]))
    values = [np.asarray(line.y, float) for line in panel.lines]
    spreads = [np.zeros(len(line.y)) if line.spread is None else line.spread for line in panel.lines]
    ends = [y + sign * np.asarray(s) for y, s in zip(values, spreads, strict=True) for sign in (-1, 1)]
    up = panel.limits or _extent(np.concatenate(ends))
    parts = [f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="black"/>']
    for share in np.linspace(0, 1, TICKS):
        x, y = share * WIDTH, (1 - share) * HEIGHT
        parts.append(_text(x, HEIGHT + 16, f"{across[0] + share * (across[1] - across[0]):.3g}"))
        parts.append(_text(-8, y + 4, f"{up[0] + share * (up[1] - up[0]):.2g}", "end"))
        parts.append(f'<path d="M0 {y:.1f}H{WIDTH}" stroke="#ddd"/>')
    for line, y_values, spread in zip(panel.lines, values, spreads, strict=True):
        x = (np.asarray(line.x, float) - across[0]) / (across[1] - across[0]) * WIDTH
        parts.append(_curve(x, _down(y_values, up), colours[line.name]))
        if line.spread is not None:
            low, high = (_down(y_values + sign * np.asarray(spread), up) for sign in (-1, 1))
            bars = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x, low, high, strict=True))
            parts.append(f'<path d="{bars}" stroke="{colours[line.name]}"/>')
    parts += [_text(WIDTH / 2, -14, panel.title, weight="bold"), _text(WIDTH / 2, HEIGHT + 36, panel.x)]
    return (
        "".join(parts) + f'<g transform="translate(-62,{HEIGHT / 2}) rotate(-90)">{_text(0, 0, panel.y)}</g>'
    )


def _curve(x: NDArray[np.float64], y: NDArray[np.float64], colour: str) -> str:
    points = [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in zip(x, y, strict=True))
    return (
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<g fill="{colour}">{dots}</g>'
    )


def _down(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float64]:
    """Values as px from the top, kept within the panel."""
    return (1 - (np.clip(values, *limits) - limits[0]) / (limits[1] - limits[0])) * HEIGHT


def _extent(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _text(x: float, y: float, text: str, anchor: str = "middle", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
