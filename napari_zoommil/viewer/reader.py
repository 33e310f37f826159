"""Reader for napari: drag and drop, and File › Open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_zoommil.slides.readers.base import slide_format

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader for a slide; None if the path is not a slide.

    A plain TIFF is accepted only if it is a tiled pyramid; napari opens other TIFFs itself.
    """
    if isinstance(path, list) or not slide_format(Path(path)):
        return None
    return read


def read(path: str) -> list[LayerData]:
    """Layer of a slide; the session adds its annotations."""
    import napari

    from napari_zoommil.viewer.layers.slide import open_slide_layer
    from napari_zoommil.viewer.session import session_of

    viewer = napari.current_viewer()
    if viewer is not None:
        session_of(viewer)
        viewer.canvas.overlays.scale_bar.visible = True
    return [open_slide_layer(path)]
