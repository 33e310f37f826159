"""What of a slide a model reads that takes an image in place of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shapely

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import NATIVE, Box, PatchGrid
from napari_zoommil.slides import Slide
from napari_zoommil.slides.image_grid import image_grid

if TYPE_CHECKING:
    from napari_zoommil.models.spec import ModelSpec


def refuse_magnification(model: str, spec: ModelSpec, magnification: float | None) -> None:
    """Refuse a chosen magnification for a model that reads patches, whose magnifications are its own.

    Raises
    ------
    ModelError
    """
    if magnification is not None and spec.takes != "image":
        raise ModelError(f"{model} reads patches at the magnifications of its training; leave this one out")


def needs_pixel_size(spec: ModelSpec, magnification: float | None = None) -> bool:
    """Whether a model reads slides at a magnification, and not in their own pixels whatever their size.

    Parameters
    ----------
    magnification : float, optional
        At which an image is read; that of the model's training by default.
    """
    return spec.takes != "image" or _read_at(spec, magnification) != NATIVE


def _read_at(spec: ModelSpec, magnification: float | None) -> float:
    return spec.magnifications[0] if magnification is None else magnification


def image_on(
    slide: Slide,
    model: str,
    spec: ModelSpec,
    area: shapely.Geometry | None,
    magnification: float | None = None,
    min_tissue: float | None = None,
    overlap: float = 0.0,
) -> PatchGrid:
    """The rectangle around an area of a slide, or all of the slide, as an image.

    Parameters
    ----------
    area : Geometry, optional
        Level-0 (y, x); of one piece.
    magnification : float, optional
        That of the model's training by default.

    Raises
    ------
    ModelError
        If the area is of several pieces, or something is given that only patches have.
    MagnificationError, MissingResolutionError
        If the slide cannot be read at this magnification.
    """
    if min_tissue is not None or overlap:
        raise ModelError(f"{model} reads an image and no patches; leave overlap and the tissue share out")
    pieces = shapely.get_num_geometries(area) if area is not None else 1
    if pieces > 1:
        raise ModelError(f"{model} reads one rectangle, but the regions are {pieces} areas apart; choose one")
    box = None
    if area is not None:
        y, x, bottom, right = area.bounds
        box = Box(y, x, bottom - y, right - x)
    return image_grid(slide, _read_at(spec, magnification), box)
