"""Drawings of text, rectangles and pixels, as PNG and SVG: legends and figures are made of them.

All lengths are in px of a drawing at scale 1; y runs down.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from napari_zoommil.maps.colours import Pixels

Anchor = Literal["start", "middle", "end"]

FAMILY = "Open Sans, DejaVu Sans, Segoe UI, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Text:
    """A line of text; ``y`` is that of its base line."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    bold: bool = False
    anchor: Anchor = "start"


@dataclass(frozen=True)
class Rectangle:
    """A rectangle, filled or with an edge inside; an ellipse if ``round``."""

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    edge: str = ""
    line: float = 1.0
    round: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels (h, w, 3) in a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pixels: Pixels


@dataclass(frozen=True)
class Line:
    """A line through points, (x, y) from ``x`` and ``y`` on."""

    x: float
    y: float
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.5


Item = Text | Rectangle | Picture | Line


@dataclass(frozen=True, eq=False)
class Drawing:
    """Items in the order in which they are painted."""

    width: float
    height: float
    items: tuple[Item, ...]

    def moved(self, x: float, y: float) -> Iterator[Item]:
        """Its items at another place."""
        return (replace(item, x=item.x + x, y=item.y + y) for item in self.items)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Of a line in the font of the PNGs."""
    return float(_font(bold, round(size * 8)).getlength(text)) / 8


def elided(text: str, width: float, size: float, bold: bool = False) -> str:
    """A text that is not wider than a width: its end is left out where it is too long."""
    cut = text
    while cut and text_width(f"{cut}…" if cut != text else cut, size, bold) > width:
        cut = cut[:-1]
    return cut if cut == text else f"{cut}…"


def wrapped(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Lines of a text that are not wider than a width."""
    lines: list[str] = []
    for word in (elided(word, width, size, bold) for word in text.split()):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def to_image(drawing: Drawing, scale: float = 1.0, background: str | None = None) -> Image.Image:
    """RGBA image with ``scale`` px per px of the drawing."""
    size = (round(drawing.width * scale), round(drawing.height * scale))
    image = Image.new("RGBA", size, background or (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for item in drawing.items:
        if isinstance(item, Picture):
            box = _box(item, scale)
            pixels = Image.fromarray(item.pixels).resize((box[2] - box[0], box[3] - box[1]))
            image.paste(pixels, box[:2])
        elif isinstance(item, Rectangle):
            left, top, right, bottom = _box(item, scale)
            shape = draw.ellipse if item.round else draw.rectangle
            shape(
                (left, top, max(left, right - 1), max(top, bottom - 1)),
                fill=item.fill or None,
                outline=item.edge or None,
                width=max(1, round(item.line * scale)) if item.edge else 0,
            )
        elif isinstance(item, Line):
            places = [((item.x + x) * scale, (item.y + y) * scale) for x, y in item.points]
            draw.line(places, fill=item.colour, width=max(1, round(item.width * scale)), joint="curve")
        else:
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[item.anchor]
            place = (item.x * scale, item.y * scale)
            font = _font(item.bold, round(item.size * scale))
            draw.text(place, item.text, fill=item.colour, font=font, anchor=anchor)
    return image


def to_svg(drawing: Drawing, background: str | None = None) -> str:
    """An SVG document; pixels are embedded as PNG."""
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    paper = f'<rect {size} fill="{background}"/>' if background else ""
    items = "\n".join(map(_svg, drawing.items))
    view = f'viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size} {view}'
    return f'{head} font-family="{FAMILY}">\n{paper}{items}\n</svg>\n'


def lines_of(items: Iterable[Item]) -> list[str]:
    """The texts of a drawing, in order."""
    return [item.text for item in items if isinstance(item, Text)]


def _svg(item: Item) -> str:
    if isinstance(item, Text):
        weight = ' font-weight="bold"' if item.bold else ""
        return (
            f'<text x="{item.x:.2f}" y="{item.y:.2f}" font-size="{item.size:g}" fill="{item.colour}"{weight} '
            f'text-anchor="{item.anchor}">{escape(item.text)}</text>'
        )
    if isinstance(item, Line):
        points = " ".join(f"{item.x + x:.2f},{item.y + y:.2f}" for x, y in item.points)
        return (
            f'<polyline points="{points}" fill="none" stroke="{item.colour}" stroke-width="{item.width:g}"/>'
        )
    if isinstance(item, Picture):
        data = base64.b64encode(png_bytes(Image.fromarray(item.pixels))).decode()
        return (
            f'<image x="{item.x:.2f}" y="{item.y:.2f}" width="{item.width:.2f}" height="{item.height:.2f}" '
            f'preserveAspectRatio="none" xlink:href="data:image/png;base64,{data}"/>'
        )
    inset = item.line / 2 if item.edge else 0.0
    x, y, width, height = item.x + inset, item.y + inset, item.width - 2 * inset, item.height - 2 * inset
    paint = f'fill="{item.fill or "none"}"'
    if item.edge:
        paint += f' stroke="{item.edge}" stroke-width="{item.line:g}"'
    if item.round:
        centre = f'cx="{x + width / 2:.2f}" cy="{y + height / 2:.2f}"'
        return f'<ellipse {centre} rx="{width / 2:.2f}" ry="{height / 2:.2f}" {paint}/>'
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" {paint}/>'


def png_bytes(image: Image.Image) -> bytes:
    """An image as a PNG file.

    Searching for runs alone takes 0.6 of the time on pictures of slides, whose files become 3 % larger.
    """
    file = io.BytesIO()
    image.save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()


def _box(item: Rectangle | Picture, scale: float) -> tuple[int, int, int, int]:
    ends = np.rint(np.array((item.x, item.y, item.x + item.width, item.y + item.height)) * scale).astype(int)
    left, top, right, bottom = ends.tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


@cache
def _font(bold: bool, size: int) -> FreeTypeFont | ImageFont.ImageFont:
    """The font that napari's canvas brings along, which is the same everywhere; else one of the system."""
    vispy = find_spec("vispy")
    folders = (vispy.submodule_search_locations if vispy else None) or ()
    own = [Path(folder) / "util" / "fonts" / "data" for folder in folders]
    name = "Bold" if bold else "Regular"
    system = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    for font in (*(str(folder / f"OpenSans-{name}.ttf") for folder in own), system, "Arial.ttf"):
        try:
            return ImageFont.truetype(font, max(1, size))
        except OSError:
            continue
    return ImageFont.load_default(max(1, size))
