"""Half a pixel: level-0 px count from the corner of a pixel, napari's from its centre."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.annotations import Points
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.layers.points import PointsView
from napari_zoommil.viewer.layers.regions import RegionsView
from napari_zoommil.viewer.metadata import (
    in_world,
    level_0,
    on_level_0,
    overlay_metadata,
    slide_of,
    world_scale,
)
from napari_zoommil.viewer.session import session_of


@pytest.fixture
def shown(model, small_slide, add_slide):
    """A viewer and the layer of a slide of 0.25 µm/px."""
    return model, add_slide(model, small_slide)


def test_a_place_on_the_slides_layer_is_that_of_its_pixel(shown) -> None:
    _, layer = shown
    world = layer.data_to_world((10, 20))
    assert level_0(slide_of(layer), world) == pytest.approx((10.5, 20.5)), "the centre of pixel (10, 20)"


def test_layers_on_level_0_lie_exactly_on_the_slide(shown) -> None:
    viewer, layer = shown
    slide = slide_of(layer)
    drawn = (
        RegionsView(viewer, slide, Points()).layer,
        tissue_regions.regions_layer(viewer, slide, "add"),
        PointsView(viewer, slide, Points()).layer,
    )
    for own in drawn:
        np.testing.assert_allclose(own.data_to_world((10.5, 20.5)), layer.data_to_world((10, 20)))
        assert own.units == layer.units


def test_without_a_resolution_it_is_half_a_pixel(shown) -> None:
    _, layer = shown
    slide = slide_of(layer)
    slide.mpp = None
    assert on_level_0(slide) == {**world_scale(slide), "translate": (-0.5, -0.5)}
    assert level_0(slide, (3.0, 4.0)) == (3.5, 4.5)


def test_regions_that_are_drawn_are_read_in_level_0_px(shown) -> None:
    viewer, layer = shown
    slide = slide_of(layer)
    corners = np.array([(10.0, 10.0), (10.0, 90.0), (50.0, 90.0), (50.0, 10.0)])
    tissue_regions.regions_layer(viewer, slide, "add").add_polygons([corners])
    (added,), left_out = tissue_regions.polygons(viewer, slide)
    assert not left_out
    assert {tuple(corner) for corner in added.tolist()} == {tuple(corner) for corner in corners.tolist()}


TURNED = np.array([[0, 1, 5], [1, 0.2, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("what", "value"),
    [("translate", (50.0, 30.0)), ("rotate", 90.0), ("scale", (1.0, 3.0)), ("affine", TURNED)],
)
def test_what_lies_on_a_slide_goes_along_when_it_is_moved(shown, what: str, value: object) -> None:
    viewer, layer = shown
    session_of(viewer)._add(layer)
    slide = slide_of(layer)
    before, after = PointsView(viewer, slide, Points()).layer, "points added later"
    setattr(layer, what, value)
    world = layer.data_to_world((200, 300))
    np.testing.assert_allclose(before.world_to_data(world), (200.5, 300.5))
    assert level_0(slide, world) == pytest.approx((200.5, 300.5))
    np.testing.assert_allclose(in_world(slide, (200.5, 300.5)), world)
    later = viewer.add_points([], name=after, metadata=overlay_metadata(slide, after), **on_level_0(slide))
    np.testing.assert_allclose(later.world_to_data(world), (200.5, 300.5))
