from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.data import immunohistochemistry

from napari_zoommil.slides.tissue import DEFAULT_MPP, TissueDetector, tissue_share

GLASS = 243
DETECT = TissueDetector()


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def histolab(data: Path, name: str) -> np.ndarray:
    return picture(data / "tiles" / "histolab" / f"{name}.png")


def glass(
    shape: tuple[int, int], colour: tuple[int, int, int] = (GLASS,) * 3, noise: float = 2
) -> np.ndarray:
    wobble = np.random.default_rng(0).normal(0, noise, (*shape, 3))
    return (colour + wobble).clip(0, 255).astype(np.uint8)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.mark.parametrize("name", ["no-tissue", "no-tissue2", "almost-white-1"])
def test_empty_glass_has_no_tissue(data: Path, name: str) -> None:
    assert not DETECT(histolab(data, name), 0.5).any()


@pytest.mark.parametrize("name", ["no-tissue-green-pen", "no-tissue-red-pen", "no-tissue-line"])
def test_pen_and_cover_slip_are_not_tissue(data: Path, name: str) -> None:
    assert DETECT(histolab(data, name), 0.5).mean() < 0.02


def test_pen_counts_if_asked_for(data: Path) -> None:
    tile = histolab(data, "no-tissue-green-pen")
    assert TissueDetector(reject_pens=False)(tile, 0.5).mean() > 0.5


@pytest.mark.parametrize(
    ("name", "mpp", "least", "most"),
    [
        ("high-nuclei-score-level0", 0.5, 0.95, 1),
        ("medium-nuclei-score-level0", 0.5, 0.95, 1),
        ("low-nuclei-score-level0", 0.5, 0.6, 1),  # fat: thin walls around white lumina
        ("very-low-nuclei-score-level0", 0.5, 0.95, 1),
        ("tissue-level2-3000-7666-7096-11763", 2, 0.75, 0.9),
        ("almost-white-2", 0.5, 0.02, 0.12),  # a shred in one corner
        ("thumbs/tcga-lung-rgb", 0.5, 0.95, 1),
        ("thumbs/diagnostic-slide-thumb-rgb", 30, 0.35, 0.55),
        ("thumbs/wsi-blue-pen", 32, 0.2, 0.35),
    ],
)
def test_share_of_real_tissue(data: Path, name: str, mpp: float, least: float, most: float) -> None:
    assert least <= DETECT(histolab(data, name), mpp).mean() <= most


@pytest.mark.parametrize(
    ("name", "mpp", "pen", "tissue"),  # boxes (y0, y1, x0, x1) seen in the picture
    [
        ("tcga-green-pen", 4, (20, 180, 330, 410), (50, 500, 470, 740)),
        ("tcga-red-pen", 4, (150, 250, 60, 120), (200, 350, 250, 440)),
        ("wsi-blue-pen", 32, (64, 70, 152, 174), (74, 80, 58, 85)),
    ],
)
def test_pen_beside_tissue(
    data: Path, name: str, mpp: float, pen: tuple[int, ...], tissue: tuple[int, ...]
) -> None:
    mask = DETECT(histolab(data, f"thumbs/{name}"), mpp)
    shares = [mask[y0:y1, x0:x1].mean() for y0, y1, x0, x1 in (pen, tissue)]
    assert shares[0] < 0.05
    assert shares[1] > 0.95


def test_black_pen_on_tissue(data: Path) -> None:
    thumb = histolab(data, "thumbs/diagnostic-slide-thumb-rgb")
    black = ndimage.binary_opening(thumb.max(2) < 50, iterations=2)
    assert black.sum() > 500
    assert not DETECT(thumb, 30)[black].any()


def test_brown_stain_is_tissue() -> None:
    assert DETECT(immunohistochemistry(), 0.5).mean() > 0.9


