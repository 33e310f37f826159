"""Heat maps and tissue as layers, aligned with the slide.

A map is a small float image per magnification with one value per patch, which napari scales, so that updating
a batch costs kilobytes. napari has the centre of pixel 0 at the origin; a map whose pixels are patches is
therefore translated by half a patch minus half a slide pixel.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap

from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.colours import ramp
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.metadata import (
    TITLE,
    UNIT,
    is_slide,
    on_level_0,
    overlay_metadata,
    per_pixel,
    slide_of,
)
from napari_zoommil.viewer.sight import sight_of

MAP = "napari_zoommil.map"
"""Key of the heat map in its layer's metadata."""

WHEN = "napari_zoommil.when"
"""Key of ``before`` or ``after``, for maps of a comparison; they are not removed with a prediction."""

TISSUE = "tissue"
ZOOMED = "zoomed into"
ZOOM_EDGE = 0.04  # of a patch
ZOOM_COLOURS = ("#202020", "#0072b2", "#cc79a7", "#d55e00")
TISSUE_COLOUR = (0.0, 0.62, 0.45, 0.35)


def overlay_name(slide: Slide, title: str) -> str:
    return f"{slide.stem} · {title}"


def placement(slide: Slide, origin: tuple[float, float], downsample: tuple[float, float]) -> dict[str, Any]:
    """Scale, shift and units of an image whose pixels are ``downsample`` level-0 px large."""
    unit = np.asarray(per_pixel(slide))
    return {
        "scale": tuple(np.asarray(downsample) * unit),
        "translate": tuple((np.asarray(origin) + (np.asarray(downsample) - 1) / 2) * unit),
        "units": (UNIT if slide.mpp else "pixel",) * 2,
    }


def find_layer(viewer: napari.Viewer, slide: Slide, title: str) -> Layer | None:
    """The overlay of a slide by its title, which does not change when the layer is renamed."""
    for layer in viewer.layers:
        if slide_of(layer) is slide and layer.metadata.get(TITLE) == title:
            return layer
    return None


def show_map(
    viewer: napari.Viewer, slide: Slide, shown: HeatMap, values: np.ndarray, when: str = ""
) -> Image:
    """Show a map, in its layer if there is one; hidden if the slide is not visible.

    Parameters
    ----------
    values : (h, w) float32
        Values to show, from :func:`~napari_zoommil.maps.display_values`.
    when : str
        ``before`` or ``after`` for a comparison, for which the map has a separate layer.
    """
    name = "signed" if shown.signed else "attention"
    layer = _show_image(
        viewer,
        slide,
        map_title(shown, when),
        values,
        placement(slide, shown.origin, shown.downsample),
        colormap=Colormap(ramp(shown.signed), name=f"ZoomMIL {name}"),
        contrast_limits=(-1.0, 1.0) if shown.signed else (0.0, 1.0),
    )
    layer.metadata.update({MAP: shown, WHEN: when})
    return layer


def map_title(shown: HeatMap, when: str) -> str:
    """``attention before 10x``."""
    what, _, magnification = shown.title.rpartition(" ")
    return " ".join(word for word in (what, when, magnification) if word)


def show_tissue(viewer: napari.Viewer, slide: Slide, tissue: Tissue) -> Image:
    """Show the tissue mask."""
    return _show_image(
        viewer,
        slide,
        TISSUE,
        np.where(tissue.mask, np.float32(1), np.float32(np.nan)),
        placement(slide, (0.0, 0.0), tissue.downsample),
        colormap=Colormap([(*TISSUE_COLOUR[:3], 0.0), TISSUE_COLOUR], name="ZoomMIL tissue"),
        contrast_limits=(0.0, 1.0),
    )


def _show_image(
    viewer: napari.Viewer,
    slide: Slide,
    title: str,
    values: np.ndarray,
    placed: dict[str, Any],
    colormap: Colormap,
    contrast_limits: Pair,
) -> Image:
    """Update or create the layer with this title; its appearance, which the user may change, is kept."""
    layer = find_layer(viewer, slide, title)
    if isinstance(layer, Image):
        layer.data = values
        for name in ("scale", "translate"):
            if not np.array_equal(getattr(layer, name), placed[name]):
                setattr(layer, name, placed[name])
        return layer
    layer = Image(
        values,
        name=overlay_name(slide, title),
        colormap=colormap,
        contrast_limits=contrast_limits,
        blending="translucent",
        interpolation2d="nearest",
        metadata=overlay_metadata(slide, title),
        **placed,
    )
    _insert(viewer, slide, layer)
    return layer


def show_zoomed(viewer: napari.Viewer, slide: Slide, prediction: Prediction) -> None:
    """Outline the patches selected for zooming, one colour per magnification."""
    boxes, colours, widths = [], [], []
    for step in prediction.steps:
        level = prediction.grid.levels[step.level]
        for y, x in level.origins[step.zoomed]:
            h, w = level.size
            boxes.append(np.array([(y, x), (y + h, x), (y + h, x + w), (y, x + w)]))
            colours.append(ZOOM_COLOURS[step.level % len(ZOOM_COLOURS)])
            widths.append(ZOOM_EDGE * h)
    layer = find_layer(viewer, slide, ZOOMED)
    if not boxes:
        if layer is not None:
            viewer.layers.remove(layer)
        return
    if not isinstance(layer, Shapes):
        layer = Shapes(
            ndim=2,
            name=overlay_name(slide, ZOOMED),
            metadata=overlay_metadata(slide, ZOOMED) | {MAP: None},
            **on_level_0(slide),
        )
        _insert(viewer, slide, layer)
    layer.data = []
    layer.add_rectangles(boxes, edge_color=colours, face_color="transparent", edge_width=widths)
    layer.selected_data = set()


def _insert(viewer: napari.Viewer, slide: Slide, layer: Layer) -> None:
    """Insert above the slide and its other images, and below the user's layers."""
    own = [
        index
        for index, other in enumerate(viewer.layers)
        if slide_of(other) is slide and (is_slide(other) or isinstance(other, Image))
    ]
    put_in(viewer, slide, layer, None, own[-1] + 1 if own else len(viewer.layers))


def put_in(viewer: napari.Viewer, slide: Slide, layer: Layer, old: Layer | None, place: int) -> None:
    """Insert a layer of a slide at an index of the current layers, in place of ``old``.

    The selection is kept; a layer stays hidden if ``old`` was hidden or the slide is not visible.
    """
    sight, layers = sight_of(viewer), viewer.layers
    selected = {layer if one is old else one for one in layers.selection}
    if sight.is_away(slide):
        layer.visible = False
        if old is None or sight.is_hidden(old):
            sight.hide(layer)
    elif old is not None:
        layer.visible = old.visible
    with sight.held_still():
        if old is not None:
            place -= layers.index(old) < place
            layers.remove(old)
        layers.insert(place, layer)
        layers.selection = selected


def remove_maps(viewer: napari.Viewer, slide: Slide, kept: Collection[str] = ()) -> None:
    """Remove the heat maps of a slide's predictions, except those with some titles."""
    for layer in [each for each in viewer.layers if is_map_of(each, slide) and not each.metadata.get(WHEN)]:
        if layer.metadata[TITLE] not in kept:
            viewer.layers.remove(layer)


def is_map_of(layer: Layer, slide: Slide) -> bool:
    """Whether a layer is a heat map of a prediction on a slide."""
    return slide_of(layer) is slide and MAP in layer.metadata
