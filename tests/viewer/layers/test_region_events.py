from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.viewer.layers.region_events import DrawnRegions
from napari_zoommil.viewer.layers.tissue_regions import TITLES, regions_layer
from napari_zoommil.viewer.metadata import slide_of

SQUARE = np.array([[0, 0], [0, 50], [50, 50], [50, 0]])


@pytest.fixture
def drawn(qapp, small_slide, add_slide) -> tuple:
    """Viewer, slide, what listens to it, and how often it heard something."""
    viewer = ViewerModel()
    slide = slide_of(add_slide(viewer, small_slide))
    heard: list[int] = []
    regions = DrawnRegions(viewer, (TITLES["add"],), lambda: heard.append(1))
    regions.set_slide(slide)
    yield viewer, slide, regions, heard
    regions.stop()


def test_regions_are_heard_of_while_their_layer_comes_and_goes(drawn) -> None:
    viewer, slide, _, heard = drawn
    layer = regions_layer(viewer, slide, "add")
    assert not heard, "there is no region on it yet"
    layer.add_polygons(SQUARE)
    assert len(heard) == 1
    viewer.layers.remove(layer)
    assert len(heard) == 2
    viewer.layers.append(layer)
    assert len(heard) == 3
    layer.add_polygons(SQUARE + 60)
    assert len(heard) == 4


def test_another_slide_or_none_is_not_heard_of(drawn) -> None:
    viewer, slide, regions, heard = drawn
    layer = regions_layer(viewer, slide, "add")
    viewer.add_shapes([SQUARE])
    regions.set_slide(None)
    layer.add_polygons(SQUARE)
    viewer.layers.remove(layer)
    assert not heard


def test_stopped_it_hears_nothing(drawn) -> None:
    viewer, slide, regions, heard = drawn
    layer = regions_layer(viewer, slide, "add")
    regions.stop()
    layer.add_polygons(SQUARE)
    viewer.layers.remove(layer)
    assert not heard


def test_only_other_regions_are_heard_of(drawn) -> None:
    viewer, slide, _, heard = drawn
    layer = regions_layer(viewer, slide, "add")
    layer.add_lines(SQUARE[:2])
    layer.add_polygons(SQUARE[[0, 1, 0]])
    assert not heard, "neither encloses anything"
    layer.add_polygons(SQUARE)
    layer.remove([0])
    assert len(heard) == 1
