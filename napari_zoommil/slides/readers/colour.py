"""Conversion of stored samples to RGB: grey, palette, CMYK, YCbCr, alpha and 16-bit ("deep") samples.

The white of deep samples is 2^bits − 1, with the smallest number of bits from 8 to 16 that holds the
brightest value. Grey is repeated, alpha is composited on white.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.slides.readers.base import RGB

Model = Literal["grey", "rgb", "cmyk", "ycbcr", "palette"]

SAMPLES: dict[Model, int] = {"grey": 1, "rgb": 3, "cmyk": 4, "ycbcr": 3, "palette": 1}
"""Samples per pixel of a colour model; an additional one is alpha."""


@dataclass(frozen=True, eq=False)
class Colour:
    """The meaning of the samples of a pixel.

    Attributes
    ----------
    model : str
    white : int
        Largest sample value, 255 in the result.
    inverted : bool
        For grey: whether 0 is white.
    premultiplied : bool
        Whether colours are already multiplied by alpha.
    palette : (n, 3) uint8, optional
    """

    model: Model
    white: int = 255
    inverted: bool = False
    premultiplied: bool = False
    palette: RGB | None = None


CHROMA = np.arange(-128, 128, dtype=np.int32)
HALF = 1 << 15
RED_TO_RED = (round(1.402 * (1 << 16)) * CHROMA + HALF) >> 16
BLUE_TO_BLUE = (round(1.772 * (1 << 16)) * CHROMA + HALF) >> 16
BLUE_TO_GREEN = -round(0.34414 * (1 << 16)) * CHROMA + HALF
RED_TO_GREEN = -round(0.71414 * (1 << 16)) * CHROMA
"""Contribution of chroma to a channel (JFIF 1.02, p. 3); for green times 2^16."""


def misfit(dtype: Any, kind: object = None) -> str:
    """Why samples of a type cannot be shown, to continue a sentence that begins with a name; else empty."""
    if dtype in (np.uint8, np.uint16, bool):
        return ""
    return f"holds {kind or dtype} samples; unsigned integers of 1, 8 or 16 bits can be shown"


def white_of(blocks: Iterable[NDArray[Any]]) -> int:
    """White of deep samples, estimated from some blocks."""
    brightest = max((int(block.max()) for block in blocks if block.size), default=0)
    return 2 ** min(max(brightest.bit_length(), 8), 16) - 1


def to_rgb(block: NDArray[Any], colour: Colour) -> RGB:
    """Samples (h, w, s) → (h, w, 3) uint8; ValueError if s does not fit the colour model."""
    if block.shape[2] - SAMPLES[colour.model] not in (0, 1):
        raise ValueError(f"{block.shape[2]} samples per pixel are not {colour.model}")
    if colour.model == "palette":
        assert colour.palette is not None
        return colour.palette[np.minimum(block[..., 0], len(colour.palette) - 1)]
    block = _to_8_bit(block, colour.white)
    count = SAMPLES[colour.model]
    alpha = block[..., count] if block.shape[2] > count else None
    rgb = _to_three(block[..., :count], colour)
    return rgb if alpha is None else _on_white(rgb, alpha, colour.premultiplied)


def _to_8_bit(block: NDArray[Any], white: int) -> NDArray[np.uint8]:
    if block.dtype == np.uint8 and white == 255:
        return block
    values = np.arange(np.iinfo(np.uint16).max + 1)
    table = np.minimum(np.round(values * (255 / white)), 255).astype(np.uint8)
    return table[block.astype(np.uint16)]


def _to_three(block: NDArray[np.uint8], colour: Colour) -> RGB:
    if colour.model == "rgb":
        return np.ascontiguousarray(block)
    if colour.model == "grey":
        grey = 255 - block if colour.inverted else block
        return np.repeat(grey, 3, axis=2)
    if colour.model == "ycbcr":
        return _from_ycbcr(block)
    height, width = block.shape[:2]
    image = Image.frombytes("CMYK", (width, height), np.ascontiguousarray(block).tobytes())
    return np.asarray(image.convert("RGB"))


def _from_ycbcr(block: NDArray[np.uint8]) -> RGB:
    """The fixed-point arithmetic of libjpeg and OpenSlide, with bit-equal results."""
    luma, blue, red = block[..., 0], block[..., 1], block[..., 2]
    green = (BLUE_TO_GREEN[blue] + RED_TO_GREEN[red]) >> 16
    rgb = np.stack([luma + RED_TO_RED[red], luma + green, luma + BLUE_TO_BLUE[blue]], axis=2)
    return rgb.clip(0, 255).astype(np.uint8)


def _on_white(rgb: RGB, alpha: NDArray[np.uint8], premultiplied: bool) -> RGB:
    if alpha.min() == 255:
        return rgb
    opacity = alpha[..., None].astype(np.float32) / 255
    coloured = rgb if premultiplied else rgb * opacity
    return np.clip(np.round(coloured + 255 * (1 - opacity)), 0, 255).astype(np.uint8)
