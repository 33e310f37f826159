"""Magnification and field of view in the slide's terms."""

from __future__ import annotations

import pytest

from napari_zoommil.viewer import camera
from napari_zoommil.viewer.metadata import slide_of


@pytest.mark.parametrize("value", [1.25, 10, 40])
def test_magnification_round_trip(model, small_slide, add_slide, value: float) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    camera.set_magnification(viewer, value)
    assert camera.magnification(viewer, slide) == pytest.approx(value)


def test_going_somewhere_centres_it(model, small_slide, add_slide) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    camera.go_to(viewer, slide, 0.25, 0.75)
    field = camera.field_of_view(viewer, slide)
    assert field.y + field.height / 2 == pytest.approx(0.25)
    assert field.x + field.width / 2 == pytest.approx(0.75)
