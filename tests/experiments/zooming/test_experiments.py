"""The experiments with trainings on a tiny cohort: each training once, tables beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from napari_zoommil.cli import main
from napari_zoommil.errors import CohortError, JobError
from napari_zoommil.experiments.reproduce import Reproduction, reproduce
from napari_zoommil.experiments.zooming import training
from napari_zoommil.experiments.zooming.training import train_one
from napari_zoommil.experiments.zooming.units import Unit
from napari_zoommil.jobs import run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trainings from now on."""
    names: list[str] = []

    def spy(unit: Unit, seed: int, *others: Any) -> Generator:
        names.append(f"{unit.name}/{seed}")
        return train_one(unit, seed, *others)

    monkeypatch.setattr(training, "train_one", spy)
    return names


def go(experiment: str, out: Path, data: Path, *only: str) -> Reproduction:
    return run(reproduce(experiment, out=out, data=data, only=list(only), device="cpu"))


def row(result: Reproduction, name: str) -> dict[str, Any]:
    return next(one for one in result.results["summary"] if one["name"] == name)


def test_models_stand_beside_the_papers_numbers(coloured: Path, tmp_path: Path, trained: list[str]) -> None:
    result = go("zoom-models", tmp_path, coloured, "zoommil/0", "abmil@20x")
    assert trained == ["zoommil/0", "abmil@20x/0", "abmil@20x/1"]
    assert [path.name for path in result.files] == ["results.json", "table.md", "figure.svg"]
    assert result.out == tmp_path / "zoom-models"
    results = json.loads(result.files[0].read_text())
    assert results == json.loads(json.dumps(result.results)) and len(results["trainings"]) == 3
    ours, peer = row(result, "zoommil"), row(result, "abmil@20x")
    assert 0 < max(ours["patches"][1:]) <= 2 * 4, "children of K patches"
    assert sum(ours["patches"]) < sum(peer["patches"])
    values = [results["trainings"][f"abmil@20x/{seed}"]["weighted F1"] for seed in (0, 1)]
    assert peer["metrics"]["weighted F1"]["mean"] == pytest.approx(sum(values) / 2)
    table = result.files[1].read_text()
    assert "| 90.1 ± 0.6 | 63.5 ± 2.7 | 83.2 ± 1.7 |" in table, "ABMIL at the highest magnification"
    assert "| 92.0 ± 0.6 | 68.3 ± 1.1 | – |" in table, "on CAMELYON16 it zooms once"
    assert "from that of the best single-scale peer, abmil@20x" in table
    assert ElementTree.parse(result.files[2]).getroot().tag.endswith("svg")


def test_experiments_share_trainings(coloured: Path, tmp_path: Path, trained: list[str]) -> None:
    first = go("zoom-ablation", tmp_path, coloured, "zoommil,last/0")
    assert trained == ["zoommil/0", "last/0"]
    table = first.files[1].read_text()
    assert "| last | aggregation: the highest magnification alone |" in table and "| 62.7 | 63.5 |" in table
    trained.clear()
    few = go("zoom-k", tmp_path, coloured, "zoommil,k1-16/0")
    assert trained == ["k1-16/0"], "K is 2 in both"
    assert row(few, "zoommil") == row(first, "zoommil")
    middle, high = row(few, "k1-16")["patches"][1:]
    assert middle <= 4 and high <= 4 * 4, "one patch, then all of its children"
    assert "| 1 | 16 |" in few.files[1].read_text() and "| 2 | 2 |" in few.files[1].read_text()


def test_a_run_that_is_cut_off_goes_on(coloured: Path, tmp_path: Path, trained: list[str]) -> None:
    job = reproduce("zoom-models", out=tmp_path, data=coloured, only=["zoommil/0,1"], device="cpu")
    while "zoommil/1" not in next(job).note:
        pass
    job.close()
    assert trained == ["zoommil/0", "zoommil/1"] and not (tmp_path / "zoom-models").exists()
    trained.clear()
    go("zoom-models", tmp_path, coloured, "zoommil/0,1")
    assert trained == ["zoommil/1"]


def test_errors_come_before_any_work(coloured: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(JobError, match="'clam' matches none of the pieces zoommil/0"):
        go("zoom-models", tmp_path / "a", coloured, "clam")
    (tmp_path / "cohort.csv").write_text("slide,label\na.tif,pink\n")
    with pytest.raises(CohortError, match="split"):
        go("zoom-models", tmp_path / "a", tmp_path)
    assert not (tmp_path / "a").exists()
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "zoom-k", "--out", str(tmp_path), "--data", str(coloured), "--only", "k99"])
    assert end.value.code == 1 and "k99" in capsys.readouterr().err
