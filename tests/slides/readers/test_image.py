"""JPEG and PNG files as slides."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps
from PIL.ExifTags import Base

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides.readers import image as module
from napari_zoommil.slides.readers.base import RGB, Level, Reader
from napari_zoommil.slides.readers.image import ImageReader

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def smooth(height: int = 48, width: int = 64) -> RGB:
    """A picture that JPEG keeps, without a black row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + 2 * x, 60 + 3 * y, 200 - x - y], 2).clip(1, 255).astype(np.uint8)


def noise(height: int, width: int) -> RGB:
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """``saved(image, "PNG", keep=0.5, …)``: a file of an image or array, of which a share is kept."""

    def save(image: Any, form: str = "PNG", name: str = "a.slide", keep: float = 1.0, **options: Any) -> Path:
        file = BytesIO()
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
        whole = file.getvalue()
        path = tmp_path / name
        path.write_bytes(whole[: int(len(whole) * keep)])
        return path

    return save


def whole(reader: Reader) -> RGB:
    return reader.read(0, 0, 0, *reader.levels[0].shape)


def test_files_are_told_by_content(saved: Callable[..., Path], tmp_path: Path) -> None:
    assert ImageReader.accepts(saved(smooth(), "PNG", "a.jpg"))
    assert ImageReader.accepts(saved(smooth(), "JPEG", "b"))
    assert not ImageReader.accepts(saved(smooth(), "BMP", "c.png"))
    assert not ImageReader.accepts(saved(smooth(), "TIFF", "d.jpeg"))
    (tmp_path / "empty.png").touch()
    for name in ("empty.png", "missing.png", "x" * 300 + ".png", "."):
        assert not ImageReader.accepts(tmp_path / name)


def test_a_png_is_a_slide_of_one_level(saved: Callable[..., Path]) -> None:
    reader = ImageReader.open(saved(noise(30, 50), dpi=(50_000, 50_000)))
    assert reader.levels == (Level((30, 50), (1.0, 1.0)),)
    assert (reader.vendor, reader.shrinks, reader.associated) == ("png", (1,), ())
    assert reader.mpp is None, "50,000 dpi is half a micrometre, but still a density for printing"
    assert reader.objective is None and reader.icc is None and reader.damaged == 0
    window = reader.read(0, 3, 7, 11, 13)
    np.testing.assert_array_equal(window, noise(30, 50)[3:14, 7:20])
    assert window.flags.c_contiguous and window.flags.writeable
    window[:] = 0
    np.testing.assert_array_equal(whole(reader), noise(30, 50))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_what_pillow_decodes(saved: Callable[..., Path], progressive: bool) -> None:
    path = saved(smooth(), "JPEG", progressive=progressive, dpi=(72, 72))
    reader = ImageReader.open(path)
    assert reader.vendor == "jpeg" and reader.mpp is None
    np.testing.assert_array_equal(whole(reader), np.asarray(Image.open(path)))
    assert np.abs(whole(reader).astype(int) - smooth()).mean() < 4


