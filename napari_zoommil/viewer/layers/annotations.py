"""The annotation layers of a slide: one for points, one for regions."""

from __future__ import annotations

import napari
import numpy as np
from napari.layers import Layer

from napari_zoommil.annotations import Points
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.compat import removing_together
from napari_zoommil.viewer.layers.points import PointsView
from napari_zoommil.viewer.layers.regions import RegionsView
from napari_zoommil.viewer.metadata import per_pixel


class AnnotationLayers:
    """Both layers of a document; see :class:`PointsView`.

    Attributes
    ----------
    view : PointsView
    regions : RegionsView
    """

    def __init__(self, viewer: napari.Viewer, slide: Slide, points: Points) -> None:
        self._viewer, self._slide, self._points = viewer, slide, points
        self._show()

    def _show(self) -> None:
        self.regions = RegionsView(self._viewer, self._slide, self._points)
        self.view = PointsView(self._viewer, self._slide, self._points)
        # napari does not emit what was pasted.
        self.view.layer.bind_key("Ctrl-V", lambda _: None, overwrite=True)

    @property
    def layers(self) -> tuple[Layer, Layer]:
        return self.view.layer, self.regions.layer

    @property
    def in_place(self) -> bool:
        """Whether both layers exist and have the slide's current scale."""
        scale = per_pixel(self._slide)
        return all(layer in self._viewer.layers and np.allclose(layer.scale, scale) for layer in self.layers)

    def renew(self) -> None:
        """Recreate both layers; the document and its history are not changed."""
        label = self.view.label
        self.close()
        self._show()
        self.view.label = label

    def rest(self) -> None:
        """Switch both layers to a mode without editing."""
        self.regions.stop()
        self.view.layer.mode = "pan_zoom"

    def close(self) -> None:
        """Remove both layers, and disconnect from the document."""
        with removing_together(self._viewer.layers):
            self.view.close()
            self.regions.close()
