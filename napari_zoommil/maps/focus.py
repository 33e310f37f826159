"""What of a prediction is explained, and how: options of the methods. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box, Pair, PatchGrid, Rows

Four = tuple[float, float, float, float]


@dataclass(frozen=True)
class Focus:
    """What of a prediction is explained; all that the model read by default.

    Raises
    ------
    ModelError
        If a window has no extent, or a window and a place are given together.

    Attributes
    ----------
    window : (float, float, float, float), optional
        Only this rectangle of the slide: y, x, height and width, level-0 px. The prediction stays that of the
        whole slide.
    at : (float, float), optional
        Only the patch at this place, level-0 y and x in px: a map of its pixels, through the encoder.
    only_magnification : float, optional
        Only this magnification; of a patch, the highest one by default.
    """

    window: Four | None = None
    at: Pair | None = None
    only_magnification: float | None = None

    def __post_init__(self) -> None:
        if self.window is not None and (len(self.window) != 4 or not min(self.window[2:]) > 0):
            raise ModelError("a window is y, x, height and width, and neither of the last two is 0")
        if self.at is not None and len(self.at) != 2:
            raise ModelError("a place is y, x")
        if self.window is not None and self.at is not None:
            raise ModelError("give a window or a place, not both")

    @property
    def box(self) -> Box | None:
        """The window."""
        return Box(*self.window) if self.window is not None else None

    @property
    def is_whole(self) -> bool:
        """Whether it is neither a patch nor a window."""
        return self.window is None and self.at is None

    def takes(self, magnification: float) -> bool:
        """Whether a magnification is explained."""
        only = self.only_magnification
        return only is None or abs(magnification - only) <= 0.01 * only

    def patch_of(self, grid: PatchGrid, read: Iterable[tuple[int, Rows]]) -> tuple[int, int] | None:
        """Level and row of the patch at the place: of the highest magnification that was read there.

        Parameters
        ----------
        read : iterable of (int, (n,) int)
            Levels, from the lowest magnification on, and the rows that were read.
        """
        if self.at is None:
            return None
        for level, rows in reversed([*read]):
            row = grid.row_at(level, *self.at)
            if self.takes(grid.levels[level].magnification) and row is not None and row in rows:
                return level, row
        return None


@dataclass(frozen=True)
class MethodOptions:
    """Options of methods of explanation.

    Attributes
    ----------
    layer : str, optional
        Of Grad-CAM, the layer of a model that reads an image, or of the encoder inside a patch. By default
        the model's own, and the last one of the encoder with a map of 16 × 16 or more.
    relu : bool
        Of Grad-CAM, keep only what speaks for the output.
    rms : bool
        Of saliency, the root mean square of the gradient over channels (features of a patch, colours of a
        pixel), instead of the sum over features and the largest of the colours.
    block : int
        Of occlusion, the edge of the block of neighbouring patches that are left out at a time.
    boxes : int
        Of occlusion, boxes along the longer edge of an image, or of a patch, that are covered one by one.
    """

    layer: str | None = None
    relu: bool = False
    rms: bool = False
    block: Annotated[int, Interval(ge=1, le=64)] = 1
    boxes: Annotated[int, Interval(ge=2, le=64)] = 8


WHOLE, PLAIN = Focus(), MethodOptions()
"""All of a prediction, and the methods as they are by default."""
