"""A slide as an image layer in µm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Layer
from napari.utils.notifications import show_info

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import SLIDE, world_scale

IN_PLACE = "Slides and their overlays stay in place"


def slide_layer(slide: Slide) -> tuple[list[Any], dict[str, Any], str]:
    """Layer data as napari's readers return it."""
    arguments = {
        "name": slide.stem,
        "rgb": True,
        "multiscale": True,
        "contrast_limits": (0, 255),
        "cache": False,  # decoded tiles are kept below dask already, within bounds
        "metadata": {SLIDE: slide},
        **world_scale(slide),
    }
    return slide.pyramid(), arguments, "image"


def keep_in_place(layer: Layer) -> None:
    """Let nobody move a layer against the slide: what is computed of it and drawn on it would lie elsewhere.

    One key brings up napari's tool for that, on a slide the key 2, which chooses a class where cells are
    marked.
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
    """Open a slide and describe its layer."""
    return slide_layer(Slide.open(path, mpp, icc))
