"""Stored samples as RGB."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.colour import Colour, to_rgb, white_of


def noise(samples: int, seed: int = 0) -> RGB:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, samples), np.uint8)


@pytest.mark.parametrize(
    ("brightest", "white"),
    [(0, 255), (1, 255), (255, 255), (256, 511), (1023, 1023), (1024, 2047), (4095, 4095), (65535, 65535)],
)
def test_white_is_the_smallest_bit_depth_that_holds_the_brightest(brightest: int, white: int) -> None:
    assert white_of([np.zeros((2, 2, 1), np.uint16), np.array([[[brightest]]], np.uint16)]) == white


def test_white_of_nothing_is_that_of_8_bits() -> None:
    assert white_of([]) == white_of([np.zeros((0, 3, 1), np.uint16)]) == 255


@given(bits=st.integers(8, 16), values=st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_deep_samples_are_scaled_to_white(bits: int, values: list[int]) -> None:
    white = 2**bits - 1
    block = np.array(values, np.uint16)[None, :, None]
    expected = np.minimum(np.round(block * (255 / white)), 255)
    assert np.array_equal(to_rgb(block, Colour("grey", white)), expected.repeat(3, 2))


def test_eight_bits_are_taken_as_they_are() -> None:
    block = noise(3)
    assert np.array_equal(to_rgb(block, Colour("rgb")), block)
    grey = noise(1)
    assert np.array_equal(to_rgb(grey, Colour("grey")), grey.repeat(3, 2))
    assert np.array_equal(to_rgb(grey, Colour("grey", inverted=True)), 255 - grey.repeat(3, 2))


def test_one_bit_is_black_and_white() -> None:
    bits = noise(1) > 127
    assert np.array_equal(to_rgb(bits, Colour("grey", 1)), np.where(bits, 255, 0).repeat(3, 2))
    assert np.array_equal(to_rgb(bits, Colour("grey", 1, inverted=True)), np.where(bits, 0, 255).repeat(3, 2))


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_the_byte_order_is_the_files(byteorder: str) -> None:
    block = np.array([[[0x0102], [0xFF00], [0xFFFF]]], f"{byteorder}u2")
    assert to_rgb(block, Colour("grey", 65535))[0, :, 0].tolist() == [1, 254, 255]


def test_palettes() -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    index = noise(1)
    assert np.array_equal(to_rgb(index, Colour("palette", palette=palette)), palette[index[..., 0]])
    short = to_rgb(index, Colour("palette", palette=palette[:16]))
    assert np.array_equal(short, palette[np.minimum(index[..., 0], 15)]), "an index beyond it does no harm"
    bits = index > 127
    assert np.array_equal(to_rgb(bits, Colour("palette", 1, palette=palette[:2])), palette[bits[..., 0] * 1])


def test_inks_absorb() -> None:
    inks = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]]], np.uint8
    )
    expected = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    assert to_rgb(inks, Colour("cmyk"))[0].tolist() == expected
    block = noise(4)
    image = Image.frombytes("CMYK", (30, 20), block.tobytes()).convert("RGB")
    assert np.array_equal(to_rgb(block, Colour("cmyk")), np.asarray(image))


def test_ycbcr_is_that_of_jfif() -> None:
    block = noise(3).astype(float)
    luma, blue, red = block[..., 0], block[..., 1] - 128, block[..., 2] - 128
    channels = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    expected = np.stack(channels, 2).clip(0, 255)
    np.testing.assert_allclose(to_rgb(noise(3), Colour("ycbcr")), expected, atol=0.51)
    greys = np.full((1, 256, 3), 128, np.uint8)
    greys[0, :, 0] = np.arange(256)
    assert np.array_equal(
        to_rgb(greys, Colour("ycbcr")), np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    )


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("premultiplied", [False, True])
def test_alpha_is_laid_on_white(samples: int, premultiplied: bool) -> None:
    block = noise(samples)
    share = block[..., -1:] / 255
    if premultiplied:
        block[..., :-1] = np.floor(block[..., :-1] * share)
    coloured = block[..., :-1] * (1 if premultiplied else share)
    expected = np.broadcast_to(coloured + 255 * (1 - share), (20, 30, max(samples - 1, 3)))
    shown = to_rgb(block, Colour("grey" if samples == 2 else "rgb", premultiplied=premultiplied))
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_colours_brighter_than_their_alpha_allows_are_clipped() -> None:
    block = np.full((2, 2, 4), 200, np.uint8)
    assert (to_rgb(block, Colour("rgb", premultiplied=True)) == 255).all()


def test_alpha_of_deep_pixels_is_as_deep() -> None:
    block = np.array([[[4095, 0, 0, 4095], [4095, 0, 0, 0], [0, 0, 0, 2048]]], np.uint16)
    assert to_rgb(block, Colour("rgb", 4095))[0].tolist() == [[255, 0, 0], [255] * 3, [127] * 3]


@pytest.mark.parametrize(
    ("block", "colour"),
    [
        (noise(3), Colour("rgb")),
        (noise(4), Colour("rgb")),
        (noise(1), Colour("grey", inverted=True)),
        (noise(4), Colour("cmyk")),
        (noise(5), Colour("cmyk")),
        (noise(3), Colour("ycbcr")),
        (noise(3).astype(np.uint16), Colour("rgb", 4095)),
        (noise(3).transpose(1, 0, 2), Colour("rgb")),
        (noise(1) > 9, Colour("grey", 1)),
    ],
)
def test_the_result_is_plain_rgb_and_the_samples_stay(block: NDArray[np.generic], colour: Colour) -> None:
    before = block.copy()
    shown = to_rgb(block, colour)
    assert shown.shape == (*block.shape[:2], 3) and shown.dtype == np.uint8 and shown.flags.c_contiguous
    assert np.array_equal(block, before)
