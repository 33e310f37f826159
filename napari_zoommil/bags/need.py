"""Requests of a model to its bag (needs), and the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from napari_zoommil.bags.bag import Bag
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import NATIVE, Box, PatchGrid, Rows, magnification_of


@dataclass(frozen=True, eq=False)
class Need:
    """Patches that a model's pass requests.

    Attributes
    ----------
    level : int
        Index into the grid's magnifications.
    rows : (n,) int64
    what : {"features", "pixels"}
        (n, D) float32, or (n, 3, p, p) uint8. Neither may be changed in place.
    variant : int
        Rotation and flip of the patches before encoding, 0 to 7 (0 = unchanged); see
        :func:`~napari_zoommil.encoders.turned.turned`.
    preview : callable, optional
        (b, …) answers → (b, H) raw scores, for a partial map while other patches are still encoded; equal
        to the scores of the finished step.
    """

    level: int
    rows: Rows
    what: Literal["features", "pixels"] = "features"
    variant: int = 0
    preview: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class NeedImage:
    """An image that a model's pass requests, answered by (3, h, w) uint8.

    Attributes
    ----------
    box : Box
        Level-0 px; outside the slide it is background.
    mpp : float
        Resolution, µm/px; :data:`~napari_zoommil.geometry.NATIVE` for the slide's own pixels.
    named : float, optional
        Magnification that it stands for, if it is not the nominal one of the resolution.
    """

    box: Box
    mpp: float
    named: float | None = None

    @classmethod
    def of(cls, grid: PatchGrid) -> NeedImage:
        """The image of a grid from :func:`~napari_zoommil.slides.image_grid.image_grid`.

        Raises
        ------
        ModelError
            If the grid is one of patches.
        """
        require_image(grid)
        level = grid.levels[0]
        (y, x), (height, width) = level.origins[0].tolist(), level.size
        return cls(Box(y, x, height, width), level.mpp, level.magnification)

    @property
    def magnification(self) -> float:
        if self.named is not None:
            return self.named
        return NATIVE if self.mpp == NATIVE else magnification_of(self.mpp)


def require_image(grid: PatchGrid) -> None:
    """Check that a grid is a single image.

    Raises
    ------
    ModelError
    """
    if len(grid.levels) != 1 or len(grid.levels[0]) != 1:
        raise ModelError("the model reads an image, but the grid is one of patches")


def source_of(bag: Bag, need: Need | NeedImage) -> Any:
    """The bag that answers a need: the bag itself, its pixel bag, or another variant of either.

    Raises
    ------
    ModelError
        If the bag cannot answer.
    """
    if isinstance(need, NeedImage):
        return _pixels(bag)
    if need.what == "features" and _holds_pixels(bag):
        raise ModelError("the model requests features, but it was built to read pixels and has no encoder")
    source = _pixels(bag) if need.what == "pixels" else bag
    if not need.variant:
        return source
    if not hasattr(source, "variant"):
        raise ModelError(
            "the model requests features of rotated patches, which feature files do not hold; predict on the "
            "slide itself, or train the model with views=1"
        )
    return source.variant(need.variant)


def _holds_pixels(bag: Bag) -> bool:
    return getattr(bag, "holds", "features") == "pixels"


def _pixels(bag: Bag) -> Any:
    if _holds_pixels(bag):
        return bag
    slide = getattr(bag, "slide", None)
    if slide is None:
        raise ModelError("the model reads pixels, but a feature store holds none; it needs the slide itself")
    return PixelBag(slide, bag.grid, getattr(bag, "batch_size", 64), getattr(bag, "workers", None))


def answer(bag: Bag, need: Need | NeedImage) -> Tensor:
    """The answer to a need, on the CPU.

    Raises
    ------
    ModelError
        If the bag cannot answer.
    """
    source = source_of(bag, need)
    if isinstance(need, Need):
        return source.features(need.level, need.rows)
    strips = source.image(need.box, need.mpp)
    while True:
        try:
            next(strips)
        except StopIteration as stop:
            return stop.value
