from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.viewer.layers.view_region import LARGEST_UM, view_region, window_region
from napari_zoommil.viewer.metadata import slide_of


@pytest.fixture
def shown(model, small_slide, add_slide):
    viewer = model
    return viewer, slide_of(add_slide(viewer, small_slide))


def test_it_is_what_the_window_shows(shown) -> None:
    viewer, slide = shown
    viewer.scene.camera.zoom = 8.0
    viewer.scene.camera.center = (0, 300, 500)
    region = view_region(viewer, slide)
    np.testing.assert_allclose(region.mean(0) * 0.25, (300, 500), atol=0.5)
    np.testing.assert_allclose(np.ptp(region, 0) * 0.25 * 8, viewer.canvas.size)


def test_it_ends_at_the_slide_and_where_it_would_take_too_long(shown) -> None:
    viewer, slide = shown
    viewer.scene.camera.zoom = 0.1
    viewer.scene.camera.center = (0, 0, 512)
    region = view_region(viewer, slide)
    assert (region >= 0).all() and (region <= slide.shape).all()
    assert (np.ptp(region, 0) * 0.25 <= LARGEST_UM + 1e-6).all()
    viewer.scene.camera.zoom = 4
    viewer.scene.camera.center = (0, -9000, 0)
    assert view_region(viewer, slide) is window_region(viewer, slide) is None


def test_the_window_is_a_box_on_the_slide(shown) -> None:
    viewer, slide = shown
    height, width = viewer.canvas.size
    viewer.scene.camera.zoom = height / (100 * 0.25)  # 100 level-0 px from top to bottom
    viewer.scene.camera.center = (0, 500 * 0.25, 600 * 0.25)
    seen = window_region(viewer, slide)
    expected = (450, 600 - 50 * width / height, 100, 100 * width / height)
    # within half a pixel: the camera counts from the centre of the first one
    np.testing.assert_allclose((seen.y, seen.x, seen.height, seen.width), expected, atol=0.6)
    viewer.scene.camera.center = (0, 0, 600 * 0.25)
    seen = window_region(viewer, slide)
    np.testing.assert_allclose((seen.y, seen.height), (0, 50), atol=0.6)
