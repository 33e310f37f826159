"""What counts as a region on a layer; drawing with the mouse is tested in the docks."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_zoommil.viewer.layers.drawing import NO_REGION, add_region_layer, encloses_area, outlines, tool_of
from napari_zoommil.viewer.metadata import slide_of

SQUARE = np.array([[0, 0], [0, 50], [50, 50], [50, 0]])


@pytest.fixture
def drawn(qapp, small_slide, add_slide) -> tuple:
    """A viewer with a slide, and a layer of regions."""
    viewer = ViewerModel()
    image = add_slide(viewer, small_slide)
    layer = add_region_layer(viewer, slide_of(image), "regions", "red")
    assert viewer.layers.selection.active is image, "a new layer does not become the active one"
    return viewer, layer


@pytest.mark.parametrize(
    ("corners", "encloses"),
    [
        (SQUARE, True),
        (SQUARE[:3], True),
        (SQUARE[[0, 2, 1, 3]], True),  # a bow tie: half of it is on either side
        (SQUARE[:2], False),
        (SQUARE[:1], False),
        (SQUARE[[0, 1, 0, 1]], False),
        (SQUARE[[0, 0, 0]], False),
        (np.array([(0.1, 0.1), (33.3, 33.3), (70.7, 70.7)]), False),
        (np.array([(0, 0), (10, 10), (20, 10), (10, 10)]), False),  # there and back
        (SQUARE * 0.01, False),  # less than a pixel
    ],
)
def test_a_region_encloses_an_area(corners, encloses: bool) -> None:
    assert encloses_area(np.asarray(corners, float)) is encloses


def test_outlines_of_every_kind_of_shape(drawn) -> None:
    _, layer = drawn
    layer.add_rectangles(SQUARE)
    layer.add_paths(SQUARE)
    layer.add_lines(SQUARE[:2])
    layer.add_ellipses(SQUARE + 10)
    rectangle, path, ellipse = outlines(layer)
    np.testing.assert_array_equal(rectangle, SQUARE)
    np.testing.assert_array_equal(path, SQUARE)
    np.testing.assert_allclose(np.linalg.norm(ellipse - 35, axis=1), 25, atol=1e-6)


def test_what_is_no_region_is_removed_and_told(drawn, qtbot) -> None:
    _, layer = drawn
    layer.add_polygons(SQUARE)
    told = len(notification_manager.records)
    layer.add_lines(SQUARE[:2])
    qtbot.waitUntil(lambda: len(layer.data) == 1)
    (record,) = notification_manager.records[told:]
    assert record.message.startswith(NO_REGION)
    layer.data = [SQUARE, SQUARE[[0, 1, 0]]]
    qtbot.waitUntil(lambda: len(layer.data) == 1)
    np.testing.assert_array_equal(outlines(layer), [SQUARE])


def test_a_region_that_loses_its_area_is_removed(drawn, qtbot) -> None:
    _, layer = drawn
    layer.add_polygons(SQUARE)
    layer.add_polygons(SQUARE + 100)
    layer.data = [SQUARE[[0, 1, 1, 0]], SQUARE + 100]
    assert len(outlines(layer)) == 1
    qtbot.waitUntil(lambda: len(layer.data) == 1)
    np.testing.assert_array_equal(outlines(layer), [SQUARE + 100])


def test_the_tool_goes_back_to_the_layer_that_was_active(drawn, qtbot) -> None:
    viewer, layer = drawn
    image, tool = viewer.layers[0], tool_of(viewer, layer)
    tool.start()
    assert tool.drawing and viewer.canvas.overlays.text.visible
    tool.start()  # the button is pressed once more
    layer.add_polygons(SQUARE)
    qtbot.waitUntil(lambda: not tool.drawing)
    assert viewer.layers.selection.active is image and not viewer.canvas.overlays.text.visible


def test_a_layer_that_another_one_replaces_draws_no_more(drawn) -> None:
    viewer, layer = drawn
    tool = tool_of(viewer, layer)
    tool.start()
    viewer.layers.selection.active = viewer.layers[0]
    assert not tool.drawing and not viewer.canvas.overlays.text.visible


def test_text_that_somebody_else_shows_stays(drawn) -> None:
    viewer, layer = drawn
    viewer.canvas.overlays.text.text, viewer.canvas.overlays.text.visible = "mine", True
    layer.mode = "select"
    assert viewer.canvas.overlays.text.text == "mine" and viewer.canvas.overlays.text.visible


def test_a_duplicate_has_a_tool_of_its_own(drawn) -> None:
    viewer, layer = drawn
    other = viewer.add_layer(copy(layer))
    tool = tool_of(viewer, other)
    assert tool.layer is other and tool_of(viewer, layer).layer is layer
