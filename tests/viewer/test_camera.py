"""Magnification and field of view in the slide's terms."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.viewer import camera
from napari_zoommil.viewer.metadata import note_move, slide_of


@pytest.mark.parametrize("value", [1.25, 10, 40])
def test_magnification_round_trip(model, small_slide, add_slide, value: float) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    camera.set_magnification(viewer, value)
    assert camera.magnification(viewer, slide) == pytest.approx(value)


@pytest.mark.parametrize("move", [{"scale": (0.05, 0.08)}, {"rotate": 90.0}, {"translate": (90.0, 30.0)}])
def test_the_field_of_view_is_that_of_a_layer_that_was_moved(model, small_slide, add_slide, move) -> None:
    layer = add_slide(model, small_slide)
    slide = slide_of(layer)
    for name, value in move.items():
        setattr(layer, name, value)
    note_move(slide, layer)
    field = camera.field_of_view(model, slide)
    half = np.array(model.canvas.size) / model.scene.camera.zoom / 2
    centre = np.array(model.scene.camera.center[-2:])
    corners = [layer.world_to_data(centre + half * side) for side in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
    low, high = np.min(corners, 0) / slide.shape, np.max(corners, 0) / slide.shape
    np.testing.assert_allclose((field.y, field.x), low, atol=1e-9)
    np.testing.assert_allclose((field.height, field.width), high - low)


def test_going_somewhere_centres_it(model, small_slide, add_slide) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    camera.go_to(viewer, slide, 0.25, 0.75)
    field = camera.field_of_view(viewer, slide)
    assert field.y + field.height / 2 == pytest.approx(0.25)
    assert field.x + field.width / 2 == pytest.approx(0.75)
