"""Eight ways a slide may be stored, one way it is shown."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from napari_zoommil.slides.readers.base import RGB, Level, Reader, shrunken
from napari_zoommil.slides.readers.orientation import OrientedReader, oriented


def shrunk(image: RGB, shrink: int) -> RGB:
    """Means of blocks from the top left; the last blocks hold what is left."""
    rows, columns = shrunken(image.shape[:2], shrink)
    blocks = [
        [image[r * shrink : (r + 1) * shrink, c * shrink : (c + 1) * shrink] for c in range(columns)]
        for r in range(rows)
    ]
    return np.array([[block.mean((0, 1)).round() for block in row] for row in blocks], np.uint8)


class Stored:
    """A reader over arrays with all that a reader has."""

    vendor = "array"
    mpp = (0.5, 0.25)
    objective = 20.0
    properties = MappingProxyType({"scanner": "none"})
    background = (1, 2, 3)
    associated = ("label",)
    icc = b"profile"
    damaged = 0

    def __init__(self, *images: RGB, shrinks: tuple[int, ...] = (1,)) -> None:
        self.images, self.shrinks = images, shrinks
        height, width = images[0].shape[:2]
        self.levels = tuple(
            Level((image.shape[0], image.shape[1]), (height / image.shape[0], width / image.shape[1]))
            for image in images
        )
        self.closed = False

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        image = shrunk(self.images[level], shrink) if shrink > 1 else self.images[level]
        assert 0 <= y <= y + height <= image.shape[0] and 0 <= x <= x + width <= image.shape[1], "outside"
        return image[y : y + height, x : x + width]

    def associated_image(self, name: str) -> RGB:
        return np.full((2, 3, 3), len(name), np.uint8)

    def close(self) -> None:
        self.closed = True


def noise(height: int, width: int) -> RGB:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)


def upright(image: RGB, orientation: int) -> NDArray[np.uint8]:
    """What Pillow makes of a file with that EXIF tag."""
    stored = Image.fromarray(image)
    stored.getexif()[Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(stored))


def as_reader(stored: Stored) -> Reader:
    return cast(Reader, stored)


@given(
    data=st.data(),
    orientation=st.integers(1, 8),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    shrink=st.sampled_from([1, 2, 4, 8]),
)
def test_a_window_is_the_window_of_the_upright_image(
    data: Any, orientation: int, height: int, width: int, shrink: int
) -> None:
    images = noise(height, width), noise(-(-height // 2), -(-width // 2))
    reader = oriented(as_reader(Stored(*images, shrinks=(1, 2, 4, 8))), orientation)
    if shrink not in reader.shrinks:
        shrink = 1
    for level, image in enumerate(images):
        whole = upright(image, orientation)
        assert reader.levels[level].shape == whole.shape[:2]
        expected = shrunk(whole, shrink)
        rows, columns = shrunken(reader.levels[level].shape, shrink)
        y, x = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
        h, w = data.draw(st.integers(1, rows - y)), data.draw(st.integers(1, columns - x))
        window = reader.read(level, y, x, h, w, shrink)
        np.testing.assert_array_equal(window, expected[y : y + h, x : x + w])


@pytest.mark.parametrize("orientation", range(2, 9))
def test_windows_are_contiguous_bytes(orientation: int) -> None:
    window = oriented(as_reader(Stored(noise(9, 7))), orientation).read(0, 1, 2, 5, 4)
    assert window.dtype == np.uint8 and window.flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 1, 9, -1, 274])
def test_an_upright_or_unknown_orientation_needs_no_wrapper(orientation: int) -> None:
    reader = as_reader(Stored(noise(4, 5)))
    assert oriented(reader, orientation) is reader


@pytest.mark.parametrize(("orientation", "lies"), [(o, o >= 5) for o in range(2, 9)])
def test_scale_turns_with_the_pixels(orientation: int, lies: bool) -> None:
    reader = oriented(as_reader(Stored(noise(40, 30), noise(10, 15))), orientation)
    assert reader.levels[1] == (Level((15, 10), (2.0, 4.0)) if lies else Level((10, 15), (4.0, 2.0)))
    assert reader.mpp == ((0.25, 0.5) if lies else (0.5, 0.25))


def test_an_unknown_scale_stays_unknown() -> None:
    stored = Stored(noise(4, 4))
    stored.mpp = None  # type: ignore[assignment]
    assert oriented(as_reader(stored), 6).mpp is None


@pytest.mark.parametrize(
    ("orientation", "shrinks"),
    [(2, (1, 2)), (3, (1, 2)), (4, (1, 2, 4)), (5, (1, 2, 4, 8)), (6, (1, 2, 4)), (7, (1, 2)), (8, (1, 2))],
)
def test_shrinks_stay_where_no_flipped_extent_overhangs(orientation: int, shrinks: tuple[int, ...]) -> None:
    stored = Stored(noise(24, 16), noise(12, 6), shrinks=(1, 2, 4, 8))
    assert oriented(as_reader(stored), orientation).shrinks == shrinks


def test_all_else_is_the_inner_readers() -> None:
    stored = Stored(noise(4, 6))
    reader = oriented(as_reader(stored), 8)
    assert isinstance(reader, OrientedReader)
    for name in ("vendor", "objective", "properties", "background", "associated", "icc"):
        assert getattr(reader, name) is getattr(stored, name)
    np.testing.assert_array_equal(reader.associated_image("label"), stored.associated_image("label"))
    stored.damaged = 3
    assert reader.damaged == 3
    reader.close()
    assert stored.closed
