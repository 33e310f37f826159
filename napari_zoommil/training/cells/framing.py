"""Sizes of the training windows for a network, used by the training and by its estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from napari_zoommil.annotations import Points
from napari_zoommil.cells.model import require_resolution
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import WindowPlan, plan_windows
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue

ELSEWHERE = 24
"""Windows at random places of the tissue in which cells are counted."""

WINDOW = 1.5
"""Edge of a window in edges of the random crop; for an unpadded network without the rim."""


@dataclass(frozen=True)
class Framing:
    """Requirements of a network on its windows.

    Attributes
    ----------
    mpp : float
        Resolution of its input, µm/px.
    crop, window : int
        Edge of the random crop, and of a window, px.
    rim : int
        Border of both for which an unpadded network has no output, px.
    """

    mpp: float
    crop: int
    window: int
    rim: int

    @classmethod
    def of(cls, network: UNet | YOLLO, mpp: float, crop: int) -> Framing:
        """For a network that is trained on crops with an output of at least ``crop`` × ``crop`` px."""
        rim, edge = network.rim, network.input_size(crop)
        return cls(mpp, edge, network.input_size(math.ceil(WINDOW * (edge - 2 * rim))), rim)

    def plan(self, points: Points, slide: Slide) -> WindowPlan:
        """The windows of a slide that cover its points.

        Raises
        ------
        MagnificationError
            If the slide's resolution is too low for the network.
        MissingResolutionError
            If the slide's resolution is unknown.
        """
        require_resolution(slide, self.mpp)
        return plan_windows(points, slide.shape, slide.resolution(), self.mpp, self.window, self.rim)


def elsewhere(plan: WindowPlan, slide: Slide, tissue: Tissue, seed: int) -> WindowPlan:
    """Up to :data:`ELSEWHERE` windows like those of a plan, around random places of the tissue."""
    cells = np.argwhere(tissue.mask)
    chosen = np.random.default_rng(seed).permutation(cells)[:ELSEWHERE]
    px = np.array(slide.resolution()) / plan.mpp
    corners = (chosen + 0.5) * np.asarray(tissue.downsample) * px - plan.size / 2
    return replace(plan, origins=tuple((y, x) for y, x in np.rint(corners).astype(int).tolist()))
