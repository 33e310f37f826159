"""Reader for napari: drag and drop, and File › Open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader for one path: napari asks only where the user chose this one, or it is the only one.

    So it takes whatever the commands take, and says what is wrong with anything else as they do.
    """
    return None if isinstance(path, list) else read


def read(path: str) -> list[LayerData]:
    """Layer of a slide; the session adds its annotations.

    Raises
    ------
    SlideError
        If it is none, or is damaged.
    """
    import napari

    from napari_zoommil.viewer.layers.slide import open_slide_layer
    from napari_zoommil.viewer.session import session_of

    viewer = napari.current_viewer()
    if viewer is not None:
        session_of(viewer)
        viewer.canvas.overlays.scale_bar.visible = True
    return [open_slide_layer(path)]
