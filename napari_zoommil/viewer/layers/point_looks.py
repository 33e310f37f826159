"""How the points of a class look, as markers and in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.settings import get_settings
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import UNCLASSIFIED_COLOUR, Colour
from napari_zoommil.annotations.edits import Classes
from napari_zoommil.viewer.layers.stamps import packed

ASSUMED_MPP = 0.5
"""Resolution for the size of cells on a slide of unknown resolution, µm/px."""

FACE_ALPHA = 0.4  # the nucleus must be visible
BORDER = 0.08  # of the diameter
SMALLEST_ON_SCREEN_PX = 9.0


@dataclass(frozen=True)
class Looks:
    """Of all classes, by label; 0 is without a class.

    Attributes
    ----------
    class_names : tuple of k + 1 str
    colours : tuple of k + 1 colours
    diameters : tuple of k + 1 float
        Level-0 px.
    """

    class_names: tuple[str, ...]
    colours: tuple[Colour, ...]
    diameters: tuple[float, ...]

    @property
    def names(self) -> NDArray[np.object_]:
        return np.array(self.class_names, object)

    @property
    def borders(self) -> NDArray[np.float64]:
        """RGBA, 0 to 1."""
        return np.array([(*colour, 255) for colour in self.colours]) / 255

    @property
    def faces(self) -> NDArray[np.float64]:
        """RGBA, 0 to 1."""
        return self.borders * (1, 1, 1, FACE_ALPHA)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Diameters, level-0 px."""
        return np.array(self.diameters)

    @property
    def packed(self) -> NDArray[np.uint32]:
        """Colours as in :func:`napari_zoommil.viewer.layers.stamps.packed`."""
        return np.array([packed(colour) for colour in self.colours], np.uint32)


def looks(classes: Classes, mpp: tuple[float, float] | None) -> Looks:
    """How the points of some classes look on a slide."""
    unit = mpp[1] if mpp else ASSUMED_MPP
    diameters = [one.diameter_um for one in classes]
    return Looks(
        ("", *(one.name for one in classes)),
        (UNCLASSIFIED_COLOUR, *(one.colour for one in classes)),
        tuple(one / unit for one in (min(diameters, default=1.0), *diameters)),
    )


def highlight() -> int:
    """napari's colour of what is selected, as in :func:`napari_zoommil.viewer.layers.stamps.packed`."""
    red, green, blue = (round(255 * part) for part in get_settings().appearance.highlight.highlight_color[:3])
    return packed((red, green, blue))
