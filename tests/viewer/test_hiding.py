"""Which layers the key hides, and which it brings back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.jobs.compare import Comparand
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.viewer.docks.finetune.state import BEFORE, Lesson
from napari_zoommil.viewer.hiding import toggle_overlays
from napari_zoommil.viewer.layers.detections import hide_other_cells, show_cells
from napari_zoommil.viewer.layers.overlays import show_overlay
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.session import session_of


def overlay(kind: str = "attention") -> Overlay:
    return Overlay.of([HeatMap(np.ones((1, 3), np.float32), (0, 0), (512, 512), None, 5, kind)], "raw")


def test_what_appears_while_others_are_hidden_is_hidden_next(model, small_slide, add_slide) -> None:
    session_of(model)
    slide = slide_of(add_slide(model, small_slide))
    first = show_overlay(model, slide, overlay())
    assert not toggle_overlays(model) and not first.visible
    second = show_overlay(model, slide, overlay("zoom"))
    assert second.visible
    assert not toggle_overlays(model) and not second.visible and not first.visible
    assert toggle_overlays(model) and first.visible and second.visible


def test_layers_of_another_slide_stay_away(model, small_slide, other_slide, add_slide) -> None:
    session_of(model)
    base = add_slide(model, small_slide)
    first = show_overlay(model, slide_of(base), overlay())
    assert not toggle_overlays(model)
    add_slide(model, other_slide)
    assert toggle_overlays(model) and not first.visible, "there is nothing on this one"
    model.layers.selection.active = base
    assert not first.visible, "it was hidden by hand"
    assert toggle_overlays(model) and first.visible


def test_what_another_model_has_hidden_meanwhile_stays_so(model, small_slide, add_slide) -> None:
    session_of(model)
    slide = slide_of(add_slide(model, small_slide))
    detection = Detection("s", "f", "m", (CellClass("a", (255, 0, 0)),), Finds.together([]), 0.5, 1.0)
    first = show_cells(model, slide, detection, "cells (yollo)")
    toggle_overlays(model)
    second = show_cells(model, slide, detection, "cells (unet)")
    hide_other_cells(model, slide, "cells (unet)")
    assert not toggle_overlays(model) and toggle_overlays(model)
    assert second.visible and not first.visible


def detection(cells: int) -> Detection:
    finds = Finds(np.tile((300.0, 300, 340, 340), (cells, 1)), np.ones(cells), np.ones(cells, np.int64))
    return Detection("s", "f", "m", (CellClass("a", (255, 0, 0)),), finds, 0.5, 1.0)


def test_a_hidden_layer_with_other_cells_comes_back(model, small_slide, add_slide) -> None:
    session_of(model)
    slide = slide_of(add_slide(model, small_slide))
    first = show_cells(model, slide, detection(3), "cells (yollo)")
    toggle_overlays(model)
    second = show_cells(model, slide, detection(2), "cells (yollo)")
    assert second is first and not second.visible and len(second.rings.counted) == 2
    assert toggle_overlays(model) and second.visible


def test_what_was_shown_and_hidden_by_hand_stays_hidden(model, small_slide, add_slide) -> None:
    session_of(model)
    slide = slide_of(add_slide(model, small_slide))
    first, second = (show_overlay(model, slide, overlay(kind)) for kind in ("attention", "zoom"))
    toggle_overlays(model)
    first.visible = True
    first.visible = False
    assert toggle_overlays(model) and second.visible and not first.visible


def test_what_was_hidden_before_a_comparison_is_hidden_after_it(model, small_slide, add_slide) -> None:
    session_of(model)
    slide = slide_of(add_slide(model, small_slide))
    first = show_overlay(model, slide, overlay())
    toggle_overlays(model)
    second = show_overlay(model, slide, overlay("zoom"))
    lesson = Lesson(SimpleNamespace(slide=slide))
    lesson.add_cells(model, Comparand(BEFORE, detection(2)))
    assert not first.visible and not second.visible
    lesson.remove_views(model)
    assert second.visible and not first.visible
    toggle_overlays(model)
    assert toggle_overlays(model) and first.visible and second.visible


def test_layers_that_belong_to_no_slide_stay(model, small_slide, add_slide) -> None:
    session_of(model)
    own = model.add_points(np.zeros((1, 2)))
    show_overlay(model, slide_of(add_slide(model, small_slide)), overlay())
    toggle_overlays(model)
    assert own.visible
