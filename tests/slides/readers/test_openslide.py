"""OpenSlide files: what they state, and exact pixels."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_zoommil.errors import SlideError
from napari_zoommil.slides.readers.openslide import DamagedWindow, OpenSlideReader, entry_file
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.slides.slide import Slide

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (384, 512, 3), np.uint8)


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def test_what_an_svs_states(cmu: Path) -> None:
    reader = OpenSlideReader(cmu)
    assert reader.vendor == "aperio"
    assert reader.levels[0].shape == (2967, 2220) and reader.levels[0].downsample == (1, 1)
    assert reader.mpp == (0.499, 0.499) and reader.objective == 20
    assert set(reader.associated) == {"label", "macro", "thumbnail"}
    assert reader.properties["aperio.AppMag"] == "20"
    assert reader.associated_image("macro").shape[2] == 3


def test_pixels_are_those_in_the_file(cmu: Path) -> None:
    window = OpenSlideReader(cmu).read(0, 1000, 700, 400, 300)
    with tifffile.TiffFile(cmu) as file:
        expected = file.pages[0].asarray()[1000:1400, 700:1000]
    assert np.array_equal(window, expected)


def test_the_dicom_twin_has_the_same_geometry_and_nearly_the_same_pixels(data: Path, cmu: Path) -> None:
    svs = OpenSlideReader(cmu)
    twin = OpenSlideReader(data / "slides" / "CMU-1-Small-Region_dicom")
    assert twin.vendor == "dicom"
    assert twin.levels == svs.levels and twin.mpp == pytest.approx(svs.mpp)
    one, other = (reader.read(0, 0, 0, 2967, 2220) for reader in (svs, twin))
    errors = {
        (dy, dx): np.abs(
            other[1 + dy : 2966 + dy : 7, 1 + dx : 2219 + dx] - one[1:-1:7, 1:-1].astype(int)
        ).mean()
        for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    }
    assert errors[0, 0] < 4
    assert min(errors, key=errors.__getitem__) == (0, 0)


def test_a_dicom_folder_is_entered_by_one_of_its_files_and_no_other_folder_is(
    data: Path, tmp_path: Path, cmu: Path
) -> None:
    folder = data / "slides" / "CMU-1-Small-Region_dicom"
    assert entry_file(folder).suffix == ".dcm"
    assert entry_file(cmu) == cmu
    shutil.copy(cmu, tmp_path)
    assert entry_file(tmp_path) == tmp_path
    assert not OpenSlideReader.accepts(tmp_path)


def test_resolution_tags_and_levels_of_a_tiff(tiff) -> None:
    reader = OpenSlideReader(
        tiff("pyramid.tif", NOISE, reduced(NOISE, 2), reduced(NOISE, 4), mpp=(0.5, 0.25))
    )
    assert reader.mpp == pytest.approx((0.5, 0.25))
    assert [level.shape for level in reader.levels] == [(384, 512), (192, 256), (96, 128)]
    assert [level.downsample for level in reader.levels] == [(1, 1), (2, 2), (4, 4)]
    for index, factor in enumerate((1, 2, 4)):
        expected = reduced(NOISE, factor)
        window = reader.read(index, 11, 23, 60, 50)
        assert np.array_equal(window, expected[11:71, 23:73])


def test_72_dpi_is_no_resolution(tiff) -> None:
    reader = OpenSlideReader(tiff("flat.tif", NOISE, dpi=72))
    assert reader.mpp is None and reader.objective is None


def test_levels_at_odd_factors_are_read_where_they_are(tiff) -> None:
    """Truncating 3.87 to 3 would be off by 60 px here."""
    y, x = np.mgrid[:1001, :1403]
    ramp = np.stack([y / 4, x / 6, (y + x) / 10], -1).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(ramp).resize((363, 259), Image.Resampling.BOX))
    reader = OpenSlideReader(tiff("odd.tif", ramp, coarse))
    assert reader.levels[1].downsample[0] == pytest.approx((1001 / 259 + 1403 / 363) / 2)
    window = reader.read(1, 180, 290, 70, 61)
    assert np.abs(window.astype(int) - coarse[180:250, 290:351]).max() <= 1


@pytest.mark.parametrize("name", ["😐.tif", "Gewebe – Übersicht №1.tif", "with space.tif"])
def test_any_name_will_do(tiff, name: str) -> None:
    assert np.array_equal(OpenSlideReader(tiff(name, NOISE)).read(0, 0, 0, 384, 512), NOISE)


@pytest.fixture
def damaged(tmp_path: Path, cmu: Path) -> tuple[Path, int, int]:
    """A slide with one tile zeroed, and where that tile begins."""
    path = tmp_path / "damaged.svs"
    shutil.copyfile(cmu, path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        columns = -(-page.imagewidth // page.tilewidth)
        index = 3 * columns + 4
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        place = 3 * page.tilelength, 4 * page.tilewidth
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(bytes(count))
    return path, *place


def test_a_damaged_tile_is_background_and_counted_once(
    damaged: tuple[Path, int, int], cmu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, y, x = damaged
    reader, good = OpenSlideReader(path), OpenSlideReader(cmu)
    for _ in range(2):
        around = reader.read(0, y - 30, x - 40, 300, 350)
        assert (around[30:270, 40:280] == reader.background).all()
        around[30:270, 40:280] = good.read(0, y, x, 240, 240)
        assert np.array_equal(around, good.read(0, y - 30, x - 40, 300, 350))
        assert reader.damaged == 1
        monkeypatch.setattr(reader, "_open", lambda: pytest.fail("opened anew for a sound window"))
        assert np.array_equal(reader.read(0, y + 300, x, 100, 100), good.read(0, y + 300, x, 100, 100))
        monkeypatch.undo()
    with pytest.raises(DamagedWindow, match=r"damaged\.svs cannot be read at y 73\d, x 97\d of level 0"):
        reader.read_strictly(0, y + 10, x + 10, 20, 20)


def test_a_damaged_tile_does_not_fail_the_windows_of_other_threads(
    damaged: tuple[Path, int, int], cmu: Path
) -> None:
    path, y, x = damaged
    reader, good = OpenSlideReader(path), OpenSlideReader(cmu)
    expected = good.read(0, 1500, 500, 200, 200)

    def read(index: int) -> bool:
        if index % 4 == 0:
            return bool((reader.read(0, y, x, 20, 20) == reader.background).all())
        return np.array_equal(reader.read(0, 1500, 500, 200, 200), expected)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(read, range(24)))
    assert all(outcomes)


def test_a_closed_slide_says_so_even_if_closed_in_mid_read(cmu: Path) -> None:
    slide = Slide.open(cmu)
    with ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(slide.read_level, 0, 0, 0, 1000, 1000) for _ in range(6)]
        pending[0].result()
        slide.close()
        TILES.clear()
        errors = [future.exception() for future in pending]
    assert all(error is None or isinstance(error, SlideError) for error in errors)
    with pytest.raises(SlideError, match="was closed"):
        slide.read_level(0, 0, 0, 10, 10)
    with pytest.raises(SlideError, match="was closed"):
        slide.associated_image("macro")


def test_transparent_pixels_show_the_background(cmu: Path) -> None:
    """OpenSlide gives transparent pixels outside the slide; black would look like tissue."""
    reader = OpenSlideReader(cmu)
    assert np.array_equal(reader.read(0, 3000, 3000, 8, 8), np.full((8, 8, 3), reader.background, np.uint8))
