"""Colours in sRGB, whatever the scanner's own are."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from napari_zoommil.slides.readers.base import RGB, Level, Reader
from napari_zoommil.slides.readers.icc import ColourManagedReader, colour_managed

WIDE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
"""Linear Adobe RGB (1998) to XYZ at D50."""
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
"""Linear sRGB to XYZ at D50."""
GAMMA = 563 / 256


def matrix_profile(columns: NDArray[np.float64], space: bytes = b"RGB ", kind: bytes = b"mntr") -> bytes:
    """An ICC version 2 profile of three primaries and one gamma, by the letter of ICC.1:2001-04."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256)) + b"\0\0"
    tags = {b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    for index, colour in enumerate(b"rgb"):
        tags[bytes([colour]) + b"XYZ"] = xyz(columns[:, index])
        tags[bytes([colour]) + b"TRC"] = curve
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">2I", offset + len(body), len(value))
        body += value
    header = (
        struct.pack(">I4xI", offset + len(body), 0x02100000) + kind + space + b"XYZ " + bytes(12) + b"acsp"
    )
    header += bytes(28) + struct.pack(">3i", round(0.9642 * 65536), 65536, round(0.8249 * 65536))
    return header.ljust(128, b"\0") + table + body


def expected(pixels: RGB) -> NDArray[np.float64]:
    """Adobe RGB to sRGB by the matrices."""
    linear = np.clip((pixels / 255.0) ** GAMMA @ (np.linalg.inv(SRGB) @ WIDE).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def reader_of(pixels: RGB, icc: bytes | None, background: tuple[int, int, int] = (255, 255, 255)) -> Reader:
    def read(level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        return pixels[y : y + height : shrink, x : x + width : shrink]

    return cast(
        Reader,
        SimpleNamespace(
            vendor="array",
            levels=(Level(pixels.shape[:2], (1.0, 1.0)),),
            shrinks=(1, 2),
            mpp=(0.5, 0.25),
            icc=icc,
            background=background,
            associated=("label",),
            damaged=2,
            read=read,
            associated_image=lambda name: pixels[:2, :2],
            close=lambda: None,
        ),
    )


def noise(height: int, width: int) -> RGB:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_pixels_and_background_become_srgb() -> None:
    pixels = noise(64, 48)
    reader = colour_managed(reader_of(pixels, matrix_profile(WIDE), background=(200, 120, 160)))
    assert isinstance(reader, ColourManagedReader)
    window = reader.read(0, 3, 5, 40, 30)
    assert window.dtype == np.uint8 and window.flags.c_contiguous and window.flags.writeable
    np.testing.assert_allclose(window, expected(pixels[3:43, 5:35]), atol=2)
    assert np.abs(window.astype(int) - pixels[3:43, 5:35]).max() > 20, "the profile makes a difference"
    assert reader.background == tuple(reader_colour(reader, (200, 120, 160)))
    np.testing.assert_allclose(reader.background, expected(np.array([200, 120, 160], np.uint8)), atol=2)


def reader_colour(reader: Reader, colour: tuple[int, int, int]) -> list[int]:
    """What a pixel of that colour becomes."""
    flat = reader_of(np.full((4, 4, 3), colour, np.uint8), reader.icc)
    return colour_managed(flat).read(0, 0, 0, 1, 1)[0, 0].tolist()


def test_what_is_read_smaller_is_converted_too() -> None:
    pixels = noise(8, 8)
    reader = colour_managed(reader_of(pixels, matrix_profile(WIDE)))
    np.testing.assert_allclose(reader.read(0, 0, 0, 8, 8, 2), expected(pixels[::2, ::2]), atol=2)


def test_stored_pixels_are_not_touched() -> None:
    pixels = noise(8, 8)
    before = pixels.copy()
    colour_managed(reader_of(pixels, matrix_profile(WIDE))).read(0, 0, 0, 8, 8)
    np.testing.assert_array_equal(pixels, before)


def test_an_empty_window_stays_empty() -> None:
    reader = colour_managed(reader_of(noise(8, 8), matrix_profile(WIDE)))
    assert reader.read(0, 2, 2, 0, 4).shape == (0, 4, 3)


def test_srgb_stays_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = noise(64, 64)
    window = colour_managed(reader_of(pixels, profile)).read(0, 0, 0, 64, 64)
    assert np.abs(window.astype(int) - pixels).max() <= 1


def test_all_else_is_the_inner_readers() -> None:
    pixels = noise(8, 8)
    inner = reader_of(pixels, matrix_profile(WIDE))
    reader = colour_managed(inner)
    for name in ("vendor", "levels", "shrinks", "mpp", "icc", "associated", "damaged", "close"):
        assert getattr(reader, name) is getattr(inner, name)
    np.testing.assert_array_equal(reader.associated_image("label"), pixels[:2, :2])


def lab() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    "profile",
    [
        lambda: None,
        lambda: b"",
        lambda: b"not a profile",
        lambda: matrix_profile(WIDE)[:100],
        lambda: matrix_profile(WIDE)[:180],
        lambda: matrix_profile(WIDE).replace(b"rXYZ", b"none"),
        lambda: matrix_profile(WIDE).replace(b"acsp", b"xxxx"),
        lambda: matrix_profile(WIDE, space=b"GRAY"),
        lambda: matrix_profile(WIDE, space=b"CMYK", kind=b"prtr"),
        lambda: matrix_profile(WIDE, kind=b"link"),
        lab,
    ],
    ids=["none", "empty", "text", "header", "cut", "no red", "unsigned", "grey", "cmyk", "link", "lab"],
)
def test_a_profile_of_no_use_leaves_the_slide_as_it_is(profile: Callable[[], bytes | None]) -> None:
    reader = reader_of(noise(8, 8), profile())
    assert colour_managed(reader) is reader


def test_one_transform_serves_many_threads() -> None:
    pixels = noise(256, 256)
    reader = colour_managed(reader_of(pixels, matrix_profile(WIDE)))
    windows = [(y, x) for y in range(0, 256, 32) for x in range(0, 256, 32)] * 4
    alone = [reader.read(0, y, x, 32, 32) for y, x in windows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda window: reader.read(0, *window, 32, 32), windows))
    np.testing.assert_array_equal(together, alone)


def test_the_profile_of_the_test_is_one() -> None:
    profile = ImageCms.ImageCmsProfile(BytesIO(matrix_profile(WIDE))).profile
    assert profile.xcolor_space.strip() == "RGB" and profile.is_matrix_shaper