@pytest.mark.parametrize(("mode", "form"), [("L", "JPEG"), ("CMYK", "JPEG"), *((m, "PNG") for m in "1LP")])
def test_every_mode_becomes_rgb(saved: Callable[..., Path], mode: str, form: str) -> None:
    path = saved(Image.fromarray(smooth()).convert(mode), form)
    np.testing.assert_array_equal(whole(ImageReader.open(path)), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(saved: Callable[..., Path], mode: str) -> None:
    image = Image.fromarray(smooth()).convert(mode)
    opacity = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    image.putalpha(Image.fromarray(opacity))
    share = opacity[..., None] / 255.0
    expected = np.asarray(image.convert("RGB")) * share + 255 * (1 - share)
    np.testing.assert_allclose(whole(ImageReader.open(saved(image))), expected, atol=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_colour_that_stands_for_transparent_is_white(saved: Callable[..., Path], mode: str) -> None:
    pixels = np.full((20, 20, 3), 51, np.uint8)
    pixels[5:9] = 102
    image = Image.fromarray(pixels).convert(mode)
    reader = ImageReader.open(saved(image, transparency=image.getpixel((0, 0))))
    shown = whole(reader)
    assert (shown[5:9] == 102).all() and (shown[:5] == 255).all()


@pytest.mark.parametrize(
    ("brightest", "white"), [(100, 255), (255, 255), (256, 511), (4000, 4095), (65535, 65535)]
)
def test_deep_grey_is_scaled_to_its_bit_depth(saved: Callable[..., Path], brightest: int, white: int) -> None:
    grey = np.linspace(0, brightest, 30 * 40).round().astype(np.uint16).reshape(30, 40)
    shown = whole(ImageReader.open(saved(grey)))
    np.testing.assert_allclose(shown, np.repeat((grey * (255 / white))[..., None], 3, 2), atol=0.51)


def test_bands_make_no_difference(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND_PX", 7 * 50)
    np.testing.assert_array_equal(whole(ImageReader.open(saved(noise(30, 50)))), noise(30, 50))
    grey = np.arange(30 * 50, dtype=np.uint16).reshape(30, 50)
    assert whole(ImageReader.open(saved(grey))).max() == round(1499 * 255 / 2047)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(saved: Callable[..., Path], form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    path = saved(smooth(40, 64), form, exif=exif)
    reader = ImageReader.open(path)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert reader.levels[0].shape == expected.shape[:2]
    np.testing.assert_array_equal(reader.read(0, 5, 9, 20, 30), expected[5:25, 9:39])


def test_exif_that_cannot_be_read_is_left_out(saved: Callable[..., Path]) -> None:
    path = saved(smooth(), "PNG", exif=b"Exif\0\0XX*\0nonsense")
    np.testing.assert_array_equal(whole(ImageReader.open(path)), smooth())


@pytest.mark.parametrize(
    ("mode", "form", "profile", "kept"),
    [
        ("RGB", "JPEG", SRGB, True),
        ("RGB", "PNG", SRGB, True),
        ("P", "PNG", SRGB, True),
        ("L", "PNG", SRGB, False),
        ("CMYK", "JPEG", SRGB[:16] + b"CMYK" + SRGB[20:], False),
        ("RGB", "JPEG", SRGB[:16] + b"GRAY" + SRGB[20:], False),
        ("RGB", "JPEG", b"short", False),
    ],
)
def test_only_an_rgb_profile_of_rgb_counts(
    saved: Callable[..., Path], mode: str, form: str, profile: bytes, kept: bool
) -> None:
    path = saved(Image.fromarray(smooth()).convert(mode), form, icc_profile=profile)
    assert ImageReader.open(path).icc == (profile if kept else None)


def test_the_image_is_decoded_once_for_all_threads(
    saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ImageReader(saved(noise(200, 200)))
    decoded = []
    decode = reader._decode

    def counted() -> RGB:
        decoded.append(1)
        return decode()

    monkeypatch.setattr(reader, "_decode", counted)
    assert not decoded, "opening decodes nothing"
    with ThreadPoolExecutor(4) as pool:
        windows = list(pool.map(lambda y: reader.read(0, y, 0, 10, 200), range(0, 200, 10)))
    np.testing.assert_array_equal(np.concatenate(windows), noise(200, 200))
    assert len(decoded) == 1


def test_a_closed_image_says_so(saved: Callable[..., Path]) -> None:
    reader = ImageReader.open(saved(smooth()))
    whole(reader)
    reader.close()
    with pytest.raises(SlideError, match=r"a\.slide was closed"):
        whole(reader)


def blank_png(path: Path, height: int, width: int) -> Path:
    """A 1-bit PNG of zeros, written without its pixels in memory."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + -(-width // 8))) for _ in range(height)) + packer.flush()
    header = struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def test_too_large_an_image_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedSlideError) as refused:
            ImageReader.open(blank_png(tmp_path / "huge.png", 20_000, 20_001))
        assert (
            ImageReader.open(blank_png(tmp_path / "large.png", 20_000, 20_000)).levels[0].shape
            == (20_000,) * 2
        )
    assert "huge.png has 400 million pixels" in str(refused.value) and "\n" not in str(refused.value)
    assert "`vips tiffsave huge.png huge.tif --tile --pyramid --compression jpeg`" in str(refused.value)


def test_pillows_own_limit_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blank_png(tmp_path / "a.png", 100, 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(module, "BAND_PX", 500)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not whole(ImageReader.open(path)).any()


@pytest.mark.parametrize(
    ("form", "mode"),
    [*(("JPEG", m) for m in ("RGB", "L", "CMYK")), *(("PNG", m) for m in ("RGB", "L", "RGBA", "P", "I;16"))],
)
def test_of_an_image_that_is_cut_off_the_rest_is_background(
    saved: Callable[..., Path], form: str, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = noise(160, 120)
    deep = pixels[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    expected = whole(ImageReader.open(saved(image, form, "whole")))
    reader = ImageReader.open(saved(image, form, keep=0.6))
    assert reader.damaged == 0, "not known before the first read"
    shown = whole(reader)
    assert reader.damaged == 1
    there = (shown != 255).any((1, 2)).nonzero()[0][-1] + 1
    assert 60 < there < 120
    np.testing.assert_array_equal(shown[: there - 1], expected[: there - 1])
    assert (shown[there:] == reader.background).all()
    assert capfd.readouterr() == ("", "")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "that is a setting of the whole process"


def test_of_a_progressive_jpeg_that_is_cut_off_all_is_there_but_coarser(saved: Callable[..., Path]) -> None:
    picture = noise(160, 120) // 4 + smooth(160, 120) // 2
    reader = ImageReader.open(saved(picture, "JPEG", progressive=True, keep=0.6))
    shown = whole(reader)
    assert reader.damaged == 1
    assert np.abs(shown - picture.astype(int)).mean() < 20
    assert (shown != 255).any(2).all()


def test_a_corrupt_png_is_shown_up_to_there(saved: Callable[..., Path]) -> None:
    path = saved(noise(160, 120))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    reader = ImageReader.open(path)
    np.testing.assert_array_equal(whole(reader)[:70], noise(160, 120)[:70])
    assert reader.damaged == 1


def test_where_nothing_can_be_decoded_the_image_is_refused(saved: Callable[..., Path]) -> None:
    for form in ("PNG", "JPEG"):
        path = saved(noise(160, 120), form)
        content = path.read_bytes()
        start = content.index(b"IDAT") + 4 if form == "PNG" else content.index(b"\xff\xda") + 14
        path.write_bytes(content[:start])
        with pytest.raises(SlideError, match=r"^a\.slide (is cut off or corrupt;|states 120 × 160 px,) .+$"):
            whole(ImageReader.open(path))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_broken_header_is_refused_when_opened(saved: Callable[..., Path], form: str) -> None:
    whole_file = saved(smooth(), form).read_bytes()
    for size in (8, 12, 20, 30):
        with pytest.raises(SlideError, match=r"^a\.slide cannot be opened: .+$"):
            ImageReader.open(saved(smooth(), form, keep=size / len(whole_file)))


@pytest.mark.parametrize(
    ("name", "rows", "damaged"), [("truncated.jpg", 174, 1), ("truncated_end_chunk.png", 128, 0)]
)
def test_real_files_that_are_cut_off(data: Path, name: str, rows: int, damaged: int) -> None:
    reader = ImageReader.open(data / "odd" / name)
    shown = whole(reader)
    assert reader.damaged == damaged
    assert shown[:rows].std() > 10 and (shown[rows:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_even_images_fit_into_their_files(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4_000, 4_000)).save(tmp_path / "a.slide", "PNG", compress_level=9)
    assert ImageReader.open(tmp_path / "a.slide").levels[0].shape == (4_000, 4_000)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_even_jpegs_fit_into_their_files(tmp_path: Path, mode: str) -> None:
    for options in ({}, {"optimize": True, "quality": 1}, {"progressive": True, "quality": 1}):
        Image.new(mode, (8_000, 8_000), 255 if mode == "L" else (255,) * 3).save(
            tmp_path / "a.slide", "JPEG", **options
        )
        assert ImageReader.open(tmp_path / "a.slide").levels[0].shape == (8_000, 8_000)


@pytest.mark.parametrize(("form", "start"), [("PNG", 60), ("JPEG", 600)])
def test_what_a_file_cannot_hold_is_not_made_room_for(tmp_path: Path, form: str, start: int) -> None:
    path = tmp_path / "bomb.slide"
    Image.new("RGB", (19_900, 19_900) if form == "PNG" else (6_000, 6_000)).save(path, form)
    path.write_bytes(path.read_bytes()[:start] + bytes(40))
    with pytest.raises(SlideError, match=r"^bomb\.slide states .* px, far more than its \d+ bytes can hold"):
        ImageReader.open(path)
