"""The legend of overlays: what is shown, of which class, in which unit, and what frames and see-through mean.

One legend stands on the canvas and in every exported picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_zoommil.geometry import magnification_name
from napari_zoommil.maps.colours import STEPS, Pixels, over, ramp
from napari_zoommil.maps.drawing import Drawing, Item, Picture, Rectangle, Text, elided, text_width, wrapped
from napari_zoommil.maps.methods import average_of, title_of
from napari_zoommil.maps.overlay import Overlay, Style
from napari_zoommil.maps.scales import RANK, TIMES, Scale
from napari_zoommil.models.task import LOGIT

WIDTH = 268.0
MARGIN, GAP = 12.0, 6.0
TITLE, BODY = 13.0, 11.0
BAR, TICK, LINE = 14.0, 4.0, 3.0
KEY = 11.0

INK, PAPER = "#1a1a1a", "#ffffff"
QUIET = "#555555"
EDGE = "#9a9a9a"


@dataclass(frozen=True)
class Key:
    """A sign and what it means: a frame, or the ring round a cell."""

    colour: str
    text: str
    round: bool = False


@dataclass(frozen=True)
class Legend:
    """What is said of one overlay.

    Attributes
    ----------
    title : str
        What is shown, and of which class.
    unit : str
        Of the ticks.
    scale : Scale or None
        None of overlays without a ramp, such as cells.
    style : {"filled", "outlines", "smoothed"}
    ends : (str, str)
        What the ends of the ramp stand for; empty for maps that are not signed.
    keys : tuple of Key
    notes : tuple of str
        Sentences.
    """

    title: str
    unit: str = ""
    scale: Scale | None = None
    style: Style = "filled"
    ends: tuple[str, str] = ("", "")
    keys: tuple[Key, ...] = ()
    notes: tuple[str, ...] = field(default=())


def legend_of(shown: Overlay, when: str = "") -> Legend:
    """The legend of maps.

    Parameters
    ----------
    shown : Overlay
    when : str
        ``before`` or ``after``, of a comparison.
    """
    what = title_of(shown.kind)
    words = (what[0].upper() + what[1:], f"for {shown.target}" if shown.target else "", when)
    keys = tuple(
        Key(frames.colour, f"zoomed into at {magnification_name(frames.magnification)} ({len(frames.boxes)})")
        for frames in shown.frames
    )
    sides = ("speaks against", "speaks for") if shown.output_unit == LOGIT else ("lowers", "raises")
    ends = sides if shown.scale.signed and shown.target else ("", "")
    return Legend(
        " ".join(filter(None, words)), _unit(shown), shown.scale, shown.style, ends, keys, _notes(shown)
    )


def _unit(shown: Overlay) -> str:
    if shown.scale.unit == TIMES:
        return "times the average of its magnification"
    if shown.scale.signed and shown.target and shown.scale.unit == LOGIT:
        return f"{LOGIT} of {shown.target}"
    return shown.scale.unit


def _notes(shown: Overlay) -> tuple[str, ...]:
    least = {TIMES: "average or less", RANK: f"{shown.scale.label(shown.scale.low)} or less"}
    low = "near 0" if shown.scale.signed else least.get(shown.scale.unit, "the least values")
    see_through = f"See-through: {low}, or not looked at."
    names = [magnification_name(one.magnification) for one in shown.maps]
    finest = f"Where several were looked at: the finest of {', '.join(names)}." if len(names) > 1 else ""
    only = f"Only {names[0]} is shown." if len(names) == 1 and shown.left_out else ""
    smoothed = "Smoothed: between the middles of patches, values are interpolated."
    return tuple(
        note
        for note in (
            see_through,
            finest or only,
            smoothed if shown.style == "smoothed" else "",
            "Where the model looks, not what for." if average_of(shown.kind) == "softmax" else "",
        )
        if note
    )


def draw(legends: Sequence[Legend], note: str = "", width: float = WIDTH) -> Drawing:
    """Legends one below the other, and a last note, on white in any theme: slides are white."""
    items: list[Item] = []
    y = MARGIN / 2
    for legend in legends:
        if items:
            items.append(Rectangle(MARGIN, y + GAP / 2, width - 2 * MARGIN, 1, fill=EDGE))
            y += GAP
        y = _draw(items, legend, y, width)
    y = _lines(items, note, MARGIN, y, width - 2 * MARGIN, QUIET)
    height = y + MARGIN
    paper = Rectangle(0, 0, width, height, fill=PAPER, edge=EDGE)
    return Drawing(width, height, (paper, *items))


def _draw(items: list[Item], legend: Legend, y: float, width: float) -> float:
    """Append the items of a legend from ``y`` on; returns where they end."""
    inner = width - 2 * MARGIN
    for line in wrapped(legend.title, inner, TITLE, bold=True):
        y += TITLE + LINE
        items.append(Text(MARGIN, y, line, TITLE, INK, bold=True))
    y = _lines(items, legend.unit, MARGIN, y, inner, INK)
    if legend.scale is not None:
        y = _draw_bar(items, legend, legend.scale, y + GAP, inner)
    for key in legend.keys:
        y += BODY + LINE + 1
        items.append(Rectangle(MARGIN, y - KEY + 2, KEY, KEY, edge=key.colour, line=2, round=key.round))
        items.append(Text(MARGIN + KEY + GAP, y, elided(key.text, inner - KEY - GAP, BODY), BODY, INK))
    y += LINE
    for note in legend.notes:
        y = _lines(items, note, MARGIN, y, inner, QUIET)
    return y


def _lines(items: list[Item], text: str, x: float, y: float, width: float, colour: str) -> float:
    for line in wrapped(text, width, BODY):
        y += BODY + LINE
        items.append(Text(x, y, line, BODY, colour))
    return y


def _draw_bar(items: list[Item], legend: Legend, scale: Scale, y: float, width: float) -> float:
    left, right = MARGIN + 8, MARGIN + width - 8
    items.append(Rectangle(left - 1, y - 1, right - left + 2, BAR + 2, edge=EDGE))
    items.append(Picture(left, y, right - left, BAR, bar_pixels(scale.signed, legend.style)))
    y += BAR
    for tick in scale.ticks:
        place = float(scale.places(np.array([tick]))[0])
        x = left + place * (right - left)
        items.append(Rectangle(x - 0.5, y, 1, TICK, fill=INK))
        label = scale.label(tick)
        half = text_width(label, BODY) / 2
        x = min(max(x, MARGIN + half), MARGIN + width - half)
        items.append(Text(x, y + TICK + BODY, label, BODY, INK, anchor="middle"))
    y += TICK + BODY
    against, favour = legend.ends
    if favour:
        y += BODY + LINE
        items.append(Text(MARGIN, y, against, BODY, INK))
        items.append(Text(MARGIN + width, y, favour, BODY, INK, anchor="end"))
    return y + LINE


def bar_pixels(signed: bool, style: Style, height: int = 12) -> Pixels:
    """(height, 256, 3) of a ramp on white: patches as they are filled, between lines as they are outlined."""
    fill, line = (np.tile(ramp(signed, line), (height, 1, 1)) for line in (False, True))
    edge = {"filled": 3, "outlines": height, "smoothed": 0}[style]
    fill = np.where(np.arange(height)[:, None, None] < edge, line, fill)
    return over(np.full((height, STEPS, 3), 255, np.uint8), fill)
