"""``nic-slides`` on a tiny preset: each piece once, tables beside the paper's, figures with controls."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.nic_slides import codes, experiment, trials
from napari_zoommil.experiments.nic_slides.comparison import beats, default_rows, varied
from napari_zoommil.experiments.nic_slides.experiment import NAME
from napari_zoommil.experiments.nic_slides.figures import has_examples, panels, published, tables
from napari_zoommil.experiments.nic_slides.trials import (
    ENCODERS,
    EXTENTS,
    TASKS,
    Encoders,
    Extent,
    Trial,
    default_code,
)
from napari_zoommil.experiments.reproduce import Reproduction, reproduce
from napari_zoommil.experiments.trial_rows import Row
from napari_zoommil.experiments.zooming.cohort import MadeCohort
from napari_zoommil.jobs import run
from napari_zoommil.models.entries_nic import NICOptions
from napari_zoommil.models.nic import NIC
from napari_zoommil.models.registry import entry

PRESETS = dict(EXTENTS)


def go(out: Path, *only: str) -> dict[str, Any]:
    return run(reproduce(NAME, out=out, only=list(only), device="cpu")).results


def test_a_run_from_slides_to_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match="matches none"):
        go(tmp_path, "presence/pca")
    results = go(tmp_path, "*/*/*/*/*/*/0")
    assert list(results["pieces"]) == [f"{one.name}/0" for one in EXTENTS["cpu"].trials]
    assert set(results["encoders"]) == {"supervised/128"}
    named, number = results["pieces"].values()
    assert set(named) >= {"all", "test", "macro", "sizes", "maps"} and named["slides"] == 9
    assert named["sizes"][0]["radius"] == 0 and named["sizes"][1]["radius"] == pytest.approx(
        np.sqrt(512**2 / np.pi) / 4000, rel=1e-3
    )
    assert {"jaccard", "jaccard_random", "jaccard_density", "pointing", "low"} <= set(named["maps"])
    assert named["maps"]["pointing_density"] == named["maps"]["average_precision_density"] == 1, "darker"
    assert named["maps"]["jaccard_density"] > named["maps"]["jaccard_random"]
    assert set(number) >= {"all", "test", "maps"} and "macro" not in number
    assert [truth for _, truth in named["values"].values()] == [0.0] * 3 + [1.0] * 6, "all, by name"
    folder = tmp_path / NAME
    table = (folder / "table.md").read_text()
    assert "| 0.760 ± 0.002 | 0.771 ± 0.002 | 0.914 ± 0.000 |" in table and "| control |" in table
    figures = {
        name: ElementTree.parse(folder / f"{name}.svg").getroot() for name in ("figure", "encoders", "maps")
    }
    texts = {name: "".join(root.itertext()) for name, root in figures.items()}
    assert "mean-rgb (control)" in texts["encoders"] and "the paper" in texts["encoders"]
    assert "density map (control)" in texts["maps"] and "chance" in texts["figure"]
    assert (folder / "maps-presence.png").stat().st_size > 1000
    with np.load(folder / "pieces" / "presence_supervised_128_128_100_100_0.npz") as kept:
        for number in range(2):
            left, right, bottom, top = kept[f"at{number}"] * 256 / kept[f"within{number}"][1]
            shown = kept[f"picture{number}"][int(top) : int(bottom), int(left) : int(right)].mean(2)
            truth = np.kron(kept[f"truth{number}"], np.ones((64, 64), bool))[: len(shown)]
            assert truth.any() and shown[truth].mean() < shown[~truth].mean() - 50, "in one frame"
    stamp = (folder / "pieces" / "share_mean-rgb_3_128_100_100_0.json").stat().st_mtime_ns
    monkeypatch.setattr(
        experiment, "write_results", lambda folder, content, *_: Reproduction(folder, (), content)
    )
    assert go(tmp_path, "share/mean-rgb/*/*/*/*/0") == json.loads(json.dumps(results))
    assert (folder / "pieces" / "share_mean-rgb_3_128_100_100_0.json").stat().st_mtime_ns == stamp
    assert json.loads((folder / "results.json").read_text()) == results


def test_the_presets_have_what_the_tables_show() -> None:
    for extent in PRESETS.values():
        defaults = {(one.task, one.code.encoder) for one in extent.trials if one.code.stride == 128}
        assert defaults >= {(task, encoder) for task in TASKS for encoder in ENCODERS}
        assert len({one.name for one in extent.trials}) == len(extent.trials) and extent.seeds == (0, 1)
        assert all(json.dumps(extent.described(one)) for one in extent.trials)
        for trial in extent.trials:
            known = entry("nic").recipes[extent.recipes[trial.task]].options
            options = NICOptions(**{**known, **extent.options_of(trial)})
            assert NIC(4, options=options).network.smallest <= extent.edge(trial) == options.region
    paper = PRESETS["paper"]
    assert (paper.region, paper.views, paper.folds, paper.cohort.slides) == (400, 8, 4, 340)


def test_a_change_of_an_encoder_is_none_of_the_others(tiny: Extent) -> None:
    own, colour = (Trial("presence", default_code(name)) for name in ("supervised", "mean-rgb"))
    assert tiny.described(own)["encoders"]["steps"] == {"supervised": 2}
    assert tiny.described(colour)["encoders"]["steps"] == {"mean-rgb": None}


CHANGED: dict[str, Any] = {
    "cohort": MadeCohort(9, 1024, 0.03, 0.2, 70_000), "encoders": Encoders(MadeCohort(5, 1024)), "region": 5,
    "recipes": {}, "options": {}, "settings": {}, "views": 2, "min_tissue": 0.2, "macro": 0.1, "folds": 4,
    "tuned": 3, "explained": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", [one.name for one in fields(Extent) if one.name not in ("trials", "seeds")])
def test_all_of_a_preset_determines_a_training(tiny: Extent, name: str) -> None:
    trial = tiny.trials[0]
    assert replace(tiny, **{name: CHANGED[name]}).described(trial) != tiny.described(trial)


def test_so_do_the_trial_and_the_weights_of_the_registry(
    tiny: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Trial("presence", default_code("nic"))
    told = [
        tiny.described(one) for one in (shipped, replace(shipped, region=0.5), replace(shipped, share=0.5))
    ]
    assert told[0] != told[1] != told[2] != told[0] and len(told[0]["weights"]) == 16
    monkeypatch.setattr(trials, "_hash_of", lambda _: "other")
    assert tiny.described(shipped) != told[0]
    assert codes._settings(shipped.code, tiny) == "other"


def row(trial: Trial, value: float, values: dict[str, list[float]] | None = None) -> Row:
    measured = {"value": value, "low": value - 0.05, "high": value + 0.05}
    return Row(trial, ({"all": measured, "values": values or {}, "sizes": [], "seconds": 1.0},))


def test_encoders_have_to_beat_the_better_control_on_the_same_slides() -> None:
    rng, truth = np.random.default_rng(0), np.arange(60) % 2
    noise = rng.normal(size=60)
    told = {
        "untrained": truth + 1.5 * noise, "mean-rgb": -noise,
        "nic": truth + 0.5 * noise, "vae": truth + 1.49 * noise, "bigan": -truth + 0.5 * noise,
    }  # fmt: skip
    rows = []
    for name, values in told.items():
        each = {f"{n:02}": [float(value), float(truth[n])] for n, value in enumerate(values)}
        area = np.mean(values[truth == 1][:, None] > values[truth == 0])
        rows.append(row(Trial("presence", default_code(name)), float(area), each))
    found = default_rows(rows, "presence")
    said = {name: beats(one, found) for name, one in found.items()}
    assert said["nic"].startswith("yes: +") and said["bigan"].startswith("no: -")
    assert said["vae"].startswith("not decidable")
    below = {name: found[name] for name in ("mean-rgb", "bigan")}
    assert below["mean-rgb"].results[0]["all"]["value"] < 0.6
    assert beats(below["bigan"], below).startswith("no: -0.4"), "below chance, as the control is"
    assert not beats(found["nic"], {"nic": found["nic"]}).startswith("yes"), "there is no control"


def test_figures_without_sizes_or_examples(tmp_path: Path) -> None:
    first, *others = panels([row(Trial("presence", default_code("vae")), 0.2)])
    assert not first.lines and len(others) == 4
    low, _ = panels([row(Trial("presence", default_code("supervised")), 0.2)])[1].limits or (1, 1)
    assert low <= 0.2
    np.savez(tmp_path / "none.npz")
    assert not has_examples(tmp_path / "none.npz") and not has_examples(tmp_path / "missing.npz")


def test_the_papers_numbers_have_the_names_of_bars() -> None:
    names = ("vae", "contrastive", "bigan", "supervised", "mean-rgb")
    bars = tables([row(Trial(task, default_code(name)), 0.5) for task in TASKS for name in names])
    assert {title: own.keys() - {"chance"} for title, own in bars.items()} == {
        title: own.keys() for title, own in published().items()
    }
    assert published()["AUC, all (Table 2)"]["mean-rgb (control)"] == 0.582


def test_one_parameter_is_varied_at_a_time() -> None:
    rows = [row(trial, 0.5) for trial in PRESETS["cpu"].trials]
    assert [one.trial.code.size for one in varied(rows, "size")] == [16, 32, 128]
    assert [one.trial.share for one in varied(rows, "share")] == [0.25, 0.5, 1]
    assert {one.trial.code.encoder for one in varied(rows, "stride")} == {"supervised"}
