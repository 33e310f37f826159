"""A slide as an image layer in µm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Layer

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import SLIDE, world_scale
from napari_zoommil.viewer.notifications import show_info

IN_PLACE = "Slides and their overlays stay in place"


def slide_layer(slide: Slide) -> tuple[list[Any], dict[str, Any], str]:
    """Layer data for napari's readers."""
    arguments = {
        "name": slide.stem,
        "rgb": True,
        "multiscale": True,
        "contrast_limits": (0, 255),
        "cache": False,  # decoded tiles are already cached below dask, with a size limit
        "metadata": {SLIDE: slide},
        **world_scale(slide),
    }
    return slide.pyramid(), arguments, "image"


def keep_in_place(layer: Layer) -> None:
    """Disable napari's transform tool for a layer: an overlay alone would be at another place.

    A single key activates it: on a slide the key 2, which chooses a class during annotation.
    """
    layer.events.mode.connect(_put_back)


def _put_back(event: Any) -> None:
    layer = event.source
    if layer.mode == "transform":
        layer.mode = "pan_zoom"
        show_info(IN_PLACE)


def open_slide_layer(
    path: str | Path, mpp: float | None = None, icc: bool = False
) -> tuple[list[Any], dict[str, Any], str]:
    """Open a slide and return its layer data."""
    return slide_layer(Slide.open(path, mpp, icc))
