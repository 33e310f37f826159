"""How large the windows of a slide are for a network: the same for a training and for its estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_zoommil.annotations import Points
from napari_zoommil.cells.model import input_for, require_resolution, rim_of
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import WindowPlan, plan_windows
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.slides import Slide

WINDOW = 1.5
"""Edge of a window in edges of what is cut out of it at random; of an unpadded network without its rim."""


@dataclass(frozen=True)
class Framing:
    """What a network asks of windows.

    Attributes
    ----------
    mpp : float
        µm/px that it sees.
    crop, window : int
        Edge of what is cut out of a window at random, and of a window, px.
    rim : int
        Of both, px that an unpadded network says nothing about.
    """

    mpp: float
    crop: int
    window: int
    rim: int

    @classmethod
    def of(cls, network: UNet | YOLLO, mpp: float, crop: int) -> Framing:
        """For a network that is taught ``crop`` × ``crop`` px of its output at a time, or a little more."""
        rim, edge = rim_of(network), input_for(network, crop)
        return cls(mpp, edge, input_for(network, math.ceil(WINDOW * (edge - 2 * rim))), rim)

    def plan(self, points: Points, slide: Slide) -> WindowPlan:
        """The windows of a slide that show its points.

        Raises
        ------
        MagnificationError
            If the slide was scanned too coarsely for the network.
        MissingResolutionError
            If the slide's resolution is not known.
        """
        require_resolution(slide, self.mpp)
        return plan_windows(points, slide.shape, slide.resolution(), self.mpp, self.window, self.rim)
