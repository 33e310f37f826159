"""What the metadata of a layer say of its slide, and how level-0 pixels lie in the world."""

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
"""Key of what an overlay shows: renaming its layer does not lose it."""

UNIT = "micrometer"


def slide_of(layer: Layer | None) -> Slide | None:
    """The slide a layer shows, or that an overlay belongs to."""
    held = layer.metadata.get(SLIDE) if layer is not None else None
    return held() if isinstance(held, ref) else held


def overlay_metadata(slide: Slide, title: str) -> dict[str, Any]:
    """Metadata of a layer that belongs to a slide and shows what ``title`` says.

    It does not keep the slide: napari's controls hold a removed layer for as long as Qt has not taken
    them apart, which it does in its own event loop only.
    """
    return {SLIDE: ref(slide), TITLE: title}


def is_slide(layer: Layer) -> bool:
    """Whether a layer shows a slide itself."""
    return isinstance(layer, Image) and layer.multiscale and SLIDE in layer.metadata


def world_scale(slide: Slide) -> dict[str, Any]:
    """Scale and units of level 0: µm where the resolution is known, else pixels."""
    if slide.mpp is None:
        return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
    return {"scale": slide.mpp, "units": (UNIT, UNIT)}


def on_level_0(slide: Slide) -> dict[str, Any]:
    """Scale, shift and units of a layer whose data are level-0 px, which count from the corner of a pixel:
    napari counts from its centre."""
    unit = per_pixel(slide)
    return world_scale(slide) | {"translate": (-unit[0] / 2, -unit[1] / 2)}


def level_0(slide: Slide, world: Sequence[float]) -> tuple[float, float]:
    """Level-0 y and x, px, of a place in the world."""
    y, x = ((place / unit) + 0.5 for place, unit in zip(world, per_pixel(slide), strict=True))
    return y, x


def per_pixel(slide: Slide) -> Pair:
    """World units per level-0 pixel, y and x."""
    return slide.mpp or (1.0, 1.0)
