"""OME-Zarr, versions 0.4 and 0.5, as several writers lay it out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ZstdCodec

from napari_zoommil.errors import SlideError, UnsupportedSlideError
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


def test_deep_pixels_are_shown_as_those_of_a_tiff(ome_zarr, data: Path) -> None:
    with (
        Slide.open(data / "cases" / "rgb16.ome.zarr") as deep,
        Slide.open(data / "cases" / "rgb16-twin.tif") as twin,
    ):
        assert deep.mpp == pytest.approx(twin.mpp)
        assert np.array_equal(deep.read_level(0, 0, 0, *deep.shape), twin.read_level(0, 0, 0, *twin.shape))
    fine = RGB.astype(np.uint16) * 16
    reader = OMEZarrReader(ome_zarr("deep.zarr", fine, fine[::2, ::2]))
    assert np.array_equal(reader.read(0, 0, 0, 130, 101), np.round(fine * (255 / 4095)).astype(np.uint8))
    assert np.array_equal(reader.read(1, 0, 0, 65, 51), reader.read(0, 0, 0, 130, 101)[::2, ::2])


def test_samples_that_are_no_brightness_are_refused(ome_zarr) -> None:
    for dtype in ("float32", "int16", "uint32"):
        with pytest.raises(UnsupportedSlideError, match=f"holds {dtype} samples; unsigned integers"):
            Slide.open(ome_zarr(f"{dtype}.zarr", RGB.astype(dtype)))
    with pytest.raises(UnsupportedSlideError, match="uint8 and uint16"):
        Slide.open(ome_zarr("mixed.zarr", RGB, HALF.astype(np.uint16)))


@pytest.mark.parametrize("labels", [["DAPI", "FITC", "Cy5"], ["Red", "Green", "Blue"], ["B", "G", "R"]])
@FORMATS
def test_channels_are_told_by_their_labels(ome_zarr, labels: list[str], zarr_format: int) -> None:
    path = ome_zarr("c.zarr", RGB.transpose(2, 0, 1), axes="cyx", zarr_format=zarr_format)
    attributes = zarr.open_group(path, mode="a").attrs
    told = {"channels": [{"label": label} for label in labels]}
    if zarr_format == 3:
        attributes["ome"] = {**attributes["ome"], "omero": told}
    else:
        attributes["omero"] = told
    if labels[0] == "DAPI":
        with pytest.raises(UnsupportedSlideError, match=r"3 channels \(DAPI, FITC, Cy5\), .* not colours"):
            Slide.open(path)
    else:
        expected = RGB[..., ::-1] if labels[0] == "B" else RGB
        assert np.array_equal(OMEZarrReader(path).read(0, 0, 0, 130, 101), expected)


@FORMATS
def test_the_largest_image_is_the_slide(ome_zarr, zarr_format: int) -> None:
    for group, image, mpp in (("0", HALF[:9], 16.0), ("1", RGB, 0.25), ("2", HALF, 8.0)):
        names = {"0": "macro image", "1": "slide", "2": ""}
        path = ome_zarr(
            "b2r.zarr", image, group=group, title=names[group], mpp=(mpp,) * 2, zarr_format=zarr_format
        )
    reader = OMEZarrReader(path)
    assert reader.levels[0].shape == (130, 101) and reader.mpp == (0.25, 0.25)
    assert reader.associated == ("2", "macro")
    assert np.array_equal(reader.associated_image("macro"), HALF[:9])


def test_levels_may_be_listed_from_the_coarsest(ome_zarr) -> None:
    path = ome_zarr("up.zarr", HALF, RGB)
    assert [level.shape for level in OMEZarrReader(path).levels] == [(130, 101), (65, 51)]


def test_what_bioformats2raw_says_in_ome_xml_counts(ome_zarr) -> None:
    for group, image in (("0", HALF), ("1", RGB)):
        path = ome_zarr("b2r.zarr", image, group=group, unit=None, mpp=None)
    (path / "OME").mkdir()
    pixels = '<Pixels PhysicalSizeX="{0}" PhysicalSizeY="{0}" PhysicalSizeXUnit="mm" PhysicalSizeYUnit="mm"/>'
    images = "".join(
        f'<Image Name="{name}">{pixels.format(size)}</Image>'
        for name, size in (("macro", 0.008), ("a", 0.0005))
    )
    (path / "OME" / "METADATA.ome.xml").write_text(
        f'<OME xmlns="http://ome">{images}</OME>', encoding="utf-8"
    )
    reader = OMEZarrReader(path)
    assert reader.mpp == pytest.approx((0.5, 0.5)) and reader.associated == ("macro",)


def test_units_of_every_writer(ome_zarr, data: Path) -> None:
    assert OMEZarrReader(data / "cases" / "unit-micron.ome.zarr").mpp == pytest.approx((0.5, 0.5))
    for unit, per_um in (("micron", 1.0), ("angstrom", 1e4), ("inch", 1 / 25_400), ("\u03bcm", 1.0)):
        path = ome_zarr(f"{unit[0]}.zarr", RGB, unit=unit, mpp=(0.5 * per_um,) * 2)
        assert OMEZarrReader(path).mpp == pytest.approx((0.5, 0.5))


def test_what_a_chunk_costs_is_known_before_it_is_read(ome_zarr) -> None:
    path = ome_zarr("wide.zarr", RGB)
    for edge, why in (
        (1 << 15, "chunks of 3.22 GB, too large"),
        (10**12, "too large"),
        (1, "1 × 1 px, too small"),
    ):
        meta = path / "0" / ".zarray"
        stored = json.loads(meta.read_text())
        meta.write_text(json.dumps({**stored, "chunks": [edge, edge, 3]}))
        with pytest.raises(UnsupportedSlideError, match=rf"^wide\.zarr is stored in .*{why}"):
            Slide.open(path)


def test_an_extent_that_nothing_has_is_refused(ome_zarr) -> None:
    path = ome_zarr("vast.zarr", RGB)
    meta = path / "0" / ".zarray"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "shape": [10**9, 10**9, 3]}))
    with pytest.raises(SlideError, match=r"^vast\.zarr states an image of 1,000,000,000 × 1,000,000,000 px"):
        Slide.open(path)


def test_a_damaged_member_does_no_harm(ome_zarr) -> None:
    for group, image in (("0", RGB), ("1", HALF)):
        path = ome_zarr("b2r.zarr", image, group=group)
    for content in (b"\xff\xfe{", b"{", b"[]"):
        (path / "1" / ".zattrs").write_bytes(content)
        reader = OMEZarrReader(path)
        assert reader.associated == () and np.array_equal(reader.read(0, 0, 0, 130, 101), RGB)


@FORMATS
@pytest.mark.parametrize("missing", [["0"], ["1"], ["0", "1"]])
def test_the_macro_image_is_never_taken_for_a_slide_with_missing_levels(
    ome_zarr, zarr_format: int, missing: list[str]
) -> None:
    for group, images in (("0", (RGB, HALF)), ("1", (RGB[:100, :90],))):
        path = ome_zarr("b2r.zarr", *images, group=group, zarr_format=zarr_format)
    for level in missing:
        shutil.rmtree(path / "0" / level)
    with pytest.raises(UnsupportedSlideError, match=rf"b2r\.zarr .* no pixels at 0/{missing[0]}"):
        Slide.open(path)


def test_the_macro_image_is_never_taken_for_a_slide_with_damaged_metadata(ome_zarr) -> None:
    for group, image in (("0", RGB), ("1", HALF)):
        path = ome_zarr("b2r.zarr", image, group=group)
    (path / "0" / ".zattrs").write_bytes(b"{")
    with pytest.raises(UnsupportedSlideError, match=r"b2r\.zarr"):
        Slide.open(path)


def test_another_image_with_missing_levels_does_no_harm(ome_zarr) -> None:
    for group, images in (("0", (RGB,)), ("1", (HALF, HALF[::2]))):
        path = ome_zarr("b2r.zarr", *images, group=group)
    shutil.rmtree(path / "1" / "1")
    reader = OMEZarrReader(path)
    assert reader.associated == () and reader.levels[0].shape == (130, 101)


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
