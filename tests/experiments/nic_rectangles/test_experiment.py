"""``nic-rectangles`` on a tiny preset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.nic_rectangles.experiment import NAME
from napari_zoommil.experiments.nic_rectangles.report import varied
from napari_zoommil.experiments.nic_rectangles.training import network_of, turned
from napari_zoommil.experiments.nic_rectangles.trials import EXTENTS, Extent, Network, Trial
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.trial_rows import Row, rows_of
from napari_zoommil.jobs import run

PAPER, CPU = EXTENTS["paper"], EXTENTS["cpu"]


def go(out: Path, mnist: Path, *only: str) -> dict[str, Any]:
    return run(reproduce("nic-rectangles", out=out, data=mnist, only=list(only), device="cpu")).results


def test_trials_tables_and_figures(mnist: Path, tmp_path: Path) -> None:
    first = go(tmp_path, mnist, "*/*/*/*/0")
    assert list(first["pieces"]) == [f"{trial.name}/0" for trial in EXTENTS["cpu"].trials]
    for result in first["pieces"].values():
        assert 0 <= result["accuracy"] <= 1 and len(result["epochs"]) == 2
        assert sum(one["images"] for one in result["by_size"].values()) == 30
        ceiling, chance = (result["maps"][kind]["jaccard"] for kind in ("true class", "random"))
        assert ceiling > 2 * chance, "what knows the answer finds the rectangle"
    table = (tmp_path / NAME / "table.md").read_text()
    assert "| supervised/16/9/100 |" in table and "| 0.612 |" in table
    texts = {
        name: "".join(ElementTree.parse(tmp_path / NAME / f"{name}.svg").getroot().itertext())
        for name in ("figure", "maps")
    }
    assert "chance" in texts["figure"] and "mean" in texts["figure"], "controls stand in the figures"
    for name in ("random (control)", "all digits (control)", "(ceiling)", "the paper", "wrong answers"):
        assert name in texts["maps"]
    with np.load(tmp_path / NAME / "pieces" / "supervised_16_9_100_0.npz") as content:
        assert content["truth"].shape == content["maps"].shape == (6, 16, 16)
    assert (tmp_path / NAME / "maps-0.png").stat().st_size > 1000
    stamp = (tmp_path / NAME / "pieces" / "supervised_16_9_100_0.json").stat().st_mtime_ns
    again = go(tmp_path, mnist, "supervised/16/9/100")
    assert again["pieces"].keys() - first["pieces"].keys() == {"supervised/16/9/100/1"}
    assert (tmp_path / NAME / "pieces" / "supervised_16_9_100_0.json").stat().st_mtime_ns == stamp
    assert json.loads((tmp_path / NAME / "results.json").read_text())["pieces"] == again["pieces"]
    with pytest.raises(JobError, match="matches none"):
        go(tmp_path, mnist, "pca")


def test_the_presets_have_what_the_figure_shows() -> None:
    for extent in (PAPER, CPU):
        own = extent.trials
        assert {one.stride for one in own} == {5, 9, 18} and {one.code for one in own} >= {4, 8, 16, 32, 64}
        assert {"supervised", "vae", "contrastive", "bigan", "untrained", "mean"} == {
            one.encoder for one in own
        }
        assert len({one.name for one in own}) == len(own)
        assert all(json.dumps(extent.described(one)) for one in own)
    assert (PAPER.plan.size, PAPER.plan.digits, PAPER.images["test"]) == (3600, 25_920, 25_000)
    assert network_of(PAPER.network, 16, 400).padding == "valid"
    assert network_of(PAPER.network, 16, 200).padding == "same", "at a stride of 18 px nothing would be left"


def test_the_papers_plateau_ends_the_training(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plateau = Network(8, (2, 1), "same", 0.2, "plateau", 1e-2, 1e-5, 16, 12, patience=0)
    tiny = EXTENTS["cpu"]
    small = Extent(tiny.plan, plateau, tiny.steps, 30, tiny.images, (Trial("mean", 1),), (0,), 4, 4)
    monkeypatch.setitem(EXTENTS, "cpu", small)
    epochs = go(tmp_path, mnist)["pieces"]["mean/1/9/100/0"]["epochs"]
    assert 4 <= len(epochs) < 12, "four times a tenth, each after an epoch without a rise"


def test_views_are_the_eight_of_a_square() -> None:
    array = torch.arange(9.0).view(1, 1, 3, 3)
    views = {tuple(turned(array, view).flatten().tolist()) for view in range(8)}
    assert len(views) == 8 and torch.equal(turned(array, 0), array)


def test_rows_are_means_over_seeds(tiny: Extent) -> None:
    results = {
        f"{Trial().name}/{seed}": {"accuracy": value, "maps": {}} for seed, value in ((0, 0.5), (1, 0.7))
    }
    rows = rows_of(tiny, results | {f"{Trial('mean', 1).name}/0": {"accuracy": 0.1}})
    assert rows[0].shown("accuracy") == "0.600 ± 0.141" and rows[1].shown("accuracy") == "0.100"
    assert rows[0].shown("maps", "random", "jaccard") == "–"
    assert [row.trial for row in varied(rows, "stride")] == [Trial()]
    assert isinstance(rows[0], Row)
