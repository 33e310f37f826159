"""Maps lie exactly on the slide."""

from __future__ import annotations

import gc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.maps import HeatMap
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.layers.overlays import (
    MAP,
    ZOOMED,
    find_layer,
    placement,
    remove_maps,
    show_map,
    show_tissue,
    show_zoomed,
)
from napari_zoommil.viewer.metadata import TITLE, level_0, slide_of
from napari_zoommil.viewer.session import session_of


@pytest.fixture
def shown() -> HeatMap:
    values = np.full((4, 5), np.nan, np.float32)
    values[1, 2] = 0.25
    return HeatMap(values, (512.0, 1024.0), (512.0, 512.0), (0.25, 0.25), 5.0, "attention")


def test_a_patch_covers_its_pixels_to_the_edge(model, small_slide, add_slide, shown) -> None:
    viewer = model
    base = add_slide(viewer, small_slide)
    layer = show_map(viewer, slide_of(base), shown, shown.values)
    # Patch (1, 2) covers level-0 rows 1024 … 1535 and columns 2048 … 2559; napari's pixel i
    # reaches from i − ½ to i + ½.
    first, last = np.array((1024, 2048)), np.array((1535, 2559))
    for level0, patch in ((first - 0.5, (0.5, 1.5)), (last + 0.5, (1.5, 2.5))):
        np.testing.assert_allclose(base.data_to_world(level0), layer.data_to_world(patch), atol=1e-9)
    assert layer.get_value(base.data_to_world((1300, 2300)), world=True) == pytest.approx(0.25)


def test_pixels_are_painted_where_they_belong(window, small_slide, add_slide, shown) -> None:
    viewer = window
    base = add_slide(viewer, small_slide)
    before = viewer.screenshot(flash=False).astype(int)
    values = np.where(np.isnan(shown.values), np.nan, np.float32(1))
    show_map(viewer, slide_of(base), shown, values)
    after = viewer.screenshot(flash=False).astype(int)
    changed = np.abs(after - before).max(-1) > 8
    ys, xs = np.nonzero(changed)
    height, width = changed.shape
    zoom, centre = viewer.scene.camera.zoom, np.array(viewer.scene.camera.center[-2:])
    corners = (
        np.array([(ys.min(), xs.min()), (ys.max() + 1, xs.max() + 1)]) - (height / 2, width / 2)
    ) / zoom
    found = corners + centre
    wanted = (np.array([(1024, 2048), (1536, 2560)]) - 0.5) * 0.25
    np.testing.assert_allclose(found, wanted, atol=2.5 / zoom)  # two screen px


def test_painting_again_keeps_the_layer(model, small_slide, add_slide, shown) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    first = show_map(viewer, slide, shown, shown.values)
    second = show_map(viewer, slide, shown, shown.values * 2)
    assert first is second
    assert np.nanmax(second.data) == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(4, 5), (7, 3)])
def test_a_map_of_another_place_or_size_is_painted_there_by_the_same_layer(
    small_slide, add_slide, shown, shape: tuple[int, int]
) -> None:
    viewer = ViewerModel()
    slide = slide_of(add_slide(viewer, small_slide))
    first = show_map(viewer, slide, shown, shown.values)
    other = replace(shown, values=np.ones(shape, np.float32), origin=(256.0, 0.0), downsample=(256.0, 256.0))
    assert show_map(viewer, slide, other, other.values) is first
    fresh = placement(slide, other.origin, other.downsample)
    np.testing.assert_allclose(first.scale, fresh["scale"])
    np.testing.assert_allclose(first.translate, fresh["translate"])
    assert first.data.shape == shape and first.metadata[MAP] is other


def test_patches_that_were_zoomed_into_are_outlined_anew_in_their_layer(
    small_slide, add_slide, make_grid
) -> None:
    viewer = ViewerModel()
    slide = slide_of(add_slide(viewer, small_slide))
    grid, layers = make_grid(3, 3, (5.0, 10.0)), []
    for rows in ([0, 4], [1, 2, 8], [5]):
        steps = (SimpleNamespace(level=0, zoomed=np.array(rows)), SimpleNamespace(level=1, zoomed=[]))
        show_zoomed(viewer, slide, SimpleNamespace(grid=grid, steps=steps))
        layers.append(find_layer(viewer, slide, ZOOMED))
        corners = np.array([layers[-1].data_to_world(box.min(0)) for box in layers[-1].data])
        found = [level_0(slide, corner) for corner in corners]
        np.testing.assert_allclose(found, grid.levels[0].origins[rows], atol=1e-4)
        assert len(layers[-1].edge_width) == len(rows) and not layers[-1].selected_data
    assert all(layer is layers[0] for layer in layers)
    show_zoomed(viewer, slide, SimpleNamespace(grid=grid, steps=steps[1:]))
    assert find_layer(viewer, slide, ZOOMED) is None


def test_an_overlay_does_not_keep_its_slide(small_slide, shown) -> None:
    viewer = ViewerModel()
    slide = Slide.open(small_slide)
    layer = show_map(viewer, slide, shown, shown.values)
    assert slide_of(layer) is slide
    slide.close()
    del slide
    gc.collect()
    assert slide_of(layer) is None


def test_on_a_slide_out_of_sight_maps_are_so_too(model, small_slide, add_slide, shown) -> None:
    viewer = model
    session_of(viewer)
    first = add_slide(viewer, small_slide)
    slide = slide_of(first)
    second = add_slide(viewer, small_slide)
    layer = show_map(viewer, slide, shown, shown.values)
    assert not layer.visible and viewer.layers.selection.active is second
    larger = replace(shown, values=np.zeros((8, 10), np.float32))
    layer = show_map(viewer, slide, larger, larger.values)
    assert not layer.visible and layer in viewer.layers
    viewer.layers.selection.active = first
    assert layer.visible
    layer.visible = False
    viewer.layers.selection.active = second
    layer = show_map(viewer, slide, shown, shown.values)
    viewer.layers.selection.active = first
    assert not layer.visible, "what was hidden by hand stays so"


def test_maps_to_compare_have_layers_of_their_own(model, small_slide, add_slide, shown) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    found = [show_map(viewer, slide, shown, shown.values, when) for when in ("", "before", "after")]
    assert len({id(layer) for layer in found}) == 3
    assert [layer.name for layer in found[1:]] == [
        "small · attention before 5x",
        "small · attention after 5x",
    ]
    remove_maps(viewer, slide, {found[0].metadata[TITLE]})
    assert [layer in viewer.layers for layer in found] == [True, True, True]
    remove_maps(viewer, slide)
    assert [layer in viewer.layers for layer in found] == [False, True, True]


def test_layers_stand_in_order_and_go_together(model, small_slide, add_slide, shown) -> None:
    viewer = model
    base = add_slide(viewer, small_slide)
    points = viewer.add_points(np.zeros((1, 2)))
    slide = slide_of(base)
    tissue = Tissue(np.ones((8, 8), bool), (512.0, 512.0))
    show_tissue(viewer, slide, tissue)
    show_map(viewer, slide, shown, shown.values)
    names = [layer.name for layer in viewer.layers]
    assert names == ["small", "small · tissue", "small · attention 5x", points.name]
    remove_maps(viewer, slide)
    assert find_layer(viewer, slide, "attention 5x") is None
    assert find_layer(viewer, slide, "tissue") is not None
