"""A slide or a rectangle of it as one image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_zoommil.bags.need import NeedImage, answer
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.errors import MagnificationError, MissingResolutionError
from napari_zoommil.geometry import NATIVE, Box, magnification_name, zoom_ratios
from napari_zoommil.slides import Slide
from napari_zoommil.slides.image_grid import image_grid, image_shape


@pytest.fixture(scope="module")
def slide(make_slide: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At 10x, 512 px."""
    return make_slide(tmp_path_factory.mktemp("images") / "slide.tif", (120, 90, 200))


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 300), st.floats(0, 300), st.floats(3, 200), st.floats(3, 200),
    st.sampled_from([NATIVE, 3.0, 5.0, 10.0]),
)  # fmt: skip
def test_an_image_has_whole_pixels_that_begin_at_the_corner(slide, y, x, height, width, magnification):
    with Slide.open(slide) as opened:
        grid = image_grid(opened, magnification, Box(y, x, height, width))
        pixels = image_of(PixelBag(opened, grid))
    (level,) = grid.levels
    assert pixels == image_shape(grid)
    scale = 10 / magnification if magnification else 1.0
    np.testing.assert_allclose(np.array(pixels) * scale, level.size)
    assert abs(level.size[0] - height) <= scale and abs(level.size[1] - width) <= scale
    corner = level.origins[0]
    assert (corner <= (y, x)).all() and (np.array((y, x)) - corner < 1).all()


def image_of(bag: PixelBag) -> tuple[int, int]:
    pixels = answer(bag, NeedImage.of(bag.grid))
    assert bag.encoded == (1,)
    return pixels.shape[1], pixels.shape[2]


def test_an_image_without_pixel_size_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Slide.open(tmp_path / "a.png") as opened:
        grid = image_grid(opened, NATIVE, Box(3.4, 5.6, 20, 30))
        need = NeedImage.of(grid)
        found = answer(PixelBag(opened, grid), need).permute(1, 2, 0)
        np.testing.assert_array_equal(found, pixels[3:23, 5:35])
        assert need.mpp == need.magnification == NATIVE
        with pytest.raises(MissingResolutionError):
            image_grid(opened, 20.0)


def test_native_is_no_magnification_among_others() -> None:
    assert zoom_ratios((NATIVE,)) == ()
    assert magnification_name(NATIVE) == "native"
    with pytest.raises(MagnificationError):
        zoom_ratios((NATIVE, 10.0))
