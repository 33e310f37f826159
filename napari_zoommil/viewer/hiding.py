"""One key hides and shows all overlays of the slide in view: maps, tissue, cells, regions of a run.

Points and regions stay, because clicks change them: nobody is to place a point that he does not see.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from napari.layers import Layer

from napari_zoommil.viewer.keys import OVERLAYS
from napari_zoommil.viewer.layers.points import POINTS
from napari_zoommil.viewer.layers.regions import REGIONS
from napari_zoommil.viewer.metadata import TITLE, is_slide, slide_of
from napari_zoommil.viewer.sight import sight_of


def toggle_overlays(viewer: Any) -> bool:
    """Hide the overlays that are visible; if there are none, show those that were hidden so.

    Returns
    -------
    bool
        False if they are hidden now.
    """
    sight = sight_of(viewer)
    return sight.put_away(
        layer for layer in viewer.layers if _is_overlay(layer) and sight.slide in (None, slide_of(layer))
    )


def _is_overlay(layer: Layer) -> bool:
    title = layer.metadata.get(TITLE)
    return slide_of(layer) is not None and not is_slide(layer) and title not in (POINTS, REGIONS)


def bind_overlay_key(viewer: Any) -> None:
    """Let the key act in a viewer, whatever layer is active.

    Layers of slides get it too: for images, napari has another use for the key, in 3-D.
    """
    held = ref(viewer)

    def toggle(_active: object) -> None:
        if (alive := held()) is not None:
            toggle_overlays(alive)

    def bind(layer: Layer) -> None:
        if slide_of(layer) is not None:
            layer.bind_key(OVERLAYS, toggle, overwrite=True)

    viewer.bind_key(OVERLAYS, toggle, overwrite=True)
    for layer in viewer.layers:
        bind(layer)
    viewer.layers.events.inserted.connect(lambda event: bind(event.value))
