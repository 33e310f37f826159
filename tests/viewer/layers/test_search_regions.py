"""Where cells are looked for; the rules of drawing are tested in test_drawing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.layers.drawing import tool_of
from napari_zoommil.viewer.layers.search_regions import (
    SEARCHED,
    area_mm2,
    drawn,
    find,
    in_window,
    on_slide,
    search_layer,
    start_drawing,
)

MPP = 0.5
SQUARE = np.array([(0.0, 0), (0, 90), (90, 90), (90, 0)])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Iterator[Slide]:
    """512 px wide and high, 0.5 µm/px."""
    with Slide.open(make_slide(tmp_path_factory.mktemp("slides") / "a.tif", None), MPP) as opened:
        yield opened


def bounds(*polygons: np.ndarray) -> list[list[float]]:
    return [[*one.min(0), *one.max(0)] for one in polygons]


def test_the_layer_is_made_once_and_for_each_slide(
    model: ViewerModel, slide: Slide, tmp_path, make_slide
) -> None:
    assert find(model, slide) is None and drawn(model, slide) == ()
    layer = search_layer(model, slide)
    assert search_layer(model, slide) is find(model, slide) is layer and len(model.layers) == 1
    with Slide.open(make_slide(tmp_path / "b.tif", None)) as other:
        assert search_layer(model, other) is not layer
    layer.name = "renamed"
    assert find(model, slide) is layer and SEARCHED in layer.metadata.values()


def test_what_is_drawn_lies_on_the_pixels_under_it(model: ViewerModel, slide: Slide) -> None:
    layer = search_layer(model, slide)
    # from the left edge of pixel 10 to the right edge of pixel 19; the world has the centres of pixels
    world = MPP * np.array([(9.5, 9.5), (9.5, 19.5), (19.5, 19.5), (19.5, 9.5)])
    layer.add_polygons(np.array([layer.world_to_data(place) for place in world]))
    assert bounds(*drawn(model, slide)) == [[10, 10, 20, 20]]


def test_what_lies_off_the_slide_is_cut_off(model: ViewerModel, slide: Slide) -> None:
    layer = search_layer(model, slide)
    for shift in (-40, 480, 1000):
        layer.add_polygons(SQUARE + shift)
    assert bounds(*drawn(model, slide)) == [[0, 0, 50, 50], [480, 480, 512, 512]]


def test_drawing_starts_on_this_layer(model: ViewerModel, slide: Slide) -> None:
    start_drawing(model, slide)
    layer = find(model, slide)
    assert layer is not None and tool_of(model, layer).drawing


def test_the_window_shows_a_part_of_the_slide(model: ViewerModel, slide: Slide) -> None:
    camera = model.scene.camera
    height, width = model.canvas.size
    camera.zoom = height / (100 * MPP)  # 100 level-0 px from top to bottom
    camera.center = (0, 255.5 * MPP, 255.5 * MPP)
    (seen,) = in_window(model, slide)
    half = np.array((50, 50 * width / height))
    # within half a pixel: the camera counts from the centre of the first one
    np.testing.assert_allclose(bounds(seen), [[*(256 - half), *(256 + half)]], atol=0.6)
    camera.center = (0, -0.5 * MPP, 255.5 * MPP)
    np.testing.assert_allclose(bounds(*in_window(model, slide))[0][::2], [0, 50], atol=0.6)
    camera.center = (0, 10_000, 10_000)
    assert in_window(model, slide) == ()


CORNERS = st.lists(st.tuples(*[st.integers(-20, 120)] * 2), min_size=3, max_size=7)


@given(st.lists(CORNERS, max_size=3))
def test_parts_on_a_slide_are_what_lies_on_it(polygons: list[list[tuple[int, int]]]) -> None:
    arrays = [np.array(one, float) for one in polygons]
    parts = on_slide(arrays, (100, 80))
    whole = shapely.box(0, 0, 100, 80)
    expected = [shapely.intersection(shapely.make_valid(shapely.Polygon(one)), whole) for one in arrays]
    for part in parts:
        assert len(part) >= 3 and (part[0] != part[-1]).any()
        assert (part >= 0).all() and (part <= (100, 80)).all()
    # an outline that crosses itself may go round a hole, which no outline of its own can tell
    covered = shapely.union_all([shapely.Polygon(part) for part in parts])
    assert shapely.union_all(expected).difference(covered.buffer(1e-6)).area < 1e-6
    assert area_mm2(parts, (1, 1)) == pytest.approx(covered.area / 1e6)


def test_an_area_counts_once_and_in_square_millimetres() -> None:
    assert area_mm2((), (0.5, 0.5)) == 0
    assert area_mm2((SQUARE * 10,), (0.5, 0.25)) == pytest.approx(0.9**2 * 0.5 * 0.25)
    assert area_mm2((SQUARE * 10, SQUARE * 10 + (450, 0)), (1, 1)) == pytest.approx(0.9**2 * 1.5)
