"""OME-Zarr, versions 0.4 and 0.5, as several writers lay it out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ZstdCodec

from napari_zoommil.errors import UnsupportedSlideError
from napari_zoommil.slides.readers.ome_zarr import OMEZarrReader
from napari_zoommil.slides.readers.openslide import OpenSlideReader
from napari_zoommil.slides.slide import Slide

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (130, 101, 3), np.uint8)
HALF = RGB[::2, ::2]
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def test_the_zarr_twin_has_the_very_pixels_of_the_svs(data: Path, cmu: Path) -> None:
    twin = OMEZarrReader(data / "slides" / "CMU-1-Small-Region.ome.zarr")
    svs = OpenSlideReader(cmu)
    assert twin.levels[0] == svs.levels[0] and twin.mpp == pytest.approx(svs.mpp)
    assert np.array_equal(twin.read(0, 0, 0, 2967, 2220), svs.read(0, 0, 0, 2967, 2220))
    # The program that wrote the twin took the macro image for the label and the other way round.
    assert twin.associated == ("label", "macro")
    for name, true in (("label", "macro"), ("macro", "label")):
        assert np.array_equal(twin.associated_image(name), svs.associated_image(true))


def test_downsamples_come_from_the_shapes_not_from_what_is_claimed(data: Path) -> None:
    path = data / "slides" / "CMU-1-Small-Region.ome.zarr"
    attributes = json.loads((path / "0" / ".zattrs").read_text())
    scales = [d["coordinateTransformations"][0]["scale"] for d in attributes["multiscales"][0]["datasets"]]
    assert scales[1][-1] / scales[0][-1] == pytest.approx(2)
    assert OMEZarrReader(path).levels[1].downsample == pytest.approx((2967 / 768, 2220 / 574))
    with Slide.open(path) as slide:
        coarse = slide.read_level(1, 0, 0, *slide.levels[1].shape).astype(int)
        ours = slide.read_downsampled(0, 0, 768, 574, slide.levels[1].downsample)
        full = slide.read_level(0, 0, 0, *slide.shape)
    assert np.array_equal(ours, coarse)
    assert np.abs(coarse.mean((0, 1)) - full.mean((0, 1))).max() < 2


@FORMATS
@pytest.mark.parametrize("axes", ["yxc", "cyx", "tczyx"])
def test_any_order_of_axes(ome_zarr, zarr_format: int, axes: str) -> None:
    def laid(image: np.ndarray) -> np.ndarray:
        moved = image.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        return moved[None, :, None] if axes == "tczyx" else moved

    reader = OMEZarrReader(ome_zarr("a.ome.zarr", laid(RGB), laid(HALF), axes=axes, zarr_format=zarr_format))
    assert [level.shape for level in reader.levels] == [(130, 101), (65, 51)]
    assert reader.levels[1].downsample == pytest.approx((2, 101 / 51))
    assert reader.mpp == (0.5, 0.5)
    assert np.array_equal(reader.read(0, 0, 0, 130, 101), RGB)
    assert np.array_equal(reader.read(0, 47, 30, 50, 71), RGB[47:97, 30:101])
    assert np.array_equal(reader.read(1, 3, 50, 62, 1), HALF[3:65, 50:51])


@FORMATS
@pytest.mark.parametrize("axes", ["yx", "cyx"])
def test_grey_becomes_rgb(ome_zarr, zarr_format: int, axes: str) -> None:
    grey = RGB[..., 0]
    path = ome_zarr("grey.zarr", grey[None] if axes == "cyx" else grey, axes=axes, zarr_format=zarr_format)
    pixels = OMEZarrReader(path).read(0, 10, 20, 90, 60)
    assert np.array_equal(pixels, np.repeat(grey[10:100, 20:80, None], 3, -1))


@FORMATS
def test_the_layout_of_bioformats2raw(ome_zarr, zarr_format: int) -> None:
    for group, image, title in (("0", RGB, "slide"), ("1", HALF, "label image"), ("2", RGB[:9], "")):
        path = ome_zarr("b2r.zarr", image, group=group, title=title, zarr_format=zarr_format)
    reader = OMEZarrReader(path)
    assert reader.associated == ("2", "label")
    assert np.array_equal(reader.read(0, 0, 0, 130, 101), RGB)
    assert np.array_equal(reader.associated_image("label"), HALF)
    assert np.array_equal(reader.associated_image("2"), RGB[:9])


@pytest.mark.parametrize(
    ("unit", "mpp", "expected"),
    [
        ("micrometer", (0.5, 0.25), (0.5, 0.25)),
        ("nanometer", (500.0, 250.0), (0.5, 0.25)),
        ("millimeter", (5e-4, 5e-4), (5e-4 * 1e3, 5e-4 * 1e3)),
        (None, (0.5, 0.5), None),
        ("pixel", (1.0, 1.0), None),
        ("micrometer", None, None),
        ("micrometer", (352.8, 352.8), None),
    ],
)
def test_only_a_scale_with_a_unit_is_a_resolution(ome_zarr, unit, mpp, expected) -> None:
    found = OMEZarrReader(ome_zarr("u.zarr", RGB, unit=unit, mpp=mpp)).mpp
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_refused(ome_zarr, channels: int) -> None:
    image = np.zeros((20, 20, channels), np.uint8)
    with pytest.raises(UnsupportedSlideError, match=f"many.zarr holds {channels} channels"):
        Slide.open(ome_zarr("many.zarr", image))


def test_sixteen_bits_are_refused_at_any_level(ome_zarr) -> None:
    with pytest.raises(UnsupportedSlideError, match="uint16"):
        Slide.open(ome_zarr("deep.zarr", RGB.astype(np.uint16)))
    with pytest.raises(UnsupportedSlideError, match="uint16"):
        Slide.open(ome_zarr("mixed.zarr", RGB, HALF.astype(np.uint16)))


@pytest.mark.parametrize(
    "scales",
    [
        [],
        "hello",
        [{"datasets": [{"path": "0"}]}],
        [{"axes": ["y", "x", "c"], "datasets": []}],
        [{"axes": ["y", "x", "c"], "datasets": [{"path": "9"}]}],
        [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}],
        [{"axes": ["t", "x", "c"], "datasets": [{"path": "0"}]}],
    ],
)
def test_metadata_that_make_no_sense_are_refused_by_name(ome_zarr, scales) -> None:
    path = ome_zarr("mad.zarr", RGB)
    zarr.open_group(path, mode="a").attrs["multiscales"] = scales
    with pytest.raises(UnsupportedSlideError, match=r"mad\.zarr"):
        Slide.open(path)


@pytest.mark.parametrize(
    ("name", "content"), [("zarr.json", '{"a'), (".zgroup", '{"a'), (".zattrs", "{}"), ("zarr.json", "{}")]
)
def test_broken_zarrs_are_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "broken.zarr"
    path.mkdir()
    (path / name).write_text(content)
    with pytest.raises(UnsupportedSlideError, match=r"broken\.zarr"):
        Slide.open(path)


def test_zarrs_that_are_no_images_are_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "array.zarr", shape=(5, 5), dtype="u1")
    zarr.open_group(tmp_path / "group.zarr", mode="w").create_array("0", shape=(5, 5), dtype="u1")
    for name in ("array.zarr", "group.zarr"):
        with pytest.raises(UnsupportedSlideError, match=name):
            Slide.open(tmp_path / name)


@pytest.mark.parametrize("codec", [GzipCodec(), ZstdCodec(), None])
def test_a_damaged_chunk_is_background_and_counted(ome_zarr, codec) -> None:
    path = ome_zarr("hurt.zarr", RGB, zarr_format=3, compressors=codec)
    chunk = path / "0" / "c" / "1" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    reader = OMEZarrReader(path)
    assert reader.damaged == 0
    hurt = reader.read(0, 40, 40, 20, 20)
    assert (hurt[8:, 8:] == reader.background).all() and np.array_equal(hurt[:8], RGB[40:48, 40:60])
    reader.read(0, 60, 60, 10, 10)
    assert reader.damaged == 1
    assert np.array_equal(reader.read(0, 0, 0, 48, 101), RGB[:48])
