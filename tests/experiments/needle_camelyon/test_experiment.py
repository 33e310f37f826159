"""``needle-camelyon`` on small made slides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from shapely import Polygon

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.data.needle_camelyon import RATIOS
from napari_zoommil.experiments.needle_camelyon import crops, trials
from napari_zoommil.experiments.needle_camelyon import slides as slides_module
from napari_zoommil.experiments.needle_camelyon.crops import data_sets, found_crops
from napari_zoommil.experiments.needle_camelyon.slides import LevelSlide, MadeSlides, drawn, read_slides
from napari_zoommil.experiments.needle_camelyon.trials import EXTENTS, Extent, Trial
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.jobs import run
from napari_zoommil.models.blocks.receptive_field import fields, kernels

PRESETS = dict(EXTENTS)
BASE = Trial(32, (0.01, 0.1), 5, width=1 / 32)
TINY = Extent(
    BASE,
    (BASE, replace(BASE, pooling="mean"), replace(BASE, ratio=(0.1, 0.5))),
    MadeSlides(4, 1024, 0.01, 0.05),
    (0,),
    per_lesion=6,
    blocks=(1, 1, 1, 1),
    strides=(2, 2, 1, 1),
    norm="batch",
    epochs=1,
    learning_rate=1e-3,
    batch=8,
)


class Drawing:
    """A slide of 1,024 px in a moment: tissue with a darker square."""

    def __init__(self, number: int, tumour: bool) -> None:
        self.tumour, self.number = tumour, number

    @property
    def edge(self) -> int:
        return 8 * (8 if self.number % 4 else 18)

    def read(self, y: int, x: int, height: int, width: int, downsample: int) -> np.ndarray:
        pixels = np.random.default_rng(self.number).integers(150, 180, (height, width, 3), np.uint8)
        if self.tumour:
            pixels[40 : 40 + self.edge // 8, 50 : 50 + self.edge // 8] -= 60
        return pixels

    def outline(self) -> list[np.ndarray]:
        low, high = np.array([320, 400]), np.array([320, 400]) + self.edge
        return [np.array([low, (low[0], high[1]), high, (high[0], low[1])], float)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[Extent]:
    def drawing(self: MadeSlides, number: int) -> Drawing:
        place = number % self.per_centre
        return Drawing(place // 2 * 4 + 1 - place // 2, place % 2 == 0)

    monkeypatch.setattr(MadeSlides, "drawing", drawing)
    monkeypatch.setitem(trials.EXTENTS, "cpu", TINY)
    monkeypatch.setattr("napari_zoommil.experiments.run_pieces.processes", lambda _: 1)
    slides_module._lesions.cache_clear()
    monkeypatch.setattr(crops, "LEAST", 2)
    yield TINY


def test_trials_tables_and_figures(tmp_path: Path) -> None:
    result = run(reproduce("needle-camelyon", out=tmp_path, device="cpu"))
    assert list(result.results["pieces"]) == list(TINY.pieces())
    first = result.results["pieces"]["32/1-10/5/max/base/0"]
    assert first["counts"] == {"train": [3, 18, 18], "val": [1, 6, 6], "test": [1, 6, 6]}
    assert all(
        0 <= one[what] <= 1 for one in result.results["pieces"].values() for what in ("test", "colour")
    )
    assert first["colour"] > 0.7, "the mean colour tells much here, and stands beside"
    folder = tmp_path / "needle-camelyon"
    table = (folder / "table.md").read_text()
    assert "| 1-10 | 32 | 3 / 1 / 1 | – | 18 / 6 / 6 | – | 18 / 6 / 6 |" in table
    texts = "".join(ElementTree.parse(folder / "figure.svg").getroot().itertext())
    assert "chance" in texts and "colour" in texts
    assert (folder / "saliency.png").stat().st_size > 1000
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(result.results))
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*_*.*")}
    again = run(reproduce("needle-camelyon", out=tmp_path, device="cpu", only=["*/1-10"]))
    assert again.results == result.results
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*_*.*")}, (
        "nothing was made again"
    )
    with pytest.raises(JobError, match="matches none"):
        run(reproduce("needle-camelyon", out=tmp_path, only=["64"]))


def test_a_trial_of_few_crops_has_their_numbers_and_no_accuracy(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crops, "LEAST", 7)  # there are 6 to validate and 6 to test
    result = run(reproduce("needle-camelyon", out=tmp_path, device="cpu"))
    assert {tuple(one) for one in result.results["pieces"].values()} == {("counts",)}
    table = (tmp_path / "needle-camelyon/table.md").read_text()
    assert "| 32/1-10/5/max/base | 1 | – | – | – | – | 0 of 1 | 0.0 |" in table
    assert "| 18 / 6 / 6 |" in table and not (tmp_path / "needle-camelyon/saliency.png").exists()


def test_slides_of_other_settings_have_a_folder_of_their_own() -> None:
    made = EXTENTS["cpu"].slides
    others = (replace(made, largest=0.3), replace(made, smallest=0.02), replace(made, first_seed=1))
    assert len({one.folder for one in (made, *others, replace(made, size=2048))}) == 5


def test_positive_and_negative_crops_are_of_the_split_and_balanced(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full((128, 128, 3), 150, np.uint8))
    square = Polygon([(40, 50), (40, 58), (48, 58), (48, 50)])

    def slide(number: int, split: str, lesion: bool) -> LevelSlide:
        return LevelSlide(number, split, tmp_path / "grey.npy", (128, 128), (square,) if lesion else ())

    slides = [
        slide(0, "train", True),
        slide(1, "train", False),
        slide(2, "train", False),
        slide(3, "val", True),
    ]
    found = found_crops(slides, "train", 32, (0.01, 0.1), 5, 0)
    assert found.positive == 5 and len(found.crops) == 10 and found.lesions == 1
    assert {number for number, crop in found.crops if crop.lesion >= 0} == {0}
    assert {number for number, crop in found.crops if crop.lesion < 0} == {1, 2}
    sets = data_sets([*slides, slide(4, "test", True)], 32, (0.01, 0.1), 5, 0)
    assert [own.found.is_enough for own in sets.values()] == [True, False, False], "none without a lesion"


def test_masks_lie_on_the_lesion(tmp_path: Path) -> None:
    assert list(drawn(TINY.slides, tmp_path))[-1] == 1
    slides = read_slides(TINY.slides, tmp_path)
    images = data_sets(slides, 32, (0.01, 0.1), 6, 0)["train"]
    for index in range(3):
        mask = images.mask(index)
        assert mask.sum() == 8 * 8
        assert images.pixels(index)[mask].mean() < images.pixels(index)[~mask].mean() - 40
        assert mask.mean() == pytest.approx(images.crops[index][1].ratio)
    batch = images.batch([0, 4])
    assert batch.shape == (2, *images.shape) and batch.max() <= 1


@pytest.mark.parametrize("extent", PRESETS.values(), ids=PRESETS)
def test_presets_have_what_the_figures_show(extent: Extent) -> None:
    assert {trial.ratio for trial in extent.trials} in (set(RATIOS), set(RATIOS[1:]))
    assert extent.base in extent.trials
    assert {trial.pooling for trial in extent.trials} == {"max", "lse", "mean", "attention"}
    assert (
        len({trial.field for trial in extent.trials}) > 1
        and len({trial.width for trial in extent.trials}) > 1
    )
    assert len(extent.pieces()) == len(extent.trials) * len(extent.seeds)
    for trial in extent.trials:
        last = fields(kernels(trial.field, extent.blocks, extent.strides), extent.blocks, extent.strides)[-1]
        assert last.size == trial.field and last.least(2) <= trial.edge
        json.dumps(extent.described(trial))
