from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.draw import disk
from skimage.io import imsave

from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.metrics import THRESHOLDS
from napari_zoommil.cells.model import Finds, load_cell_model, save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.targets import BACKGROUND
from napari_zoommil.cells.unet import UNet
from napari_zoommil.experiments.data.nuclei import Tile, typical_diameter
from napari_zoommil.experiments.shipped import cell_data, unlabelled
from napari_zoommil.experiments.shipped.cell_data import FreeData, sections, split_dsb, window_of
from napari_zoommil.experiments.shipped.cell_evaluation import SetScore, evaluated, table, tile_score
from napari_zoommil.experiments.shipped.cell_models import FIT, MPP, RECIPES, make, teacher_of
from napari_zoommil.experiments.shipped.cell_report import ABOUT, NOT_FOR, TileOutput, card, chosen_threshold
from napari_zoommil.experiments.shipped.cell_tiles import LEAST_EDGE, NUCLEUS, resampled, rescaled
from napari_zoommil.experiments.shipped.classical_model import card as classical_card
from napari_zoommil.experiments.shipped.drawn_nuclei import PLANES, VISIBLE_H, drawn_tissue, stained
from napari_zoommil.experiments.shipped.stain_colours import Colours, tissue_colours
from napari_zoommil.experiments.shipped.unlabelled import (
    EMPTY,
    SCALES,
    marked_windows,
    slide_tiles,
    sure,
    unlabelled_tissue,
)
from napari_zoommil.slides import Slide
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
    return FreeData(train, images, tiles[2:3], tiles[3:], tiles[3:])


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of tiny networks and short trainings."""
    fit = replace(FIT, epochs=1, draws=2, batch_size=2, crop=64)
    for name, full in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, replace(full, config={**full.config, "width": 4}, fit=fit))


@pytest.mark.parametrize("architecture", list(RECIPES))
def test_a_tiny_model_is_made_and_described(architecture: str, free: FreeData, tmp_path: Path, tiny) -> None:
    network, spec = make(architecture, free, tmp_path)
    assert (tmp_path / "last.ckpt").is_file()
    assert spec.classes == (NUCLEUS,) and spec.mpp == MPP and 0 < spec.threshold < 1
    score = evaluated(network, spec, free.test)
    figures = {"dsb2018": score.summary()}
    spec = replace(spec, training={"figures": figures})
    text = card(spec, network, "Shortly.")
    assert f"{figures['dsb2018']['box F1']:.2f} (" in text and ABOUT["dsb2018"] in text
    assert f"{sum(p.numel() for p in network.parameters()):,} parameters" in text
    body = text[text.index("# ") :].split("\n\n")
    assert body[1] == f"**{NOT_FOR}**"  # it begins with what it must not be used for
    save_cell_model(tmp_path / "out", network, spec, text)
    again, read = load_cell_model(tmp_path / "out")
    assert read.training == spec.training
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_a_fit_that_is_done_is_not_repeated(
    free: FreeData, tmp_path: Path, tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, spec = make("yollo", free, tmp_path)
    steps = []
    monkeypatch.setattr(
        "napari_zoommil.experiments.shipped.cell_models.fit_steps",
        lambda *given, **options: (steps.append(step) or step for step in fit_steps(*given, **options)),
    )
    again, same = make("yollo", free, tmp_path)
    assert same == spec and not steps
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_sure_nuclei_and_sure_background_are_marked() -> None:
    tile = disc_tile(256, 10)
    marked = sure(tile.image, MPP)
    assert len(np.unique(marked[marked > 0])) == len(np.unique(tile.instances)) - 1
    assert (tile.instances[marked > 0] > 0).mean() > 0.95
    assert (marked == EMPTY).mean() > 0.02 and not tile.instances[marked == EMPTY].any()


def test_clumps_are_not_sure_nuclei() -> None:
    tile = disc_tile(256, 10)
    instances = tile.instances > 0
    clump = np.zeros_like(instances)
    clump[100:160, 60:200] = True
    image = np.where(clump[..., None], PURPLE, tile.image).astype(np.uint8)
    marked, inside = sure(image, MPP), np.s_[112:148, 80:180]
    assert (marked > 0).any() and not marked[inside].any() and not (marked[clump] == EMPTY).any()


def test_marked_windows_leave_the_rest_unknown() -> None:
    images = [disc_tile(256, 10).image, disc_tile(128, 60).image]  # the second shows too few nuclei
    windows = marked_windows(images, MPP)
    assert len(windows) == 2 * len(SCALES)  # in two colours each
    assert [window.shape[0] for window in windows[::2]] == [round(256 * scale) for scale in SCALES]
    for window in windows:
        assert set(np.unique(window.dense)) == {BACKGROUND, 0, 1}
        np.testing.assert_array_equal(window.complete, window.dense == BACKGROUND)
        assert len(window.boxes) == len(windows[0].boxes)


def test_what_a_teacher_finds_too_is_marked() -> None:
    tile = disc_tile(256, 10)
    joined = np.where((np.indices(tile.instances.shape)[0] < 100)[..., None], PURPLE, tile.image)
    image = joined.astype(np.uint8)
    boxes = instance_boxes(unlabelled._classical(image, MPP)[1].labels)[0]
    teacher = Finds(boxes, np.ones(len(boxes)), np.ones(len(boxes), np.int64))
    alone, taught = (np.unique(sure(image, MPP, finds)) for finds in (None, teacher))
    assert set(alone) < set(taught) and len(taught[taught > 0]) == len(boxes)
    none = teacher.chosen(np.zeros(len(boxes), bool))
    np.testing.assert_array_equal(sure(image, MPP, none), sure(image, MPP))
    windows = marked_windows([image], MPP, lambda image: teacher)
    assert len(windows[2].boxes) == len(boxes)


def test_a_teacher_returns_what_counts() -> None:
    spec = CellSpec("unet", {}, MPP, (NUCLEUS,), threshold=0.6)
    tile = disc_tile()
    found = teacher_of(Painted(width=2, padding="same"), spec)(tile.image)
    assert len(found) == len(np.unique(tile.instances)) - 1


def test_tissue_without_labels_is_brought_to_the_size_of_nuclei(tmp_path: Path) -> None:
    (tmp_path / "tiles" / "tcga").mkdir(parents=True)
    for number, radius in enumerate((7, 14)):  # 7 µm at 20x and at 40x
        image = disc_tile(256, radius).image
        imsave(tmp_path / "tiles" / "tcga" / f"{number}.png", image, check_contrast=False)
    found = unlabelled_tissue(tmp_path, MPP)
    assert [image.shape[0] for image in found] == [round(256 * mpp / MPP) for mpp in (0.5, 0.25)]


def test_a_slide_is_cut_into_tiles(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        tiles = slide_tiles(slide, 0.5)
        assert len(tiles) == (2967 * 0.499 // 180) * (2220 * 0.499 // 180)
        first = slide.read(0, 0, 360, 360, 0.5)
    assert all(tile.shape == (360, 360, 3) for tile in tiles)
    np.testing.assert_array_equal(tiles[0], first)


class Painted(UNet):
    """Knows that what is dark is a nucleus."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (0.45 - images[:, 1:2]) * 40


