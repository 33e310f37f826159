"""Slides: scale, pixels at any resolution, identity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from napari_zoommil.errors import MagnificationError, MissingResolutionError, SlideError, ZoomMILError
from napari_zoommil.slides.slide import Slide, as_pair

NOISE = np.random.default_rng(0).integers(0, 256, (640, 512, 3), np.uint8)


def block_means(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean((1, 3))


@pytest.fixture
def cmu_slide(cmu: Path):
    with Slide.open(cmu) as slide:
        yield slide


def test_what_a_slide_says_of_itself(cmu_slide: Slide) -> None:
    assert cmu_slide.shape == (2967, 2220) and cmu_slide.mpp == (0.499, 0.499)
    assert cmu_slide.magnification == 20
    assert cmu_slide.name == "CMU-1-Small-Region.svs" and cmu_slide.stem == "CMU-1-Small-Region"
    assert cmu_slide.vendor == "aperio" and "CMU-1" in repr(cmu_slide)
    assert cmu_slide.properties["openslide.mpp-x"].startswith("0.499")
    with pytest.raises(SlideError, match="it has label, macro, thumbnail"):
        cmu_slide.associated_image("barcode")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.svs", "a"),
        ("a.ome.tif", "a"),
        ("a.ome.zarr", "a"),
        ("TCGA-A1.0b7f-11e3.svs", "TCGA-A1.0b7f-11e3"),
        ("1.2.840.10", "1.2.840.10"),
        ("1.2.840.11", "1.2.840.11"),
        ("plain", "plain"),
    ],
)
def test_stems_of_different_slides_stay_different(array_slide, name: str, stem: str) -> None:
    slide = array_slide(NOISE)
    slide.path = slide.path.with_name(name)
    assert slide.stem == stem


@pytest.mark.parametrize("mpp", [0, -0.5, float("nan"), float("inf"), (0.5, 0), (1, 2, 3), "half"])
def test_impossible_resolutions_are_refused(cmu: Path, mpp) -> None:
    with pytest.raises(SlideError, match="resolution of"):
        Slide.open(cmu, mpp)


def test_a_resolution_may_be_any_kind_of_number() -> None:
    assert as_pair(np.float32(0.5)) == as_pair(np.array([0.5, 0.5])) == as_pair((0.5, 0.5)) == (0.5, 0.5)
    assert as_pair(1) == (1.0, 1.0) and as_pair(None) is None


def test_the_callers_resolution_goes_before_the_files(cmu: Path) -> None:
    with Slide.open(cmu, 0.25) as slide, slide.reopen() as again:
        assert slide.mpp == again.mpp == (0.25, 0.25)
        assert slide.magnification == 40


def test_a_slide_without_resolution_asks_for_it_and_takes_it(data: Path) -> None:
    path = data / "slides" / "yb10kx5k.zstd.tiff"
    with Slide.open(path) as slide:
        assert slide.mpp is None and slide.magnification is None
        assert slide.read_level(0, 0, 0, 10, 10).shape == (10, 10, 3)
        for use in (lambda: slide.read(0, 0, 10, 10, 0.5), lambda: slide.serving_mpp(20), slide.resolution):
            with pytest.raises(MissingResolutionError, match=r"yb10kx5k\.zstd\.tiff.*--mpp"):
                use()
    with Slide.open(path, mpp=0.5) as slide:
        assert slide.magnification == 20
        assert slide.read(100, 200, 30, 40, 2.0).shape == (30, 40, 3)


def test_the_stated_objective_counts_only_where_mpp_is_missing(array_slide) -> None:
    slide = array_slide(NOISE, mpp=None)
    slide._reader.objective = 40.0
    assert slide.magnification == 40
    slide.mpp = (0.5, 0.5)
    assert slide.magnification == 20


def test_pixels_may_be_oblong(tiff) -> None:
    with Slide.open(tiff("oblong.tif", NOISE, mpp=(1.0, 0.5))) as slide:
        assert slide.mpp == pytest.approx((1.0, 0.5))
        square = slide.read(0, 0, 320, 128, 2.0)
    assert np.abs(square - NOISE.reshape(320, 2, 128, 4, 3).mean((1, 3))).max() < 0.6


@pytest.mark.parametrize(
    ("own", "magnification", "served"),
    [
        (0.499, 20, 0.499),
        (0.499, 10, 0.998),
        (0.499, 5, 1.996),
        (0.252, 20, 0.504),
        (0.252, 10, 1.008),
        (0.2526, 20, 0.5),
        (0.243, 40, 0.25),
        (0.243, 20, 0.5),
        (0.2615, 20, 0.5),
        (0.23, 20, 0.5),
        (0.6, 20, 0.5),
        (0.33, 20, 0.5),
    ],
)
def test_own_pixels_serve_a_magnification_they_are_near_to(
    array_slide, own: float, magnification: float, served: float
) -> None:
    assert array_slide(NOISE, mpp=own).serving_mpp(magnification) == pytest.approx(served, rel=1e-9)


def test_a_magnification_the_slide_does_not_have_is_refused(cmu_slide: Slide) -> None:
    with pytest.raises(MagnificationError, match=r"CMU-1-Small-Region\.svs was scanned at 0\.499.*40x needs"):
        cmu_slide.serving_mpp(40)
    with pytest.raises(MagnificationError):
        cmu_slide.serving_mpp(0)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_whole_factors_are_block_means_of_the_real_slide(cmu_slide: Slide, factor: int) -> None:
    source = cmu_slide.read_level(0, 700, 900, 960, 960)
    pixels = cmu_slide.read(700, 900, 960 // factor, 960 // factor, 0.499 * factor)
    error = np.abs(pixels - block_means(source, factor))
    if factor in (1, 3):
        assert error.max() < 0.6
    else:  # decoded smaller: a transform of fewer coefficients, not quite the mean of the block
        assert error.mean() < 0.6 and error.max() < 20


def test_a_place_that_no_smaller_decoding_meets_is_the_exact_mean(cmu_slide: Slide) -> None:
    source = cmu_slide.read_level(0, 701, 903, 400, 400)
    assert np.abs(cmu_slide.read(701, 903, 100, 100, 0.499 * 4) - block_means(source, 4)).max() < 0.6


@pytest.mark.parametrize("mpp", [0.4, 0.73, 1.3, 2.9])
def test_other_factors_are_close_to_the_mean_of_the_area(cmu_slide: Slide, mpp: float) -> None:
    """Averaged over 8×8 px, so that only scale and place count, not the filter."""
    downsample, size = mpp / 0.499, 64
    pixels = block_means(cmu_slide.read(701.3, 903.6, size, size, mpp), 8)
    source = cmu_slide.read_level(0, 701, 903, 400, 400).astype(float)
    integral = np.pad(source.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    steps = np.arange(size // 8 + 1) * 8 * downsample
    corners = np.meshgrid(0.3 + steps, 0.6 + steps, indexing="ij")
    sums = np.stack([map_coordinates(integral[..., c], corners, order=1) for c in range(3)], -1)
    means = np.diff(np.diff(sums, axis=0), axis=1) / (8 * downsample) ** 2
    assert np.abs(pixels - means).mean() < 1
    assert abs((pixels - means).mean()) < 0.3


def test_outside_the_slide_is_background(array_slide) -> None:
    slide = array_slide(NOISE)
    window = slide.read(-30, 500, 50, 40, 0.5)
    assert (window[:30] == slide.background).all() and (window[:, 12:] == slide.background).all()
    assert np.array_equal(window[30:, :12], NOISE[:20, 500:])
    for y, x in ((-900, 0), (0, 9000), (5000, 5000)):
        for mpp in (0.5, 1.0, 1.3):
            assert (slide.read(y, x, 20, 30, mpp) == slide.background).all()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from((1, 2, 4, 6, 8)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(-60, 600),
    st.integers(-60, 500),
)
def test_halves_make_the_whole(array_slide, factor: int, one: int, other: int, y: int, x: int) -> None:
    slide = array_slide(NOISE, NOISE[1::2, 1::2])
    mpp = 0.5 * factor
    whole = slide.read(y, x, one + other, 30, mpp)
    halves = slide.read(y, x, one, 30, mpp), slide.read(y + one * factor, x, other, 30, mpp)
    assert np.array_equal(whole, np.concatenate(halves))


def test_a_coarse_read_takes_the_coarse_level(array_slide) -> None:
    slide = array_slide(NOISE, NOISE[::4, ::4])
    slide.read(64, 64, 32, 32, 2.0)
    slide.read(64, 64, 32, 32, 1.9)
    slide.read(64, 64, 32, 32, 8.0)
    assert [read[0] for read in slide._reader.reads] == [1, 0, 1]
    assert slide._reader.reads[0] == (1, 16, 16, 32, 32)


def test_threads_read_what_one_thread_reads(cmu: Path, data: Path) -> None:
    rng = np.random.default_rng(0)
    windows = [
        (int(y), int(x), 60, 70, float(mpp))
        for y, x, mpp in zip(
            rng.integers(-50, 2900, 60),
            rng.integers(-50, 2200, 60),
            rng.choice((0.499, 0.7, 2.0), 60),
            strict=True,
        )
    ]
    for path in (cmu, data / "slides" / "CMU-1-Small-Region.ome.zarr"):
        with Slide.open(path) as slide, Slide.open(path) as fresh, ThreadPoolExecutor(8) as pool:
            alone = [slide.read(*window) for window in windows]
            together = list(pool.map(lambda window, slide=fresh: slide.read(*window), windows))
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_zarr_and_the_svs_agree_at_any_resolution(cmu: Path, data: Path) -> None:
    with Slide.open(cmu) as svs, Slide.open(data / "slides" / "CMU-1-Small-Region.ome.zarr") as twin:
        for mpp in (0.499, 0.7):
            assert np.array_equal(svs.read(900, 800, 90, 80, mpp), twin.read(900, 800, 90, 80, mpp))
        small = [slide.read(900, 800, 90, 80, 1.5).astype(int) for slide in (svs, twin)]
        assert np.abs(small[0] - small[1]).mean() < 1.5  # the SVS is decoded smaller
        coarse = [slide.read(0, 0, 180, 130, 8.0).astype(int) for slide in (svs, twin)]
    # Level 1 of the twin is sharper than block means, but shows the same places.
    shifted = {
        shift: np.abs(np.roll(coarse[0], shift, (0, 1)) - coarse[1]).mean()
        for shift in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
    }
    assert min(shifted, key=shifted.__getitem__) == (0, 0)


def test_a_file_with_any_name_opens(data: Path) -> None:
    with Slide.open(str(data / "odd" / "😐.svs")) as slide:
        assert slide.stem == "😐" and slide.read_level(0, 0, 0, 16, 16).shape == (16, 16, 3)


def test_errors_are_all_of_one_family() -> None:
    assert issubclass(MissingResolutionError, SlideError) and issubclass(SlideError, ZoomMILError)
