"""Found cells on the slide: where, how large, in which colour, and which of them."""

from __future__ import annotations

import numpy as np
import pytest
from napari.settings import get_settings

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.viewer.layers.detections import (
    CELLS,
    cells_layer,
    hide_other_cells,
    set_threshold,
    show_cells,
)
from napari_zoommil.viewer.layers.overlays import show_overlay
from napari_zoommil.viewer.layers.points import PointsView
from napari_zoommil.viewer.layers.regions import RegionsView
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.session import session_of

TITLE = "cells (test)"
CLASSES = (CellClass("tumour", CLASS_CYCLE[0]), CellClass("lymphocyte", CLASS_CYCLE[1]))
BOXES = np.array([(100, 200, 140, 220), (1000, 1000, 1024, 1024), (3000, 500, 3010, 530)], float)
SCORES, LABELS = np.array([0.9, 0.5, 0.2]), np.array([1, 2, 1])


def detection(rows: int = 3) -> Detection:
    finds = Finds(BOXES[:rows], SCORES[:rows], LABELS[:rows])
    return Detection("small.tif", "", "test", CLASSES, finds, 0.5, 1.0)


@pytest.fixture
def opened(model, small_slide, add_slide):
    viewer = model
    return viewer, slide_of(add_slide(viewer, small_slide))


def painted(layer, y: slice, x: slice) -> np.ndarray:
    """What the layer holds of some level-0 pixels, in pixels a quarter as large."""
    return layer.data[0][y.start * 4 : y.stop * 4, x.start * 4 : x.stop * 4]


def test_rings_lie_on_their_cells(opened) -> None:
    viewer, slide = opened
    layer = show_cells(viewer, slide, detection(), TITLE, 0.0)
    for box, label in zip(BOXES.astype(int), LABELS, strict=True):
        (cy, cx), size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).mean()
        around = slice(int(cy) - 30, int(cy) + 30), slice(int(cx) - 30, int(cx) + 30)
        ys, xs = np.nonzero(painted(layer, *around)[..., 3] > 127)
        # the edges of the pixels that are painted, in level-0 px
        low, high = np.array([ys.min(), xs.min()]) / 4, (np.array([ys.max(), xs.max()]) + 1) / 4
        np.testing.assert_allclose((low + high) / 2 + (around[0].start, around[1].start), (cy, cx), atol=0.25)
        np.testing.assert_allclose(high - low, size, rtol=0.04, atol=0.5)
        ring = painted(layer, *around)[ys, xs, :3]
        assert (ring == CLASS_CYCLE[label - 1]).all()
    assert layer.units == viewer.layers[0].units
    assert layer.name == "small · cells (test)" and slide_of(layer) is slide
    assert cells_layer(viewer, slide, TITLE) is layer and cells_layer(viewer, slide, "cells (other)") is None
    # a quarter of a level-0 px: the first four of a row lie where the first level-0 px lies
    middle = layer.data_to_world((1.5, 1.5))
    np.testing.assert_allclose(viewer.layers[0].world_to_data(middle), (0, 0), atol=1e-9)


def seen(layer) -> list[int]:
    """Rows of the detection that are painted."""
    centres = ((BOXES[:, :2] + BOXES[:, 2:]) / 2).astype(int)
    pictures = [painted(layer, slice(y - 20, y + 20), slice(x - 20, x + 20)) for y, x in centres]
    return [row for row, picture in enumerate(pictures) if picture.any()]


def test_the_threshold_filters_what_is_shown(opened) -> None:
    viewer, slide = opened
    layer = show_cells(viewer, slide, detection(), TITLE)
    for threshold, rows in ((0.5, [0, 1]), (0.1, [0, 1, 2]), (0.51, [0]), (0.95, []), (0.2, [0, 1, 2])):
        set_threshold(layer, threshold)
        assert seen(layer) == rows
    assert cells_layer(viewer, slide, TITLE) is layer
    assert seen(show_cells(viewer, slide, detection(), TITLE, 0.6)) == [0]
    assert layer.metadata[CELLS].finds.scores.tolist() == SCORES.tolist()  # of all cells


