"""Synthetic slides: what is read, labelled, outlined and written must be one and the same slide."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from napari_zoommil import synthetic
from napari_zoommil.synthetic import SyntheticSlide

SIZE = 3072
TUMOUR = SyntheticSlide(seed=3, size=SIZE, tumour_fraction=0.15, texture_px=512)
NORMAL = SyntheticSlide(seed=3, size=SIZE, tumour=False, texture_px=512)
TUMOUR_LABEL = SyntheticSlide.tissue_types.index("tumour")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "tumour.tif"
    TUMOUR.write(path)
    return path


def test_pixels_follow_from_the_seed_alone() -> None:
    before = TUMOUR.read(700, 900, 300, 400, 2)
    synthetic._cached_composition.cache_clear()
    assert np.array_equal(TUMOUR.read(700, 900, 300, 400, 2), before)
    other = SyntheticSlide(seed=4, size=SIZE, tumour_fraction=0.15, texture_px=512)
    assert not np.array_equal(other.read(700, 900, 300, 400, 2), before)


@settings(max_examples=25, deadline=None)
@given(
    downsample=st.sampled_from([1, 2, 4, 8, 16, 32]),
    place=st.tuples(st.floats(-0.1, 1), st.floats(-0.1, 1)),
    cut=st.tuples(st.integers(1, 149), st.integers(1, 179)),
)
def test_windows_of_any_size_agree(downsample: int, place: tuple[float, float], cut: tuple[int, int]) -> None:
    y, x = (int(share * SIZE / downsample) for share in place)
    row, column = cut
    whole = TUMOUR.read(y, x, 150, 180, downsample)
    assert np.array_equal(TUMOUR.read(y + row, x, 150 - row, 180, downsample), whole[row:])
    assert np.array_equal(TUMOUR.read(y, x + column, 150, 180 - column, downsample), whole[:, column:])


def test_threads_read_the_same_pixels() -> None:
    places = [(y, x) for y in range(0, 3000, 600) for x in range(0, 3000, 600)]
    alone = [TUMOUR.read(y, x, 200, 200) for y, x in places]
    synthetic._cached_composition.cache_clear()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda at: TUMOUR.read(*at, 200, 200), places))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_levels_show_the_same_slide() -> None:
    fine = TUMOUR.read(0, 0, SIZE // 4, SIZE // 4, 4).astype(float)
    shrunk = fine.reshape(SIZE // 16, 4, SIZE // 16, 4, 3).mean((1, 3))
    coarse = TUMOUR.read(0, 0, SIZE // 16, SIZE // 16, 16)
    assert np.abs(shrunk - coarse).mean() < 3


def test_background_is_one_colour_and_tissue_is_not() -> None:
    labels = TUMOUR.label_map(16)
    pixels = TUMOUR.read(0, 0, *labels.shape, 16)
    assert 0.25 < (labels > 0).mean() < 0.75
    assert TUMOUR.is_background(-600, -600, 500, 500)
    assert not TUMOUR.is_background(0, 0, SIZE, SIZE)
    for downsample in (1, 4, 16):
        edge = SIZE // downsample // 6
        for y, x in np.ndindex(6, 6):
            window = (y * edge, x * edge, edge, edge, downsample)
            assert not TUMOUR.is_background(*window) or np.ptp(TUMOUR.read(*window), (0, 1)).max() == 0
    white = TUMOUR.read(-600, -600, 1, 1)[0, 0]
    assert (pixels[labels == 0] == white).all(1).mean() > 0.9
    assert (pixels[labels == 1] == white).all(1).mean() < 0.05


def test_label_map_agrees_with_outline() -> None:
    labels = TUMOUR.label_map(16) == TUMOUR_LABEL
    inside = np.zeros_like(labels)
    for ring in TUMOUR.outline():
        assert np.array_equal(ring[0], ring[-1])
        inside |= polygon2mask(labels.shape, ring / 16 - 0.5)
    assert (labels & inside).sum() / (labels | inside).sum() > 0.97
    share = labels.sum() / (TUMOUR.label_map(16) > 0).sum()
    assert share == pytest.approx(TUMOUR.tumour_fraction, rel=0.1)


def test_normal_slide_holds_no_tumour() -> None:
    assert NORMAL.outline() == []
    found = set(np.unique(NORMAL.label_map(16)))
    assert TUMOUR_LABEL not in found
    assert {0, 1, SyntheticSlide.tissue_types.index("gland")} <= found


def test_tumour_nuclei_are_larger_than_lymphocytes() -> None:
    bank = synthetic.texture_bank(0, 512)

    def correlation_length(name: str) -> float:
        h = (bank.textures[name][0].levels[0] & 255).astype(float)
        power = np.abs(np.fft.fft2(h - h.mean())) ** 2
        correlation = np.fft.ifft2(power).real[0] / power.mean()
        return float(np.argmax(correlation < 0.5 * correlation[0]))

    assert correlation_length("tumour") > 1.3 * correlation_length("lymphoid")


def test_written_slide_opens_in_openslide(written: Path) -> None:
    with openslide.OpenSlide(written) as slide:
        assert slide.dimensions == (SIZE, SIZE)
        assert slide.level_downsamples == (1, 2, 4)
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.25)
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_Y]) == pytest.approx(0.25)
        for level, downsample in enumerate((1, 2, 4)):
            there = np.asarray(slide.read_region((1200, 1000), level, (300, 400)).convert("RGB"), float)
            here = TUMOUR.read(1000 // downsample, 1200 // downsample, 400, 300, downsample)
            assert np.abs(there - here).mean() < 5
            assert np.abs(there.mean((0, 1)) - here.mean((0, 1))).max() < 1


def test_written_slide_opens_in_tifffile(written: Path) -> None:
    with tifffile.TiffFile(written) as tiff:
        assert [page.shape for page in tiff.series[0].levels] == [
            (SIZE // d, SIZE // d, 3) for d in (1, 2, 4)
        ]
        assert tiff.pages[0].tags["XResolution"].value == (40000, 1)
        assert tiff.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        level = tiff.series[0].levels[2].asarray()
    assert np.abs(level.astype(float) - TUMOUR.read(0, 0, SIZE // 4, SIZE // 4, 4)).mean() < 5


def test_geojson_holds_the_outline(written: Path) -> None:
    collection = json.loads(written.with_suffix(".geojson").read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(TUMOUR.outline()) > 0
    for feature, ring in zip(collection["features"], TUMOUR.outline(), strict=True):
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["classification"]["name"] == "Tumour"
        assert feature["geometry"]["type"] == "Polygon"
        np.testing.assert_allclose(np.array(feature["geometry"]["coordinates"][0])[:, ::-1], ring, atol=0.06)


def test_cancelling_leaves_no_file(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def cancel(done: int, total: int) -> None:
        calls.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NORMAL.write(tmp_path / "slide.tif", progress=cancel)
    assert list(tmp_path.iterdir()) == []
    assert calls == [(done, 36 + 9 + 4) for done in range(1, 6)]


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1000}, {"size": 512}, {"texture_px": 100}, {"tumour_fraction": 0.0}, {"tumour_pattern": "odd"}],
)
def test_impossible_slides_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        SyntheticSlide(seed=0, **wrong)


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="downsample"):
        NORMAL.read(0, 0, 10, 10, 3)


def test_a_file_may_begin_at_a_coarser_level(tmp_path: Path) -> None:
    TUMOUR.write(tmp_path / "coarse.tif", finest=4)
    with openslide.OpenSlide(tmp_path / "coarse.tif") as slide:
        assert slide.dimensions == (TUMOUR.size // 4,) * 2
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1.0)
    (whole,) = json.loads((tmp_path / "coarse.geojson").read_text())["features"][:1]
    ring = TUMOUR.outline()[0][:, ::-1] / 4
    assert np.allclose(whole["geometry"]["coordinates"][0], ring, atol=0.05)


def test_a_pattern_fixes_how_the_tumour_grows() -> None:
    solid, scirrhous, mixed = (replace(TUMOUR, tumour_pattern=name) for name in ("solid", "scirrhous", ""))
    assert mixed == TUMOUR
    inside = TUMOUR.label_map(16) == TUMOUR_LABEL
    assert np.array_equal(solid.label_map(16) == TUMOUR_LABEL, inside), "only the texture differs"
    dark = {}
    for slide in (solid, scirrhous):
        pixels = slide.read(0, 0, *inside.shape, 16).mean(-1)
        dark[slide.tumour_pattern] = pixels[inside].mean()
    assert dark["solid"] < dark["scirrhous"] - 2, "nests are full of nuclei"