def test_scores_of_a_model_that_knows() -> None:
    tiles = [disc_tile(seed=seed) for seed in range(2)]
    spec = CellSpec("unet", {}, MPP, (NUCLEUS,))
    network = Painted(width=2, padding="same")
    half = replace(tiles[0], instances=np.where(tiles[0].instances % 2, tiles[0].instances, 0))
    score = evaluated(network, spec, [*tiles, half])
    known = len(np.unique(half.instances)) - 1
    assert [tile.box.f1 for tile in score.tiles[:2]] == [tile.centre.f1 for tile in score.tiles[:2]] == [1, 1]
    last = score.tiles[2].box
    assert last.true_positives == known and last.false_negatives == 0 and last.false_positives > 0
    values = score.summary()
    assert values["box mean"] == pytest.approx((2 + last.f1) / 3) and values["box sd"] > 0
    assert values["box recall"] == 1 and values["box precision"] < 1
    assert f"{values['box F1']:.3f} (" in table({"painted": {"discs": score}})


def test_centres_match_within_four_micrometres() -> None:
    every = disc_tile()
    tile = replace(every, instances=np.where(every.instances == 8, 8, 0))
    whole = TileOutput.at(Painted(width=2, padding="same"), CellSpec("unet", {}, MPP, (NUCLEUS,)), tile)
    found = whole.finds(0.5)
    found = found.chosen((np.abs(found.centres - np.argwhere(tile.instances).mean(0)) < 2).all(1))
    assert len(found) == 1
    for shift, right in ((3.9 / MPP, len(found)), (4.3 / MPP, 0)):
        moved = Finds(found.boxes + np.array([shift, 0, shift, 0]), found.scores, found.labels)
        assert tile_score(tile, moved, MPP).centre.true_positives == right
        assert tile_score(tile, moved, MPP).box.true_positives == 0


