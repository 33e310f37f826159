"""A picture in the canvas that belongs to a layer and is in no list of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import napari
import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray
from vispy.scene.visuals import create_visual_node
from vispy.visuals import ImageVisual
from vispy.visuals.transforms import STTransform

from napari_zoommil.maps.colours import Pixels
from napari_zoommil.viewer.compat import node_of, real_viewer


class CanvasPicture:
    """A picture above the markers of a layer, painted when the window draws it.

    It goes with the layer: place in the order, position, visibility, opacity.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : Layer
    """

    def __init__(self, viewer: napari.Viewer, layer: Layer) -> None:
        self._viewer, self._layer = ref(real_viewer(viewer)), ref(layer)
        self._node: Any = None
        layer.events.opacity.connect(self._follow_opacity)

    @property
    def shown(self) -> bool:
        """Whether there is a picture now."""
        return self._node is not None and self._node.visible

    def show(
        self, corner: NDArray[np.float64], step: NDArray[np.float64], paint: Callable[[], Pixels]
    ) -> bool:
        """Show another picture.

        Parameters
        ----------
        corner : (y, x)
            Upper left edge, in the layer's pixels.
        step : (y, x)
            The layer's pixels to one of the picture.
        paint : callable
            The picture, RGBA. Called once, when it is drawn.

        Returns
        -------
        bool
            Whether there is a window to draw it.
        """
        parent = self._parent()
        if parent is None:
            return False
        if self._node is None or self._node.parent is not parent:  # the layer was taken out and put back
            self._node = Painted(np.zeros((1, 1, 4), np.uint8), parent=parent)
            self._node.set_gl_state("translucent", depth_test=False)
            self._node.opacity = parent.opacity  # a child has one of its own
        self._node.transform = STTransform(step[::-1], corner[::-1])
        self._node.paint = paint
        self._node.visible = True
        self._node.update()
        return True

    def hide(self) -> None:
        """Show none."""
        if self._node is not None:
            self._node.visible = False

    def _parent(self) -> Any:
        viewer, layer = self._viewer(), self._layer()
        return None if viewer is None or layer is None else node_of(viewer, layer)

    def _follow_opacity(self, event: Any) -> None:
        if self._node is not None:
            self._node.opacity = event.source.opacity


class PaintedVisual(ImageVisual):
    """An image whose pixels are asked for when it is drawn, once."""

    paint: Callable[[], Pixels] | None = None

    def _prepare_draw(self, view: Any) -> Any:
        if self.paint is not None:
            self.set_data(self.paint())
            self.paint = None
        return super()._prepare_draw(view)


Painted = create_visual_node(PaintedVisual)
