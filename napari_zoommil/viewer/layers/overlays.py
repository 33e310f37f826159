"""Heat maps and tissue as layers exactly on the slide.

One small float image per magnification, a value per patch: napari scales it, so painting a batch
costs kilobytes. napari puts the centre of pixel 0 at its origin; a map whose pixels are whole
patches is therefore moved by half a patch less half a slide pixel.
"""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap

from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.colours import ramp
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.layers.slide import SLIDE, TITLE, UNIT, is_slide, per_pixel, slide_of
from napari_zoommil.viewer.session import session_of

MAP = "napari_zoommil.map"
"""Key of the heat map in its layer's metadata."""

WHEN = "napari_zoommil.when"
"""Key of what its layer's map is compared as, ``before`` or ``after``; such do not go with a prediction."""

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
    """The overlay of a slide by its title; renaming the layer does not lose it."""
    for layer in viewer.layers:
        if slide_of(layer) is slide and layer.metadata.get(TITLE) == title:
            return layer
    return None


def show_map(
    viewer: napari.Viewer, slide: Slide, shown: HeatMap, values: np.ndarray, when: str = ""
) -> Image:
    """Paint a map, into its layer if there is one; on a slide that is out of sight it is so too.

    Parameters
    ----------
    values : (h, w) float32
        What to show, as :func:`~napari_zoommil.maps.display_values` gives it.
    when : str
        Such as ``before``: what a map is compared as, which then has a layer of its own.
    """
    title = map_title(shown, when)
    old = find_layer(viewer, slide, title)
    if isinstance(old, Image) and old.data.shape == values.shape:
        old.data = values
        old.metadata[MAP] = shown
        return old
    limits = (-1.0, 1.0) if shown.signed else (0.0, 1.0)
    name = "Grad-CAM" if shown.signed else "attention"
    layer = Image(
        values,
        name=overlay_name(slide, title),
        colormap=Colormap(ramp(shown.signed), name=f"ZoomMIL {name}"),
        contrast_limits=limits,
        blending="translucent",
        interpolation2d="nearest",
        metadata={SLIDE: slide, MAP: shown, TITLE: title, WHEN: when},
        **placement(slide, shown.origin, shown.downsample),
    )
    _insert(viewer, slide, layer, old)
    return layer


def map_title(shown: HeatMap, when: str) -> str:
    """``attention before 10x``."""
    what, _, magnification = shown.title.rpartition(" ")
    return " ".join(word for word in (what, when, magnification) if word)


def show_tissue(viewer: napari.Viewer, slide: Slide, tissue: Tissue) -> Image:
    """Paint the tissue mask."""
    layer = find_layer(viewer, slide, TISSUE)
    values = np.where(tissue.mask, np.float32(1), np.float32(np.nan))
    if isinstance(layer, Image) and layer.data.shape == values.shape:
        layer.data = values
        return layer
    layer = Image(
        values,
        name=overlay_name(slide, TISSUE),
        colormap=Colormap([(*TISSUE_COLOUR[:3], 0.0), TISSUE_COLOUR], name="ZoomMIL tissue"),
        contrast_limits=(0, 1),
        blending="translucent",
        interpolation2d="nearest",
        metadata={SLIDE: slide, TITLE: TISSUE},
        **placement(slide, (0.0, 0.0), tissue.downsample),
    )
    _insert(viewer, slide, layer)
    return layer


def show_zoomed(viewer: napari.Viewer, slide: Slide, prediction: Prediction) -> None:
    """Outline the patches that were zoomed into, one colour per magnification."""
    boxes, colours, widths = [], [], []
    for step in prediction.steps:
        level = prediction.grid.levels[step.level]
        for y, x in level.origins[step.zoomed]:
            h, w = level.size
            boxes.append(np.array([(y, x), (y + h, x), (y + h, x + w), (y, x + w)]) - 0.5)
            colours.append(ZOOM_COLOURS[step.level % len(ZOOM_COLOURS)])
            widths.append(ZOOM_EDGE * h)
    old = find_layer(viewer, slide, ZOOMED)
    if not boxes:
        if old is not None:
            viewer.layers.remove(old)
        return
    layer = Shapes(
        boxes,
        shape_type="rectangle",
        edge_color=colours,
        face_color="transparent",
        edge_width=widths,
        name=overlay_name(slide, ZOOMED),
        scale=per_pixel(slide),
        units=(UNIT if slide.mpp else "pixel",) * 2,
        metadata={SLIDE: slide, MAP: None, TITLE: ZOOMED},
    )
    _insert(viewer, slide, layer, old)


def _insert(viewer: napari.Viewer, slide: Slide, layer: Layer, old: Layer | None = None) -> None:
    """Above the slide and its other images, below what a user draws, in place of ``old``."""
    own = [
        index
        for index, other in enumerate(viewer.layers)
        if other is not old and slide_of(other) is slide and (is_slide(other) or isinstance(other, Image))
    ]
    put_in(viewer, slide, layer, old, own[-1] + 1 if own else len(viewer.layers))


def put_in(viewer: napari.Viewer, slide: Slide, layer: Layer, old: Layer | None, place: int) -> None:
    """Insert a layer of a slide at a place among the layers as they are, and take ``old`` away for it.

    The selection stays, and what was out of sight does, be it with its slide.
    """
    session, layers = session_of(viewer), viewer.layers
    selected = {layer if one is old else one for one in layers.selection}
    entry = next((one for one in session.slides if one.slide is slide), None)
    if entry is not None and entry is not session.active:
        layer.visible = False
        if old is None or old in entry.hidden:
            entry.hidden.append(layer)
    elif old is not None:
        layer.visible = old.visible
    with session.keeping_active():  # napari selects what is inserted
        if old is not None:
            place -= layers.index(old) < place
            layers.remove(old)
        layers.insert(place, layer)
        layers.selection = selected


def remove_maps(viewer: napari.Viewer, slide: Slide) -> None:
    """Take the heat maps of a slide's prediction away."""
    for layer in [each for each in viewer.layers if is_map_of(each, slide) and not each.metadata.get(WHEN)]:
        viewer.layers.remove(layer)


def is_map_of(layer: Layer, slide: Slide) -> bool:
    """Whether a layer shows where a model looked on a slide."""
    return slide_of(layer) is slide and MAP in layer.metadata