@pytest.mark.parametrize("name", ["ihc", "TCGA-AR-A1AS-01Z-00-DX1", "TCGA-21-5786-01Z-00-DX1"])
@pytest.mark.parametrize("ink", [(20, 15, 20), (190, 15, 12), (20, 120, 110), (20, 60, 190)])
def test_pen_spot_leaves_the_tissue_around_it(data: Path, name: str, ink: tuple[int, int, int]) -> None:
    path = data / "nuclei" / "monuseg" / f"{name}.png"
    tile = immunohistochemistry() if name == "ihc" else picture(path)
    field = np.tile(tile, (3, 3, 1))[:1500, :1500].copy()
    spot = disc((1500, 1500), (700, 900), 200)
    field[spot] = ink
    mask = DETECT(field, 0.5)
    assert not mask[spot].any()
    assert mask[~disc((1500, 1500), (700, 900), 320)].mean() > 0.9


def test_grey_blue_core_on_an_empty_slide(data: Path) -> None:
    mask = DETECT(tifffile.imread(data / "slides" / "kidney-48-5_ihc_flat.tif"), 8)
    assert mask[510:550, 300:380].mean() > 0.5
    assert mask.mean() < 0.01


@pytest.fixture(scope="module")
def biopsy(data: Path) -> np.ndarray:
    with openslide.OpenSlide(data / "slides" / "CMU-1-Small-Region.svs") as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def test_biopsy(biopsy: np.ndarray) -> None:
    mask = DETECT(biopsy, 0.499)
    stained = ndimage.uniform_filter(np.ptp(biopsy, axis=2).astype(float), 41) > 25
    assert mask[stained].mean() > 0.97
    far_from_tissue = ndimage.uniform_filter(np.ptp(biopsy, axis=2).astype(float), 161) < 4
    assert mask[far_from_tissue].mean() < 0.01
    assert ndimage.label(mask)[1] <= 3


def test_same_mask_at_any_resolution(biopsy: np.ndarray) -> None:
    fine = DETECT(biopsy, 0.499)
    coarse = DETECT(np.asarray(Image.fromarray(biopsy).reduce(16)), 0.499 * 16)
    assert iou(fine, coarse.repeat(16, 0).repeat(16, 1)[: fine.shape[0], : fine.shape[1]]) > 0.95


def test_outline_of_real_tissue_on_glass(data: Path) -> None:
    tile = picture(data / "nuclei" / "monuseg" / "TCGA-AR-A1AK-01Z-00-DX1.png")
    slide = glass((1500, 1500), noise=0)
    blob = disc((1500, 1500), (800, 700), 500) | disc((1500, 1500), (400, 1000), 250)
    slide[blob] = np.tile(tile, (2, 2, 1))[:1500, :1500][blob]
    assert iou(DETECT(slide, 1.0), blob) > 0.95


@pytest.mark.parametrize("colour", [(243, 243, 243), (255, 255, 255), (215, 215, 215), (240, 238, 226)])
@pytest.mark.parametrize("noise", [0, 6])
def test_noise_on_glass_is_not_tissue(colour: tuple[int, int, int], noise: float) -> None:
    assert not DETECT(glass((300, 400), colour, noise), DEFAULT_MPP).any()


@pytest.mark.parametrize("colour", [(215, 215, 215), (240, 238, 226)])
def test_tissue_on_dim_or_tinted_glass(colour: tuple[int, int, int]) -> None:
    overview, piece = glass((300, 400), colour), disc((300, 400), (150, 200), 80)
    overview[piece] = glass((300, 400), (190, 140, 180))[piece]
    assert iou(DETECT(overview, DEFAULT_MPP), piece) > 0.93


def test_stain_free_grey_tissue() -> None:
    overview, piece = glass((300, 400)), disc((300, 400), (150, 200), 80)
    overview[piece] = glass((300, 400), (170, 170, 170))[piece]
    assert iou(DETECT(overview, DEFAULT_MPP), piece) > 0.95


