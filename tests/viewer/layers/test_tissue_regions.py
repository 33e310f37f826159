"""Regions that a user adds to the tissue or leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import tool_of
from napari_zoommil.viewer.layers.overlays import find_layer
from napari_zoommil.viewer.layers.tissue_regions import (
    COLOURS,
    TITLES,
    polygons,
    regions_layer,
    start_drawing,
)

SQUARE = np.array([(0.0, 0), (0, 90), (90, 90), (90, 0)])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Iterator[Slide]:
    with Slide.open(make_slide(tmp_path_factory.mktemp("slides") / "a.tif", None), 0.5) as opened:
        yield opened


def test_each_use_has_a_layer_of_its_own(model: ViewerModel, slide: Slide) -> None:
    added, left_out = (regions_layer(model, slide, use) for use in TITLES)
    assert added is not left_out and len(model.layers) == 2
    for use, layer in (("add", added), ("leave out", left_out)):
        assert regions_layer(model, slide, use) is layer is find_layer(model, slide, TITLES[use])
        assert layer.current_edge_color.startswith(COLOURS[use]) and tuple(layer.scale) == (0.5, 0.5)


def test_polygons_of_each_use(model: ViewerModel, slide: Slide) -> None:
    assert polygons(model, slide) == ((), ())
    regions_layer(model, slide, "leave out").add_polygons(SQUARE)
    added, left_out = polygons(model, slide)
    assert added == () and len(left_out) == 1
    np.testing.assert_array_equal(left_out[0], SQUARE)
    regions_layer(model, slide, "add").add_polygons([SQUARE + 100, SQUARE + 200])
    added, left_out = polygons(model, slide)
    np.testing.assert_array_equal(added, [SQUARE + 100, SQUARE + 200])
    assert len(left_out) == 1


def test_regions_of_another_slide_are_not_this_ones(
    model: ViewerModel, slide: Slide, tmp_path: Path, make_slide: Callable[..., Path]
) -> None:
    with Slide.open(make_slide(tmp_path / "b.tif", None)) as other:
        regions_layer(model, other, "add").add_polygons(SQUARE)
        assert polygons(model, slide) == ((), ())
        assert len(polygons(model, other)[0]) == 1


@pytest.mark.parametrize("use", TITLES)
def test_drawing_starts_on_the_layer_of_its_use(model: ViewerModel, slide: Slide, use: str) -> None:
    start_drawing(model, slide, "add")
    start_drawing(model, slide, use)
    tools = {each: tool_of(model, regions_layer(model, slide, each)) for each in TITLES}
    assert [each for each, tool in tools.items() if tool.drawing] == [use]
