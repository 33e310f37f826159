"""Maps and tissue lie exactly on the slide."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.layers.overlays import MAP, find_layer, remove_maps, show_overlay, show_tissue
from napari_zoommil.viewer.metadata import TITLE, is_slide, slide_of
from napari_zoommil.viewer.session import session_of


@pytest.fixture
def shown() -> HeatMap:
    values = np.full((4, 5), np.nan, np.float32)
    values[1, 2] = 0.25
    return HeatMap(values, (512.0, 1024.0), (512.0, 512.0), (0.25, 0.25), 5.0, "attention")


def overlay(*maps: HeatMap) -> Overlay:
    return Overlay.of(maps, "raw")


def painted(layer, level: int = 0) -> np.ndarray:
    """Where a level of a layer is painted."""
    return np.asarray(layer.data[level][:, :])[..., 3] > 0


def test_a_patch_covers_its_pixels_to_the_edge(model, small_slide, add_slide, shown) -> None:
    base = add_slide(model, small_slide)
    layer = show_overlay(model, slide_of(base), overlay(shown))
    # Patch (1, 2) covers level-0 rows 1024 … 1535 and columns 2048 … 2559.
    rows, columns = np.nonzero(painted(layer))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1024, 1535, 2048, 2559)
    np.testing.assert_allclose(layer.data_to_world((1024, 2048)), base.data_to_world((1024, 2048)))
    assert layer.data[0].shape == (*slide_of(base).shape, 4) and is_slide(base) and not is_slide(layer)


def test_pixels_are_painted_where_they_belong(window, small_slide, add_slide, shown) -> None:
    viewer = window
    base = add_slide(viewer, small_slide)
    before = viewer.screenshot(flash=False).astype(int)
    show_overlay(viewer, slide_of(base), overlay(shown))
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


def test_nothing_is_painted_beyond_the_slide(small_slide, add_slide) -> None:
    viewer = ViewerModel()
    slide = slide_of(add_slide(viewer, small_slide))
    values = np.ones((9, 9), np.float32)
    beyond = HeatMap(values, (0.0, 0.0), (1000.0, 1000.0), None, 5.0, "attention")
    mask = Tissue(np.ones((99, 99), bool), (512.0, 512.0))
    for layer in (show_overlay(viewer, slide, overlay(beyond)), show_tissue(viewer, slide, mask)):
        np.testing.assert_allclose(layer.extent.world, viewer.layers[0].extent.world)


def test_levels_of_a_layer_are_the_same_picture(small_slide, add_slide, shown) -> None:
    viewer = ViewerModel()
    layer = show_overlay(viewer, slide_of(add_slide(viewer, small_slide)), overlay(shown))
    extent = np.array(layer.data[0].shape[:2])
    for level in range(len(layer.data)):
        mask = painted(layer, level)
        pixel = extent / mask.shape
        rows, columns = np.nonzero(mask)
        found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) * np.tile(pixel, 2)
        np.testing.assert_allclose(found, [1024, 2048, 1536, 2560], atol=pixel.max())
    part = layer.data[0][1020:1030:2, 2050]
    np.testing.assert_array_equal(part, np.asarray(layer.data[0][1020:1030])[::2, 2050])


def test_painting_again_keeps_the_layer_and_its_appearance(model, small_slide, add_slide, shown) -> None:
    slide = slide_of(add_slide(model, small_slide))
    first = show_overlay(model, slide, overlay(shown))
    first.opacity = 0.3
    before = painted(first)
    values = np.full((2, 2), 3, np.float32)
    other = replace(shown, values=values, origin=(256.0, 0.0), downsample=(256.0, 256.0))
    second = overlay(other)
    assert show_overlay(model, slide, second) is first and first.metadata[MAP] is second
    assert first.opacity == 0.3 and not np.array_equal(before, painted(first))
    assert painted(first)[256:768, :512].all()


def test_an_overlay_does_not_keep_its_slide(small_slide, shown) -> None:
    viewer = ViewerModel()
    slide = Slide.open(small_slide)
    layer = show_overlay(viewer, slide, overlay(shown))
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
    layer = show_overlay(viewer, slide, overlay(shown))
    assert not layer.visible and viewer.layers.selection.active is second
    viewer.layers.selection.active = first
    assert layer.visible
    layer.visible = False
    viewer.layers.selection.active = second
    assert show_overlay(viewer, slide, overlay(shown)) is layer
    viewer.layers.selection.active = first
    assert not layer.visible, "what was hidden by hand stays so"


def test_maps_to_compare_have_layers_of_their_own(model, small_slide, add_slide, shown) -> None:
    viewer = model
    slide = slide_of(add_slide(viewer, small_slide))
    found = [show_overlay(viewer, slide, overlay(shown), when) for when in ("", "before", "after")]
    assert len({id(layer) for layer in found}) == 3
    assert [layer.name for layer in found[1:]] == ["small · attention before", "small · attention after"]
    remove_maps(viewer, slide, {found[0].metadata[TITLE]})
    assert [layer in viewer.layers for layer in found] == [True, True, True]
    remove_maps(viewer, slide)
    assert [layer in viewer.layers for layer in found] == [False, True, True]


def test_layers_stand_in_order_and_go_together(model, small_slide, add_slide, shown) -> None:
    viewer = model
    base = add_slide(viewer, small_slide)
    points = viewer.add_points(np.zeros((1, 2)))
    slide = slide_of(base)
    show_tissue(viewer, slide, Tissue(np.ones((8, 8), bool), (512.0, 512.0)))
    show_overlay(viewer, slide, overlay(shown))
    names = [layer.name for layer in viewer.layers]
    assert names == ["small", "small · tissue", "small · attention", points.name]
    remove_maps(viewer, slide)
    assert find_layer(viewer, slide, "attention") is None
    assert find_layer(viewer, slide, "tissue") is not None


def test_tissue_is_a_thin_line_at_any_zoom(small_slide, add_slide) -> None:
    viewer = ViewerModel()
    slide = slide_of(add_slide(viewer, small_slide))
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    layer = show_tissue(viewer, slide, Tissue(mask, (512.0, 512.0)))
    for level in range(2):
        line, pixel = painted(layer, level), 2**level
        across = np.flatnonzero(line[3 * 512 // pixel])
        edges = [3 * 512 // pixel, 7 * 512 // pixel - 1]
        assert len(across) == 4 and {across[0], across[-1]} == set(edges)
        assert not line[: 2 * 512 // pixel].any()