def test_the_classical_model_is_described() -> None:
    spec = CellSpec("haematoxylin", {}, 0.5, (NUCLEUS,))
    scores = SetScore((tile_score(disc_tile(), Finds.together([]), 0.5),), 1.0)
    text = classical_card(replace(spec, training={"figures": {"monuseg": scores.summary()}}))
    assert text[text.index("# ") :].split("\n\n")[1].startswith("**Not for diagnosis") and "0.00 (" in text


def test_the_threshold_is_the_highest_that_nearly_serves_best() -> None:
    spec, network = CellSpec("unet", {}, MPP, (NUCLEUS,)), Painted(width=2, padding="same")
    sure = disc_tile()
    assert chosen_threshold(network, spec, [sure]) == THRESHOLDS[-1]
    upper = np.arange(128)[:, None] < 64  # discs of which it is sure to 0.82
    faint = np.where((sure.instances > 0) & upper, 105, 200)[..., None].repeat(3, -1).astype(np.uint8)
    image = np.where(upper[..., None], faint, sure.image)
    assert chosen_threshold(network, spec, [replace(sure, image=image)]) == pytest.approx(0.8)


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
    for number in range(6):
        tile, folder = disc_tile(seed=number), tmp_path / "nuclei" / "dsb2018"
        if number == 5:
            tile = disc_tile(seed=number, ground=(240, 240, 240))
        folder.mkdir(parents=True, exist_ok=True)
        imsave(folder / f"{number}.png", tile.image, check_contrast=False)
        maps = tile.instances.astype(np.uint16)
        imsave(folder / f"{number}_instances.png", maps, check_contrast=False)
    (tmp_path / "tiles" / "tcga").mkdir(parents=True)
    imsave(tmp_path / "tiles" / "tcga" / "a.png", disc_tile().image, check_contrast=False)
    split = {name: [tile.name for tile in tiles] for name, tiles in split_dsb(folder).items()}
    assert "5" in split["train"]
    assert sorted(name for names in split.values() for name in names) == list("012345")
    data = FreeData.read(tmp_path, MPP, variants=2, textures=(1, 2))
    assert (len(data.validation), len(data.test), len(data.tissue)) == (3, 1, 1)
    assert {tile.name for tile in data.validation} == {*split["val"]}
    assert all(tile.name.startswith("stroma 2 ") for tile in data.synthetic) and len(data.synthetic) == 4
    assert len(data.train) == 4 * 2 + 4
    assert all(min(window.shape) >= LEAST_EDGE for window in data.train)
