from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.draw import disk
from skimage.io import imsave

from napari_zoommil.cells.metrics import THRESHOLDS
from napari_zoommil.cells.model import Finds, load_cell_model, save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.experiments.data.nuclei import Tile, typical_diameter
from napari_zoommil.experiments.shipped import cell_data, cell_report
from napari_zoommil.experiments.shipped.cell_data import (
    LEAST_EDGE,
    MPP,
    Colours,
    FreeData,
    resampled,
    rescaled,
    sections,
    tissue_colours,
    window_of,
)
from napari_zoommil.experiments.shipped.cell_models import (
    FIT,
    NUCLEUS,
    RECIPES,
    CellModelRecipe,
    make,
    measured,
    self_marked,
)
from napari_zoommil.experiments.shipped.cell_report import (
    ABOUT,
    TileOutput,
    card,
    chosen_threshold,
    slide_metrics,
    tile_metrics,
)
from napari_zoommil.experiments.shipped.drawn_nuclei import PLANES, VISIBLE_H, drawn_tissue, stained
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.training.fit import fit_steps

PINK, PURPLE = (200, 150, 190), (90, 50, 130)


def disc_tile(size: int = 128, radius: float = 7, seed: int = 0, ground: tuple[int, ...] = PINK) -> Tile:
    """Dark discs on a ground of a colour, well apart."""
    rng = np.random.default_rng(seed)
    image, instances = np.full((size, size, 3), ground, np.int16), np.zeros((size, size), np.int32)
    pitch = round(3 * radius)
    for number, place in enumerate(np.ndindex(size // pitch, size // pitch), 1):
        rows = disk((np.array(place) + 0.5) * pitch, radius, shape=instances.shape)
        instances[rows], image[rows] = number, PURPLE
    image = np.clip(image + rng.integers(-9, 10, image.shape), 0, 255)
    return Tile(f"discs {seed}", image.astype(np.uint8), instances)


@pytest.fixture(scope="module")
def free() -> FreeData:
    """A little of all that is learned from."""
    images = [disc_tile(seed=seed).image for seed in range(2)]
    tiles = [disc_tile(seed=seed) for seed in range(4)]
    train = [window_of(tile) for tile in tiles[:2]]
    return FreeData(train, tiles[2:3], tiles[3:], tiles[3:], images, tissue_colours(images))


@pytest.mark.parametrize("architecture", list(RECIPES))
def test_a_tiny_model_is_made_and_described(architecture: str, free: FreeData, tmp_path: Path) -> None:
    tiny = replace(FIT, epochs=1, draws=2, batch_size=2, crop=64)
    full = RECIPES[architecture]
    recipe = CellModelRecipe(
        {**full.config, "width": 4}, full.anchors, tiny, replace(tiny, seed=1), full.sure
    )
    network, spec = make(architecture, recipe, free, tmp_path)
    assert (tmp_path / architecture / "first" / "last.ckpt").is_file()
    assert spec.classes == (NUCLEUS,) and spec.mpp == MPP and 0 < spec.threshold < 1
    figures = measured(network, spec, free, [])
    assert set(figures) == {"dsb2018", "synthetic"} and figures["dsb2018"] == figures["synthetic"]
    spec = replace(spec, training={"figures": figures})
    text = card(spec, network, "Shortly.")
    assert text.count(f"| {figures['dsb2018']['F1']:.2f} |") >= 2 and ABOUT["dsb2018"] in text
    assert f"{sum(p.numel() for p in network.parameters()):,} parameters" in text
    save_cell_model(tmp_path / "out", network, spec, text)
    again, read = load_cell_model(tmp_path / "out")
    assert read.training == spec.training
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_a_round_that_is_done_is_not_trained_again(
    free: FreeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(FIT, epochs=1, draws=2, batch_size=2, crop=64)
    recipe = CellModelRecipe(
        {"width": 4}, 1, tiny, tiny, 2.0
    )  # no score is that high: there is no second round
    network, spec = make("yollo", recipe, free, tmp_path)
    steps = []
    monkeypatch.setattr(
        "napari_zoommil.experiments.shipped.cell_models.fit_steps",
        lambda *given, **options: (steps.append(step) or step for step in fit_steps(*given, **options)),
    )
    again, same = make("yollo", recipe, free, tmp_path)
    assert same == spec and not steps
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


class Painted(UNet):
    """Knows that what is dark is a nucleus."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (0.45 - images[:, 1:2]) * 40


def test_a_model_marks_what_it_is_sure_of_at_the_scale_of_its_nuclei(free: FreeData) -> None:
    spec = CellSpec("unet", {}, MPP, (NUCLEUS,))
    coarse, fine = disc_tile(256, 7), disc_tile(256, 14)  # 7 µm at 20x and at 40x
    data = replace(free, unlabelled=[coarse.image, fine.image, disc_tile(128, 60).image])
    windows = self_marked(Painted(width=2, padding="same"), spec, data, 0.8)
    # Twice each, in two colours; the third shows too few nuclei.
    edges = [round(256 * mpp / MPP) for mpp in (0.5, 0.25)]
    assert [window.shape for window in windows] == [(edge, edge) for edge in edges for _ in range(2)]
    known = len(np.unique(coarse.instances)) - 1
    assert len(windows[0].boxes) == known and not windows[0].complete.any()
    assert set(np.unique(windows[0].dense)) == {0, 1}  # nothing is taken for known background
    assert not self_marked(Painted(width=2, padding="same"), spec, data, 1.01)


def test_figures_of_a_model_that_knows() -> None:
    tiles = [disc_tile(seed=seed) for seed in range(2)]
    spec = CellSpec("unet", {}, MPP, (NUCLEUS,))
    network = Painted(width=2, padding="same")
    figures = tile_metrics(network, spec, tiles)
    assert figures["F1"] == figures["best F1"] == 1 and min(figures["Dice"], figures["AJI"]) > 0.97
    half = replace(tiles[0], instances=np.where(tiles[0].instances % 2, tiles[0].instances, 0))
    known = len(np.unique(half.instances)) - 1
    score = TileOutput.at(network, spec, half).score(0.5)
    assert score.true_positives == known and score.false_negatives == 0 and score.false_positives > 0


def test_the_threshold_is_the_highest_that_nearly_serves_best() -> None:
    spec, network = CellSpec("unet", {}, MPP, (NUCLEUS,)), Painted(width=2, padding="same")
    sure = disc_tile()
    assert chosen_threshold(network, spec, [sure]) == THRESHOLDS[-1]
    upper = np.arange(128)[:, None] < 64  # discs of which it is sure to 0.82
    faint = np.where((sure.instances > 0) & upper, 105, 200)[..., None].repeat(3, -1).astype(np.uint8)
    image = np.where(upper[..., None], faint, sure.image)
    assert chosen_threshold(network, spec, [replace(sure, image=image)]) == pytest.approx(0.8)


def test_finds_on_a_slide_are_counted_against_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = tmp_path / "slide.svs"
    slide.with_suffix(".cells.csv").write_text(
        "y,x,height,width,tile\n50,60,20,10,a\n150,60,20,20,a\n250,60,20,20,a\n"
    )
    boxes = np.array([[40, 55, 60, 65], [140, 50, 160, 70], [240, 50, 260, 70], [900, 900, 920, 920]], float)
    found = Finds(boxes, np.array([0.9, 0.8, 0.3, 0.7]), np.ones(4, np.int64))
    detection = Detection("slide", "", "unet", (NUCLEUS,), found, 0.5, 1.0)
    monkeypatch.setattr(cell_report, "run", lambda job: detection)
    figures = slide_metrics(tmp_path, slide)  # the third is too doubtful, the fourth is none
    assert figures == pytest.approx({"F1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3})


def test_sections_leave_out_bare_glass_and_empty_tiles() -> None:
    tissue, glass = disc_tile(), disc_tile(ground=(240, 240, 240))
    empty = Tile("empty", tissue.image, np.zeros_like(tissue.instances))
    assert sections([tissue, glass, empty]) == [tissue]


@pytest.mark.parametrize("wanted", [8.0, 20.0])
def test_tiles_are_scaled_by_their_nuclei(wanted: float) -> None:
    tile = rescaled(disc_tile(256, 7), wanted)
    assert typical_diameter([tile]) == pytest.approx(wanted, rel=0.06)
    assert tile.image.shape[:2] == tile.instances.shape
    assert min(rescaled(disc_tile(256, 7), 1.0).instances.shape) == LEAST_EDGE


@pytest.mark.parametrize("factor", [0.5, 1.4])
def test_a_resampled_tile_shows_the_same_nuclei(factor: float) -> None:
    tile = disc_tile(255, 14)
    other = resampled(tile, factor)
    assert other.instances.shape == other.image.shape[:2] == (round(255 * factor),) * 2
    assert typical_diameter([other]) == pytest.approx(typical_diameter([tile]) * factor, rel=0.05)
    assert set(np.unique(other.instances)) == set(np.unique(tile.instances))


def test_a_window_knows_all_but_slivers() -> None:
    instances = np.zeros((40, 40), np.int32)
    instances[5:15, 5:10], instances[5:15, 10:15], instances[30:32, 30:32] = 1, 2, 3
    window = window_of(Tile("", np.zeros((40, 40, 3), np.uint8), instances))
    assert len(window.boxes) == 2
    assert (window.dense[5:15, 10] == -1).all()  # they touch, and stay two
    assert (window.dense[30:32, 30:32] == 0).all() and not window.complete[30:32, 30:32].any()
    assert window.dense[20, 20] == -1 and window.complete[20, 20]


def test_colours_are_laid_on() -> None:
    purple, other = disc_tile(ground=(150, 120, 200)).image, disc_tile(ground=(220, 170, 190)).image
    aim = Colours.of(other)
    made = Colours.of(aim.laid_on(purple))
    np.testing.assert_allclose(made.mean, aim.mean, atol=0.02)
    np.testing.assert_allclose(made.covariance, aim.covariance, atol=0.01)


def test_blood_and_glass_lend_no_colours() -> None:
    blood = np.full((64, 64, 3), (230, 60, 80), np.uint8)
    glass = np.full((64, 64, 3), 243, np.uint8)
    assert len(tissue_colours([blood, glass, disc_tile().image])) == 1


@pytest.mark.parametrize("name", ["stroma", "tumour"])
def test_drawn_nuclei_are_where_haematoxylin_is(name: str) -> None:
    stain, instances = drawn_tissue(PLANES[name], seed=1, size=512)
    areas = np.bincount(instances.ravel())[1:]
    areas = areas[areas > 0]
    assert len(areas) > 5 and 4 < np.median(2 * np.sqrt(areas / np.pi)) * 0.25 < 16  # µm
    assert (stain.h[instances > 0] >= VISIBLE_H).mean() > 0.9
    assert (stain.h[instances == 0] >= 0.9).mean() < 0.02  # none is left out
    image = stained(stain, np.random.default_rng(0))
    assert image.shape == (512, 512, 3)
    assert image[instances > 0].mean() + 30 < image[instances == 0].mean()


def test_free_data_is_read_and_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_data, "PLANES", {"stroma": PLANES["stroma"]})
    for number in range(5):
        tile, folder = disc_tile(seed=number), tmp_path / "nuclei" / "dsb2018"
        folder.mkdir(parents=True, exist_ok=True)
        imsave(folder / f"{number}.png", tile.image, check_contrast=False)
        maps = tile.instances.astype(np.uint16)
        imsave(folder / f"{number}_instances.png", maps, check_contrast=False)
    (tmp_path / "tiles" / "tcga").mkdir(parents=True)
    imsave(tmp_path / "tiles" / "tcga" / "a.png", disc_tile().image, check_contrast=False)
    data = FreeData.read(tmp_path, variants=2, textures=(1, 2))
    assert (len(data.validation), len(data.test), len(data.unlabelled), len(data.styles)) == (2, 1, 1, 1)
    assert {tile.name for tile in data.validation + data.test} < {f"{number}" for number in range(5)}
    assert all(tile.name.startswith("stroma 2 ") for tile in data.synthetic) and len(data.synthetic) == 4
    assert len(data.train) == 3 * 2 + 4
    assert all(min(window.shape) >= LEAST_EDGE for window in data.train)
