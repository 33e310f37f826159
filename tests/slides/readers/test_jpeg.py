"""JPEG tiles: strict, in the colours the TIFF states, and smaller at less cost."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from time import perf_counter

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import immunohistochemistry

from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.jpeg import SHRINKS, decode_jpeg, stream_head

HEAD = stream_head(None, False)
RGB_HEAD = stream_head(None, True)


@cache
def tissue(height: int = 256, width: int = 256) -> RGB:
    return np.ascontiguousarray(immunohistochemistry()[:height, :width])


def jpeg(image: RGB, quality: int = 85, subsampling: int = 0, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling, **options)
    return file.getvalue()


def segments(stream: bytes) -> tuple[list[bytes], bytes]:
    """Marker segments before the scan, and the scan."""
    found, at = [], 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        found.append(stream[at:end])
        at = end
    return found, stream[at:]


def abbreviated(stream: bytes) -> tuple[bytes, bytes]:
    """Tables as the JPEGTables tag holds them, and the stream without them."""
    found, scan = segments(stream)
    tables = [part for part in found if part[1] in (0xDB, 0xC4)]
    rest = [part for part in found if part[1] not in (0xDB, 0xC4)]
    return b"\xff\xd8" + b"".join(tables) + b"\xff\xd9", b"\xff\xd8" + b"".join(rest) + scan


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 98])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_the_pixels_are_those_of_libjpeg(quality: int, subsampling: int, options: dict[str, object]) -> None:
    stream = jpeg(tissue(), quality, subsampling, **options)
    expected = np.asarray(Image.open(BytesIO(stream)).convert("RGB"))
    assert np.array_equal(decode_jpeg(stream, HEAD, (256, 256), 1), expected)


def test_shared_tables_are_put_back() -> None:
    stream = jpeg(tissue(), restart_marker_blocks=7)
    tables, short = abbreviated(stream)
    assert len(tables) > 500 and len(short) < len(stream)
    expected = decode_jpeg(stream, HEAD, (256, 256), 1)
    assert np.array_equal(decode_jpeg(short, stream_head(tables, False), (256, 256), 1), expected)
    with pytest.raises(ValueError, match=r"."):
        decode_jpeg(short, HEAD, (256, 256), 1)


def test_a_streams_own_tables_come_after_the_shared_ones() -> None:
    other, _ = abbreviated(jpeg(tissue(), quality=10))
    stream = jpeg(tissue(), quality=90)
    expected = decode_jpeg(stream, HEAD, (256, 256), 1)
    assert np.array_equal(decode_jpeg(stream, stream_head(other, False), (256, 256), 1), expected)


@pytest.mark.parametrize("stated", ["RGB", "YCBCR"])
@pytest.mark.parametrize("stored", ["RGB", "YCBCR"])
def test_the_tiff_states_the_colours_whatever_the_stream_says(stated: str, stored: str) -> None:
    stream = bytes(imagecodecs.jpeg8_encode(tissue(), level=95, outcolorspace=stored, subsampling=(1, 1)))
    head = RGB_HEAD if stated == "RGB" else HEAD
    shown = decode_jpeg(stream, head, (256, 256), 1).astype(int)
    if stated == stored:
        assert np.abs(shown - tissue()).mean() < 2
    else:
        mode = "YCbCr" if stored == "YCBCR" else "RGB"
        samples = Image.fromarray(np.asarray(Image.fromarray(tissue()).convert(mode)))
        expected = samples if stated == "RGB" else Image.frombytes("YCbCr", samples.size, samples.tobytes())
        assert np.abs(shown - np.asarray(expected.convert("RGB"))).mean() < 3


def test_grey_is_repeated() -> None:
    stream = jpeg(tissue()[..., 0])
    shown = decode_jpeg(stream, HEAD, (256, 256), 1)
    assert np.array_equal(shown, np.repeat(np.asarray(Image.open(BytesIO(stream)))[..., None], 3, 2))
    assert decode_jpeg(stream, HEAD, (256, 256), 4).shape == (64, 64, 3)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(("shrink", "most"), [(2, 2.5), (4, 2), (8, 1)])
def test_smaller_is_the_mean_of_blocks(subsampling: int, shrink: int, most: float) -> None:
    if (subsampling, shrink) == (1, 8):
        most = 3  # 4:2:2 has no chroma of half the width: it is spread over two px
    stream = jpeg(tissue(), 85, subsampling)
    full, small = (decode_jpeg(stream, HEAD, (256, 256), s) for s in (1, shrink))
    means = np.asarray(Image.fromarray(full).reduce(shrink)).astype(float)
    assert np.abs(small - means).mean() < most
    assert abs((small - means).mean()) < 0.5
    shifts = ((1, 0), (0, 1), (-1, 0), (0, -1))
    moved = [np.abs(np.roll(small, shift, (0, 1)) - means).mean() for shift in shifts]
    assert np.abs(small - means).mean() < 0.6 * min(moved), "it lies where it should"


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 90), width=st.integers(8, 90), shrink=st.sampled_from(SHRINKS), grey=st.booleans()
)
def test_any_extent_at_any_shrink(height: int, width: int, shrink: int, grey: bool) -> None:
    image = tissue()[:height, :width, 0] if grey else tissue()[:height, :width]
    stream = jpeg(np.ascontiguousarray(image), subsampling=2 if not grey else 0)
    shown = decode_jpeg(stream, HEAD, (height, width), shrink)
    assert shown.shape == (-(-height // shrink), -(-width // shrink), 3)
    assert shown.dtype == np.uint8
    overhanging = decode_jpeg(stream, HEAD, (height + 100, width + 100), shrink)
    assert np.array_equal(shown, overhanging), "a last strip may be shorter than the others"


@pytest.mark.parametrize("tile", [(64, 64), (88, 130), (100, 129)])
def test_more_than_a_tile_is_refused_not_shown_smaller(tile: tuple[int, int]) -> None:
    stream = jpeg(tissue(100, 130))
    for shrink in SHRINKS:
        with pytest.raises(ValueError, match=r"100×130 px in a tile of \d+×\d+"):
            decode_jpeg(stream, HEAD, tile, shrink)


@pytest.mark.parametrize("shrink", SHRINKS)
def test_damage_raises(shrink: int) -> None:
    stream = jpeg(tissue(), restart_marker_rows=1)
    wounded = bytearray(stream)
    wounded[len(stream) // 2 : len(stream) // 2 + 3000] = bytes(3000)
    cuts = [stream[:size] for size in (0, 1, 2, 3, 4, 5, 20, 200, 700, len(stream) // 2, len(stream) - 100)]
    for broken in (*cuts, bytes(wounded), bytes(500), b"\xff\xd8" + b"\xff\xe0\0\0" * 9, stream[4:]):
        with pytest.raises(ValueError, match=r"."):
            decode_jpeg(broken, HEAD, (256, 256), shrink)


def test_an_eighth_costs_less_than_the_whole() -> None:
    stream = jpeg(tissue(), 85, 2)

    def seconds(shrink: int) -> float:
        start = perf_counter()
        for _ in range(20):
            decode_jpeg(stream, HEAD, (256, 256), shrink)
        return perf_counter() - start

    assert min(seconds(8) for _ in range(5)) < 0.8 * min(seconds(1) for _ in range(5))
