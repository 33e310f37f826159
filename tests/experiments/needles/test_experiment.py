"""``needle-mnist`` on a tiny preset: each training once, tables, figure, verdicts."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from napari_zoommil.cli import main
from napari_zoommil.errors import CohortError, JobError
from napari_zoommil.experiments.needle_mnist import experiment as needles
from napari_zoommil.experiments.needles.training import train_one
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.jobs import Progress, run


@pytest.fixture
def trained(tiny: Extent, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def spy(trial: Trial, extent: Any, seed: int, *others: Any) -> Generator:
        names.append(f"{trial.name(tiny.base)}/{seed}")
        return train_one(trial, extent, seed, *others)

    monkeypatch.setattr(needles, "experiment", replace(needles.experiment, work=spy))
    return names


def test_every_trial_once_with_tables_and_figure(
    mnist: Path, tmp_path: Path, tiny: Extent, trained: list[str]
) -> None:
    seen: list[Progress] = []
    job = reproduce("needle-mnist", out=tmp_path, data=mnist, only=["18/9/max/base/0"], device="cpu")
    first = run(job, seen.append)
    assert trained == ["18/9/max/base/0"] and list(first.results["runs"]) == trained
    assert seen[-1].done == seen[-1].total
    ended = [line for one in seen if one.partial for line in one.partial.lines]
    assert len(ended) == 1 and ended[0].startswith("18/9/max/base/0: test 0.")
    whole = run(reproduce("needle-mnist", out=tmp_path, data=mnist, device="cpu"))
    assert trained == list(tiny.pieces()) and len(trained) == len(set(trained))
    results = json.loads((tmp_path / "needle-mnist" / "results.json").read_text())
    assert results == json.loads(json.dumps(whole.results)) and len(results["runs"]) == 8
    both = next(one for one in results["trials"] if one["name"] == "18/9/max/base")
    values = [results["runs"][f"18/9/max/base/{seed}"]["test"] for seed in (0, 1)]
    assert both["test"]["mean"] == pytest.approx(sum(values) / 2)
    table = (tmp_path / "needle-mnist" / "table.md").read_text()
    for title in ("Receptive field", "Pooling", "Training images", "Filters", "Optimisation", "Smallest"):
        assert f"## {title}" in table
    assert f"| 18/9/max/base | 25 | 2 | {100 * both['test']['mean']:.1f} ±" in table
    assert len(results["findings"]) == 4 and all(one["verdict"] in table for one in results["findings"])
    figure = ElementTree.parse(tmp_path / "needle-mnist" / "figure.svg").getroot()
    texts = "".join(figure.itertext())
    assert "chance" in texts and "gaussian" in texts, "the controls stand in the figure"


def test_errors_come_before_any_work(mnist: Path, tmp_path: Path, trained: list[str]) -> None:
    with pytest.raises(JobError, match="matches none"):
        run(reproduce("needle-mnist", out=tmp_path, data=mnist, only=["64/9"]))
    with pytest.raises(CohortError, match="no file"):
        run(reproduce("needle-mnist", out=tmp_path, data=tmp_path, device="cpu", only=["18/5"]))
    with pytest.raises(CohortError, match="not a folder"):
        run(reproduce("needle-mnist", out=tmp_path, data=tmp_path / "none"))
    assert trained == ["18/5/max/base/0"]


def test_the_command_prints_what_has_ended(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["reproduce", "needle-mnist", "--out", tmp_path, "--data", mnist, "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--only", "18/5"])
    printed = capsys.readouterr()
    assert not end.value.code and "18/5/max/base/0: test 0." in printed.err
    assert str(tmp_path / "needle-mnist" / "table.md") in printed.out
