"""Maps and tissue over a slide."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_zoommil.maps.colours import Pixels
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.compat import remove_layers
from napari_zoommil.viewer.layers.painted import Picture, painted_levels
from napari_zoommil.viewer.metadata import TITLE, is_slide, overlay_metadata, slide_of, world_scale
from napari_zoommil.viewer.sight import sight_of

MAP = "napari_zoommil.map"
"""Key of the :class:`~napari_zoommil.maps.overlay.Overlay` in its layer's metadata."""

WHEN = "napari_zoommil.when"
"""Key of ``before`` or ``after``, for maps of a comparison; they are not removed with a prediction."""

PICTURE = "napari_zoommil.picture"
"""Key of a list with the picture in its layer's metadata."""

TISSUE = "tissue"
TISSUE_COLOUR = (0, 110, 80, 255)
TISSUE_PX = 2


def overlay_name(slide: Slide, title: str) -> str:
    return f"{slide.stem} · {title}"


def find_layer(viewer: napari.Viewer, slide: Slide, title: str) -> Layer | None:
    """The overlay of a slide by its title, which does not change when the layer is renamed."""
    for layer in viewer.layers:
        if slide_of(layer) is slide and layer.metadata.get(TITLE) == title:
            return layer
    return None


def show_overlay(viewer: napari.Viewer, slide: Slide, shown: Overlay, when: str = "") -> Image:
    """Show maps of one kind, in the layer of that kind if there is one; hidden if the slide is not visible.

    Parameters
    ----------
    shown : Overlay
    when : str
        ``before`` or ``after`` for a comparison, for which there are separate layers.
    """
    return _show_picture(viewer, slide, overlay_title(shown, when), shown, {MAP: shown, WHEN: when})


def overlay_title(shown: Overlay, when: str = "") -> str:
    """``attention``, ``Grad-CAM tumour``, ``attention before``.

    No magnification: the layer shows all of them.
    """
    return " ".join(word for word in (shown.what, when) if word)


@dataclass(frozen=True, eq=False)
class TissueOutline:
    """The edge of a tissue mask as a line."""

    tissue: Tissue

    def paint(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Pixels:
        """See :meth:`napari_zoommil.maps.overlay.Overlay.paint`."""
        from scipy.ndimage import binary_erosion

        mask = np.pad(self.tissue.mask, 1)
        rows, columns = (
            (np.floor(places / step).clip(-1, count) + 1).astype(np.intp)
            for places, step, count in zip(
                (y, x), self.tissue.downsample, self.tissue.mask.shape, strict=True
            )
        )
        inside = mask[rows][:, columns]
        edge = inside & ~binary_erosion(inside, iterations=TISSUE_PX, border_value=1)
        painted = np.zeros((*edge.shape, 4), np.uint8)
        painted[edge] = TISSUE_COLOUR
        return painted


def show_tissue(viewer: napari.Viewer, slide: Slide, tissue: Tissue) -> Image:
    """Show the outline of the tissue mask."""
    return _show_picture(viewer, slide, TISSUE, TissueOutline(tissue), {})


def _show_picture(
    viewer: napari.Viewer, slide: Slide, title: str, picture: Picture, metadata: dict[str, Any]
) -> Image:
    """Paint a picture over a slide, in its layer if there is one, which keeps its appearance.

    The layer is hidden if the slide is not visible.
    """
    layer = find_layer(viewer, slide, title)
    if isinstance(layer, Image):
        repaint(layer, picture, metadata)
        return layer
    pictures = [picture]
    layer = Image(
        painted_levels(slide.shape, pictures),
        **painted_arguments(slide, title, pictures, metadata),
        **world_scale(slide),
    )
    _insert(viewer, slide, layer)
    return layer


def repaint(layer: Image, picture: Picture, metadata: dict[str, Any] | None = None) -> None:
    """Paint another picture in the layer of one."""
    layer.metadata[PICTURE][0] = picture
    layer.metadata.update(metadata or {})
    layer.refresh(extent=False)


def painted_arguments(
    slide: Slide, title: str, pictures: list[Picture], metadata: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of napari's Image for a picture, except for its levels and their place."""
    return {
        "name": overlay_name(slide, title),
        "rgb": True,
        "multiscale": True,
        "contrast_limits": (0, 255),
        "blending": "translucent",
        "interpolation2d": "nearest",
        "cache": False,
        "metadata": overlay_metadata(slide, title) | {PICTURE: pictures} | metadata,
    }


def _insert(viewer: napari.Viewer, slide: Slide, layer: Layer) -> None:
    """Insert above the slide and its maps, and below its cells and the user's layers."""
    own = [
        index
        for index, other in enumerate(viewer.layers)
        if slide_of(other) is slide and (is_slide(other) or MAP in other.metadata or _is_tissue(other))
    ]
    put_in(viewer, slide, layer, own[-1] + 1 if own else len(viewer.layers))


def _is_tissue(layer: Layer) -> bool:
    return layer.metadata.get(TITLE) == TISSUE


def put_in(viewer: napari.Viewer, slide: Slide, layer: Layer, place: int) -> None:
    """Insert a layer of a slide at an index; the selection is kept, and it is hidden if the slide is."""
    sight, layers = sight_of(viewer), viewer.layers
    selected = set(layers.selection)
    if sight.is_away(slide):
        sight.hide(layer)
    with sight.held_still():
        layers.insert(place, layer)
        layers.selection = selected


def remove_maps(viewer: napari.Viewer, slide: Slide, kept: Collection[str] = ()) -> None:
    """Remove the heat maps of a slide's predictions, except those with some titles."""
    maps = [each for each in viewer.layers if is_map_of(each, slide) and not each.metadata.get(WHEN)]
    remove_layers(viewer.layers, [layer for layer in maps if layer.metadata[TITLE] not in kept])


def is_map_of(layer: Layer, slide: Slide) -> bool:
    """Whether a layer is a heat map of a prediction on a slide."""
    return slide_of(layer) is slide and MAP in layer.metadata