def test_pale_tissue_beside_dark_tissue() -> None:
    overview = glass((300, 400))
    dark, pale = disc((300, 400), (150, 100), 60), disc((300, 400), (150, 270), 110)
    overview[dark], overview[pale] = (110, 50, 110), (215, 170, 200)
    once = TissueDetector(background_grey=0)(overview, DEFAULT_MPP)
    again = DETECT(overview, DEFAULT_MPP)
    assert iou(once, dark) > 0.9
    assert iou(again, dark | pale) > 0.95


@pytest.mark.parametrize("colour", [(200, 150, 190), (150, 150, 150), (90, 70, 130)])
def test_field_full_of_tissue(colour: tuple[int, int, int]) -> None:
    assert DETECT(glass((300, 400), colour, 6), DEFAULT_MPP).mean() > 0.95


def test_small_pieces_go_and_small_holes_close() -> None:
    overview = glass((400, 400))
    tissue, hole = disc((400, 400), (200, 200), 100), disc((400, 400), (200, 200), 30)
    overview[tissue & ~hole] = (190, 120, 170)
    overview[disc((400, 400), (30, 30), 12)] = (190, 120, 170)
    speck, gap = np.pi * (12 * 8.0) ** 2, np.pi * (30 * 8.0) ** 2
    kept = TissueDetector(min_area_um2=speck / 2, min_hole_um2=gap / 2)(overview, 8.0)
    gone = TissueDetector(min_area_um2=speck * 2, min_hole_um2=gap * 2)(overview, 8.0)
    assert kept[30, 30] and not kept[200, 200]
    assert not gone[30, 30] and gone[200, 200]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 5), (777, 1031)])
@pytest.mark.parametrize("mpp", [0.1, 3.0, 60.0])
def test_mask_has_the_shape_of_the_overview(shape: tuple[int, int], mpp: float) -> None:
    mask = DETECT(glass(shape, (200, 120, 180)), mpp)
    assert mask.shape == shape
    assert mask.dtype == bool
    assert mask.all()


@pytest.mark.parametrize(
    ("rgb", "mpp"),
    [
        (np.zeros((4, 4), np.uint8), 8.0),
        (np.zeros((4, 4, 3)), 8.0),
        (np.zeros((0, 4, 3), np.uint8), 8.0),
        (np.zeros((4, 4, 3), np.uint8), 0.0),
        (np.zeros((4, 4, 3), np.uint8), float("nan")),
    ],
)
def test_unfit_input_is_refused(rgb: np.ndarray, mpp: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        DETECT(rgb, mpp)


def overlap(start: float, size: float, cell: int) -> float:
    return max(0.0, min(start + size, cell + 1) - max(start, cell))


coordinate = st.floats(-15, 25, allow_nan=False, width=32)
edge = st.floats(0.125, 30, width=32)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    origins=st.lists(st.tuples(coordinate, coordinate), max_size=5),
    size=st.tuples(edge, edge),
)
def test_share_equals_the_summed_overlaps(
    seed: int, shape: tuple[int, int], origins: list[tuple[float, float]], size: tuple[float, float]
) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.5
    shares = tissue_share(mask, np.array(origins, float).reshape(-1, 2), size)
    expected = [
        sum(overlap(y, size[0], i) * overlap(x, size[1], j) for i, j in np.argwhere(mask))
        / (size[0] * size[1])
        for y, x in origins
    ]
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, expected, rtol=1e-5, atol=1e-6)


def test_share_of_whole_pixels_is_their_mean() -> None:
    mask = np.random.default_rng(1).random((60, 80)) < 0.3
    origins = np.stack(np.meshgrid(np.arange(50), np.arange(65), indexing="ij"), -1).reshape(-1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (10, 15))[:50, :65]
    np.testing.assert_allclose(tissue_share(mask, origins, (10, 15)), windows.mean((2, 3)).ravel(), atol=1e-6)


@pytest.mark.parametrize("size", [(0, 1), (1, -1), (float("nan"), 1)])
def test_share_of_an_empty_box_is_refused(size: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive size"):
        tissue_share(np.ones((2, 2), bool), np.zeros((1, 2)), size)
