"""A figure of deletion and insertion curves, beside random orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from napari_zoommil.maps.colours import class_colour
from napari_zoommil.maps.curves import Curves, Values
from napari_zoommil.maps.drawing import Drawing, Item, Line, Rectangle, Text, wrapped

EDGE, MARGIN, LEFT, TITLE = 220.0, 18.0, 44.0, 64.0
INK, FAINT, GREY = "#1a1a1a", "#d8d8d8", "#9a9a9a"
OWN, RANDOM = class_colour(0), GREY
TICKS = (0.0, 0.5, 1.0)


def curves_figure(curves: Curves, title: Sequence[str] = ()) -> Drawing:
    """Both curves side by side, in the unit of the output."""
    width = 2 * (EDGE + LEFT + MARGIN) + MARGIN
    items: list[Item] = []
    top = MARGIN
    for number, text in enumerate(title):
        size = 14 if number == 0 else 12
        for line in wrapped(text, width - 2 * MARGIN, size, bold=number == 0):
            top += 17
            items.append(Text(MARGIN, top, line, size, INK, bold=number == 0))
    top += 12
    panels = (
        ("patches taken away", curves.deletion, curves.random_deletion, "deletion"),
        ("patches given alone", curves.insertion, curves.random_insertion, "insertion"),
    )
    for place, (name, own, random, area) in enumerate(panels):
        x = LEFT + MARGIN + place * (EDGE + LEFT + MARGIN)
        told = f"{area} {curves.areas[area]:.3f}, random {curves.areas[f'{area}_random']:.3f}"
        items += _panel(curves.shares, own, random, (x, top + 22), curves.limits, name, told)
    return Drawing(width, top + EDGE + TITLE, tuple(items))


def _panel(
    shares: Values,
    own: Values,
    random: Values,
    at: tuple[float, float],
    limits: tuple[float, float],
    name: str,
    told: str,
) -> Iterator[Item]:
    x, y = at
    low, high = limits
    yield Text(x, y - 8, told, 12, INK)
    for tick in TICKS:
        height = y + EDGE * (1 - tick)
        yield Line(x, height, ((0, 0), (EDGE, 0)), FAINT, 1)
        yield Text(x - 6, height + 4, f"{low + tick * (high - low):.2g}", 11, INK, anchor="end")
        yield Text(x + EDGE * tick, y + EDGE + 16, f"{tick:.0%}", 11, INK, anchor="middle")
    yield Text(x + EDGE / 2, y + EDGE + 32, name, 12, INK, anchor="middle")

    def points(values: Values) -> tuple[tuple[float, float], ...]:
        up = (values - low) / (high - low)
        return tuple(
            (float(share) * EDGE, EDGE * (1 - float(value))) for share, value in zip(shares, up, strict=True)
        )

    for one in random:
        yield Line(x, y, points(one), RANDOM, 1)
    yield Line(x, y, points(own), OWN, 2.5)
    yield Rectangle(x, y, EDGE, EDGE, edge=GREY)
