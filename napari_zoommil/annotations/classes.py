"""The cell classes of an annotation document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from napari_zoommil.errors import AnnotationError

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

DEFAULT_DIAMETER_UM = 12.0

CLASS_CYCLE: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 0, 0),
)
"""Okabe and Ito's colours, safe for the colour-blind."""

UNCLASSIFIED = "unclassified"
"""The class of points for which the file states none."""

UNCLASSIFIED_COLOUR: Colour = (128, 128, 128)


@dataclass(frozen=True)
class CellClass:
    """One class of cells.

    Attributes
    ----------
    name : str
    colour : (int, int, int)
        Red, green and blue, 0 to 255.
    diameter_um : float
        Typical diameter of such a cell, µm.

    Raises
    ------
    AnnotationError
        If the name is empty, or the colour or diameter is invalid.
    """

    name: str
    colour: Colour
    diameter_um: float = DEFAULT_DIAMETER_UM

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise AnnotationError("a class needs a name")
        if as_colour(self.colour) is None:
            raise AnnotationError(
                f"{self.colour} is not a colour for {self.name}; give red, green and blue, 0 to 255"
            )
        if not 0 < self.diameter_um < float("inf"):
            raise AnnotationError(
                f"cells of {self.name} cannot be {self.diameter_um} µm wide; give a positive number"
            )


def as_colour(value: object) -> Colour | None:
    """Red, green and blue, 0 to 255; None if ``value`` is not a colour."""
    if not (isinstance(value, (list, tuple)) and len(value) == 3):
        return None
    if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in value):
        return None
    return value[0], value[1], value[2]


def next_colour(taken: Iterable[CellClass]) -> Colour:
    """The first colour of the cycle that no class has; the cycle starts again when all are used."""
    colours = [one.colour for one in taken]
    return min(CLASS_CYCLE, key=lambda colour: (colours.count(colour), CLASS_CYCLE.index(colour)))


def added_to(classes: Iterable[CellClass], others: Iterable[CellClass]) -> tuple[CellClass, ...]:
    """Those of another document whose names are new here; who has a colour of ours gets one that is free."""
    ours, others = tuple(classes), tuple(others)
    names, colours = {one.name for one in ours}, {one.colour for one in ours}
    taken, found = [*ours, *others], []
    for one in (one for one in others if one.name not in names):
        if one.colour in colours:
            one = replace(one, colour=next_colour(taken))
            taken.append(one)
        found.append(one)
    return tuple(found)
