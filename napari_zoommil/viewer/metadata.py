"""Metadata of layers, and the transformation from level-0 pixels to world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from napari.layers import Image, Layer

from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide

SLIDE = "napari_zoommil.slide"
"""Key of the slide in its layer's metadata, and of a weak reference to it in an overlay's."""

TITLE = "napari_zoommil.title"
"""Key of the title of an overlay, which does not change when the layer is renamed."""

UNIT = "micrometer"


def slide_of(layer: Layer | None) -> Slide | None:
    """The slide of a layer or of an overlay."""
    held = layer.metadata.get(SLIDE) if layer is not None else None
    return held() if isinstance(held, ref) else held


def overlay_metadata(slide: Slide, title: str) -> dict[str, Any]:
    """Metadata of an overlay with a title, with a weak reference to its slide.

    The reference is weak because napari's controls hold a removed layer until Qt deletes them in its event
    loop.
    """
    return {SLIDE: ref(slide), TITLE: title}


def is_slide(layer: Layer) -> bool:
    """Whether a layer is the image of a slide."""
    return isinstance(layer, Image) and isinstance(layer.metadata.get(SLIDE), Slide)


def world_scale(slide: Slide) -> dict[str, Any]:
    """Scale and units of level 0: µm if the resolution is known, else pixels."""
    if slide.mpp is None:
        return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
    return {"scale": slide.mpp, "units": (UNIT, UNIT)}


def on_level_0(slide: Slide) -> dict[str, Any]:
    """Scale, translation and units of a layer with data in level-0 px, for which 0 is the corner of a pixel;
    for napari it is the centre."""
    unit = per_pixel(slide)
    return world_scale(slide) | {"translate": (-unit[0] / 2, -unit[1] / 2)}


def level_0(slide: Slide, world: Sequence[float]) -> tuple[float, float]:
    """Level-0 (y, x), px, of world coordinates."""
    y, x = ((place / unit) + 0.5 for place, unit in zip(world, per_pixel(slide), strict=True))
    return y, x


def per_pixel(slide: Slide) -> Pair:
    """World units per level-0 pixel, y and x."""
    return slide.mpp or (1.0, 1.0)
