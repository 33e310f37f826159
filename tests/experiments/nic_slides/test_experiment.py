"""``nic-slides`` on a tiny preset: each piece once, tables beside the paper's, figures with controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.nic_slides.experiment import NAME
from napari_zoommil.experiments.nic_slides.report import beats, default_rows, varied
from napari_zoommil.experiments.nic_slides.trials import ENCODERS, EXTENTS, TASKS, Extent, Trial, default_code
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.trial_rows import Row
from napari_zoommil.jobs import run

PRESETS = dict(EXTENTS)


def go(out: Path, *only: str) -> dict[str, Any]:
    return run(reproduce(NAME, out=out, only=list(only), device="cpu")).results


def test_a_run_from_slides_to_tables(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="matches none"):
        go(tmp_path, "presence/pca")
    results = go(tmp_path, "*/*/*/*/*/*/0")
    assert list(results["pieces"]) == [f"{one.name}/0" for one in EXTENTS["cpu"].trials]
    assert set(results["encoders"]) == {"supervised/128"}
    named, number, part = results["pieces"].values()
    assert set(named) >= {"all", "test", "macro", "sizes", "maps"} and named["slides"] == 12
    assert named["sizes"][0]["radius"] == 0 and named["sizes"][1]["radius"] == pytest.approx(
        np.sqrt(512**2 / np.pi) / 4000, rel=1e-3
    )
    assert {"jaccard", "jaccard_random", "jaccard_density", "pointing", "low"} <= set(named["maps"])
    assert named["maps"]["jaccard_density"] > named["maps"]["jaccard_random"], "tumours are darker"
    assert set(number) >= {"all", "test", "maps"} and "macro" not in number
    assert part["slides"] == 12 and "maps" not in part, "every partition is tested, and none explained"
    folder = tmp_path / NAME
    table = (folder / "table.md").read_text()
    assert "| 0.760 ± 0.002 | 0.771 ± 0.002 | 0.914 ± 0.000 |" in table and "| control |" in table
    figures = {
        name: ElementTree.parse(folder / f"{name}.svg").getroot() for name in ("figure", "encoders", "maps")
    }
    texts = {name: "".join(root.itertext()) for name, root in figures.items()}
    assert "mean-rgb (control)" in texts["encoders"] and "the paper: bigan" in texts["encoders"]
    assert "density map (control)" in texts["maps"] and "chance" in texts["figure"]
    assert (folder / "maps-presence.png").stat().st_size > 1000
    stamp = (folder / "pieces" / "share_mean-rgb_3_128_100_100_0.json").stat().st_mtime_ns
    assert go(tmp_path, "share/mean-rgb/*/*/*/*/0") == json.loads(json.dumps(results))
    assert (folder / "pieces" / "share_mean-rgb_3_128_100_100_0.json").stat().st_mtime_ns == stamp
    assert json.loads((folder / "results.json").read_text()) == results


def test_the_presets_have_what_the_tables_show() -> None:
    for extent in PRESETS.values():
        defaults = {(one.task, one.code.encoder) for one in extent.trials if one.code.stride == 128}
        assert defaults >= {(task, encoder) for task in TASKS for encoder in ENCODERS}
        assert len({one.name for one in extent.trials}) == len(extent.trials) and extent.seeds == (0, 1)
        assert all(json.dumps(extent.described(one)) for one in extent.trials)
    paper = PRESETS["paper"]
    assert (paper.region, paper.views, paper.folds, paper.cohort.slides) == (400, 8, 4, 340)


def test_a_change_of_an_encoder_is_none_of_the_others(tiny: Extent) -> None:
    own, colour = (Trial("presence", default_code(name)) for name in ("supervised", "mean-rgb"))
    assert tiny.described(own)["encoders"]["steps"] == {"supervised": 2}
    assert tiny.described(colour)["encoders"]["steps"] == {"mean-rgb": None}


def row(trial: Trial, value: float) -> Row:
    return Row(trial, ({"all": {"value": value, "low": value - 0.05, "high": value + 0.05}},))


def test_encoders_have_to_beat_both_controls() -> None:
    values = {"untrained": 0.6, "mean-rgb": 0.5, "nic": 0.7, "vae": 0.62, "bigan": 0.5}
    rows = [row(Trial("presence", default_code(name)), value) for name, value in values.items()]
    found = default_rows(rows, "presence")
    told = {name: beats(one, found) for name, one in found.items()}
    assert (told["nic"], told["vae"], told["bigan"]) == ("yes", "not decidable", "no")


def test_one_parameter_is_varied_at_a_time() -> None:
    rows = [row(trial, 0.5) for trial in PRESETS["cpu"].trials]
    assert [one.trial.code.size for one in varied(rows, "size")] == [16, 32, 128]
    assert [one.trial.share for one in varied(rows, "share")] == [0.25, 0.5, 1]
    assert {one.trial.code.encoder for one in varied(rows, "stride")} == {"supervised"}