def test_only_what_counts_is_painted(window, small_slide, add_slide, qtbot) -> None:
    viewer = window
    slide = slide_of(add_slide(viewer, small_slide))
    viewer.scene.camera.zoom, viewer.scene.camera.center = 4, (0, 1012 * 0.25, 1012 * 0.25)
    qtbot.wait(100)
    layer = show_cells(viewer, slide, detection(), TITLE)
    layer.visible = False
    qtbot.wait(100)
    bare = viewer.screenshot(flash=False)
    layer.visible = True

    def differs() -> np.ndarray:
        return np.abs(viewer.screenshot(flash=False).astype(int) - bare).max(-1) > 40

    ys, xs = np.nonzero(differs())
    middle = (np.array(bare.shape[:2]) - 1) / 2
    np.testing.assert_allclose([(ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2], middle, atol=1.5)
    assert 22 <= np.ptp(ys) <= 28 and 22 <= np.ptp(xs) <= 28  # 24 level-0 px on as many of the screen
    assert not differs()[round(middle[0]), round(middle[1])]  # the nucleus is seen through the ring
    set_threshold(layer, 0.6)
    assert not differs().any()


def test_the_status_bar_tells_class_and_score(opened) -> None:
    viewer, slide = opened
    layer = show_cells(viewer, slide, detection(), TITLE)

    def said(y: float, x: float) -> str:
        return layer.get_status(viewer.layers[0].data_to_world((y - 0.5, x - 0.5)), world=True)["value"]

    assert "class: lymphocyte" in said(1012, 1012) and "score: 0.5" in said(1012, 1012)
    assert "class" not in said(3005, 515)  # below the threshold
    assert "class" not in said(2000, 2000)


@pytest.mark.parametrize("rows", [(1, 3), (3, 1), (3, 0), (0, 2)])
@pytest.mark.parametrize("smooth", [False, True])
def test_another_detection_takes_the_place(opened, qtbot, rows, smooth) -> None:
    viewer, slide = opened
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(get_settings().experimental, "async_", smooth)
        first, second = (detection(count) for count in rows)
        other = show_cells(viewer, slide, first, "cells (other)", 0.0)
        show_cells(viewer, slide, first, TITLE, 0.0).visible = False
        order = [layer.name for layer in viewer.layers]
        layer = show_cells(viewer, slide, second, TITLE, 0.0)
        qtbot.wait(100)
    assert [one.name for one in viewer.layers] == order
    assert not layer.visible and other.visible
    assert seen(layer) == list(range(rows[1]))


def test_nothing_is_deselected(opened) -> None:
    viewer, slide = opened
    view = PointsView(viewer, slide, _document())
    viewer.layers.selection.active = view.layer
    view.layer.mode = "add"
    for rows in (2, 3, 1):
        layer = show_cells(viewer, slide, detection(rows), TITLE, 0.0)
        assert viewer.layers.selection.active is view.layer and view.layer.mode == "add"
    viewer.layers.selection.active = layer
    layer = show_cells(viewer, slide, detection(0), TITLE)
    assert viewer.layers.selection.active is layer
    view.close()


def test_it_lies_above_maps_and_below_what_is_drawn(opened) -> None:
    viewer, slide = opened
    regions, view = RegionsView(viewer, slide, _document()), PointsView(viewer, slide, _document())
    show_cells(viewer, slide, detection(), TITLE)
    values = np.ones((4, 4), np.float32)
    shown = HeatMap(values, (0.0, 0.0), (512.0, 512.0), (0.25, 0.25), 5.0, "attention")
    show_overlay(viewer, slide, Overlay.of([shown], "times"))
    show_cells(viewer, slide, detection(), "cells (later)")
    titles = [layer.name.removeprefix("small · ") for layer in viewer.layers]
    expected = ["attention", TITLE, "cells (later)", "regions", "points"]
    assert titles == ["small", *expected]
    regions.close()
    view.close()


def test_cells_of_a_slide_out_of_sight_wait_with_it(opened, other_slide, add_slide) -> None:
    viewer, slide = opened
    session_of(viewer)
    second = add_slide(viewer, other_slide)
    layer = show_cells(viewer, slide, detection(), TITLE)
    assert not layer.visible and session_of(viewer).active.layer is second
    layer = show_cells(viewer, slide, detection(1), TITLE)
    assert not layer.visible
    viewer.layers.selection.active = viewer.layers[0]
    assert layer.visible and layer in viewer.layers


def test_a_renamed_layer_is_found_and_keeps_its_name(opened) -> None:
    viewer, slide = opened
    show_cells(viewer, slide, detection(), TITLE).name = "mine"
    assert show_cells(viewer, slide, detection(1), TITLE).name == "mine"
    assert len([layer for layer in viewer.layers if slide_of(layer) is slide]) == 2


def _document():
    from napari_zoommil.annotations import Points

    return Points("reader", CLASSES)


def test_cells_of_one_model_are_in_sight_at_a_time(opened, other_slide, add_slide) -> None:
    viewer, slide = opened
    session = session_of(viewer)
    first, second = (show_cells(viewer, slide, detection(), title) for title in ("cells (a)", "cells (b)"))
    other = slide_of(add_slide(viewer, other_slide))
    elsewhere = show_cells(viewer, other, detection(), "cells (a)")
    hide_other_cells(viewer, slide, "cells (b)")  # found while another slide is in sight
    assert elsewhere.visible
    viewer.layers.selection.active = session.slides[0].layer
    assert second.visible and not first.visible
