"""``nic-encoders`` on made nuclei and tiles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_zoommil.encoders.convolutional import EncoderSizes
from napari_zoommil.encoders.partners import DecoderSizes
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.data.cell_types import cut, left_out, read_cells, read_tiles, split_patients
from napari_zoommil.experiments.nic_encoders import settings
from napari_zoommil.experiments.nic_encoders.measuring import control, crops
from napari_zoommil.experiments.nic_encoders.report import answers, gain
from napari_zoommil.experiments.nic_encoders.settings import CONTROLS, EXTENTS, Extent
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.jobs import run

SMALL = {
    method: replace(
        recipe,
        sizes=EncoderSizes(16, 3, (4, 4), 0 if method == "bigan" else 8, 6),
        decoder=DecoderSizes(4),
        head=8,
        batch=8,
        steps=4,
        steps_per_epoch=2,
        patches=(40, 16),
    )
    for method, recipe in EXTENTS["cpu"].recipes.items()
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Extent:
    extent = Extent(SMALL, crops=(8, 16), patch=16, fold_steps=2, seeds=(0, 1))
    monkeypatch.setitem(settings.EXTENTS, "cpu", extent)
    monkeypatch.setattr("napari_zoommil.experiments.run_pieces.processes", lambda _: 1)
    return extent


def go(out: Path, data: Path, *only: str) -> dict[str, Any]:
    return run(reproduce("nic-encoders", out=out, data=data, only=list(only), device="cpu")).results


def test_encoders_and_controls_side_by_side(histology: Path, tmp_path: Path) -> None:
    results = go(tmp_path, histology, "*/0", "vae/1")
    assert len(results["pieces"]) == 10 + 1
    for result in results["pieces"].values():
        assert len(result["organs"]) == 9 and all(0 <= value <= 1 for value in result["organs"])
        own = result["cells"]["accuracy"]
        assert own["low"] <= own["value"] <= own["high"] and own["samples"][0] == pytest.approx(
            own["value"], abs=1e-5
        )
    assert results["pieces"]["vae/0"]["training"]["steps"] == 4
    assert results["pieces"]["vae/0"]["cells"] != results["pieces"]["vae/1"]["cells"]
    assert results["pieces"]["mean-rgb/0"]["cells"]["accuracy"]["value"] > 0.9, "dark and light"
    table = (tmp_path / "nic-encoders" / "table.md").read_text()
    assert "| 0.904 ± 0.000 | 0.800 ± 0.006 |" in table and "| vae | 2 | 4 |" in table
    assert len(results["answers"]) == 3
    texts = "".join(ElementTree.parse(tmp_path / "nic-encoders" / "figure.svg").getroot().itertext())
    assert all(name in texts for name in CONTROLS), "the controls stand in the figure"
    again = go(tmp_path, histology, "vae/0")
    assert again["pieces"] == json.loads(json.dumps(results["pieces"]))
    with pytest.raises(JobError, match="matches none"):
        go(tmp_path, histology, "pca")


def test_crops_lie_in_their_tile_beside_each_other(histology: Path) -> None:
    tiles, organs = read_tiles(histology)
    found = crops(tiles, 31, (8, 16), 8, 0, organs)
    assert len(found) == 30 and (found.neighbours[found.neighbours] == np.arange(30)).all()
    assert (found.images[found.neighbours] == found.images).all()
    organ_of = {tile.slide: tile.organ for tile in tiles}
    assert found.labels.tolist() == [organ_of[slide] for slide in found.images]
    assert (crops(tiles, 31, (8, 16), 8, 0).labels == -1).all()
    exact = crops(tiles, 8, (8, 8), 8, 1)
    windows = {
        tile.pixels[y : y + 8, x : x + 8].tobytes() for tile in tiles for y in range(25) for x in range(25)
    }
    assert all(one.tobytes() in windows for one in exact.pixels)


def test_patients_and_slides_are_apart(histology: Path) -> None:
    train, test = split_patients(read_cells(histology))
    assert not set(train.patients) & set(test.patients) and len(np.unique(test.patients)) == 5
    tiles, organs = read_tiles(histology)
    patches = cut(tiles, organs, 16)
    folds = list(left_out(patches))
    assert len(set(folds)) == 9
    for held in folds:
        assert sorted(set(patches.labels[np.isin(patches.patients, held)])) == [0, 1]


@pytest.mark.parametrize(
    ("name", "width"), [("mean-rgb", 3), ("rgb-mean-sd", 6), ("pixels", 192), ("untrained", 6)]
)
def test_controls(tiny: Extent, name: str, width: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(3, 16, 16, 3), dtype=np.uint8)
    codes = control(name, tiny, 0)(pixels)
    assert codes.shape == (3, width) and (control(name, tiny, 0)(pixels) == codes).all()


def test_answers_follow_the_numbers() -> None:
    def result(value: float) -> dict[str, Any]:
        samples = [value, value - 0.01, value + 0.01]
        own = {"value": value, "low": value - 0.01, "high": value + 0.01, "samples": samples}
        return {"cells": {"accuracy": own}, "organs": [0.5], "training": {"steps": 10}}

    values = {"vae/0": 0.66, "untrained/0": 0.63, "bigan/0": 0.65, "supervised-tissue/0": 0.7}
    told = [one["answer"] for one in answers({name: result(value) for name, value in values.items()})]
    assert told == ["yes", "yes", "no"]
    others = values | {"vae/0": 0.64, "supervised-tissue/0": 0.66, "bigan/0": 0.7}
    assert [one["answer"] for one in answers({n: result(v) for n, v in others.items()})] == [
        "no",
        "no",
        "yes",
    ]
    near = values | {"supervised-tissue/0": 0.683}
    assert answers({n: result(v) for n, v in near.items()})[1]["answer"] == "not decidable"
    wide = {name: result(value) for name, value in values.items()}
    wide["vae/0"]["cells"]["accuracy"]["samples"] = [0.66, 0.6, 0.7]
    assert [one["answer"] for one in answers(wide)] == ["not decidable", "yes", "not decidable"]
    few = {name: result(value) for name, value in values.items()}
    for one in few.values():
        one["cells"]["accuracy"] |= {
            "low": None,
            "high": None,
            "samples": [one["cells"]["accuracy"]["value"]],
        }
    assert [one["answer"] for one in answers(few)] == ["not decidable"] * 3, "patients are too few"
    assert gain([result(0.66)], [result(0.63)]) == pytest.approx((0.03, 0.03, 0.03))
    assert answers({"vae/0": result(0.6)}) == []
