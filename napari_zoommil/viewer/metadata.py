"""Metadata of layers, and the transformation from level-0 pixels to world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide

SLIDE = "napari_zoommil.slide"
"""Key of the slide in its layer's metadata, and of a weak reference to it in an overlay's."""

DOCUMENT = "napari_zoommil.document"
"""Key of a weak reference to the annotations that a layer shows."""

TITLE = "napari_zoommil.title"
"""Key of the title of an overlay, which does not change when the layer is renamed."""

UNIT = "micrometer"


def slide_of(layer: Layer | None) -> Slide | None:
    """The slide of a layer or of an overlay."""
    held = layer.metadata.get(SLIDE) if layer is not None else None
    return held() if isinstance(held, ref) else held


def overlay_metadata(slide: Slide, title: str) -> dict[str, Any]:
    """Metadata of an overlay with a title, with a weak reference to its slide.

    The reference is weak because napari's controls hold a removed layer until Qt deletes them in its event
    loop.
    """
    return {SLIDE: ref(slide), TITLE: title}


def is_slide(layer: Layer) -> bool:
    """Whether a layer is the image of a slide."""
    return isinstance(layer, Image) and isinstance(layer.metadata.get(SLIDE), Slide)


def world_scale(slide: Slide) -> dict[str, Any]:
    """Scale and units of level 0: µm if the resolution is known, else pixels."""
    if slide.mpp is None:
        return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
    return {"scale": slide.mpp, "units": (UNIT, UNIT)}


def on_level_0(slide: Slide) -> dict[str, Any]:
    """Scale, translation and units of a layer with data in level-0 px, for which 0 is the corner of a pixel;
    for napari it is the centre."""
    unit = per_pixel(slide)
    return world_scale(slide) | {"translate": (-unit[0] / 2, -unit[1] / 2)}


def level_0(slide: Slide, world: Sequence[float]) -> tuple[float, float]:
    """Level-0 (y, x), px, of world coordinates."""
    home = _applied(np.linalg.inv(move_of(slide)), world)
    y, x = ((place / unit) + 0.5 for place, unit in zip(home, per_pixel(slide), strict=True))
    return y, x


def in_world(slide: Slide, place: Sequence[float]) -> tuple[float, float]:
    """World coordinates of level-0 (y, x), px."""
    home = [(at - 0.5) * unit for at, unit in zip(place, per_pixel(slide), strict=True)]
    return _applied(move_of(slide), home)


MOVES = ("scale", "translate", "rotate", "shear", "affine")
"""Events of a layer that is moved, turned or stretched."""

_moves: WeakKeyDictionary[Slide, NDArray[np.float64]] = WeakKeyDictionary()


def move_of(slide: Slide) -> NDArray[np.float64]:
    """(3, 3): how the layer of a slide was moved, turned and stretched, of world coordinates (y, x, 1)."""
    return _moves.get(slide, np.eye(3))


def stretched_pixel(slide: Slide) -> Pair:
    """World units per level-0 pixel, y and x, as the layer of the slide lies now."""
    y, x = np.linalg.norm(move_of(slide)[:2, :2], axis=0) * per_pixel(slide)
    return float(y), float(x)


def note_move(slide: Slide, layer: Layer) -> NDArray[np.float64]:
    """Look how the layer of a slide lies now; see :func:`move_of`."""
    corner, down, right = (np.array(layer.data_to_world(at)[-2:]) for at in ((0, 0), (1, 0), (0, 1)))
    now = np.eye(3)
    now[:2] = np.stack([down - corner, right - corner, corner], 1)
    move = now @ np.diag([*(1 / unit for unit in per_pixel(slide)), 1.0])
    _moves[slide] = np.eye(3) if np.allclose(move, np.eye(3)) else move
    return _moves[slide]


def go_along(layer: Layer, slide: Slide) -> None:
    """Lay an overlay where the layer of its slide lies now."""
    move = move_of(slide)
    if not np.allclose(layer.affine.affine_matrix[-3:, -3:], move):  # else nothing is drawn again
        layer.affine = move


def _applied(move: NDArray[np.floating], world: Sequence[float]) -> tuple[float, float]:
    y, x, _ = move @ (*world, 1.0)
    return float(y), float(x)


def per_pixel(slide: Slide) -> Pair:
    """World units per level-0 pixel, y and x."""
    return slide.mpp or (1.0, 1.0)
