"""Rows of different seeds: what is compared, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.experiments.pieces import Pieces
from napari_zoommil.experiments.zoom_ablation.experiment import table as ablation_table
from napari_zoommil.experiments.zoom_k import experiment as zoom_k
from napari_zoommil.experiments.zoom_k.experiment import _draw as draw_k
from napari_zoommil.experiments.zoom_k.experiment import table as k_table
from napari_zoommil.experiments.zoom_models import experiment as zoom_models
from napari_zoommil.experiments.zoom_models.experiment import draw, table, verdict
from napari_zoommil.experiments.zooming import training
from napari_zoommil.experiments.zooming.report import Row, _minutes, rows_of, summarised
from napari_zoommil.experiments.zooming.training import Bench
from napari_zoommil.experiments.zooming.units import ALL, EXTENTS, Unit
from napari_zoommil.jobs import run
from napari_zoommil.training.run import CHECKPOINT

OWN, PEER = Unit("zoommil", "zoommil", ALL, {"k": 5}), Unit("abmil@20x", "abmil", (20.0,))


def result(f1: float | None, *patches: float) -> dict[str, Any]:
    return {**({} if f1 is None else {"weighted F1": f1}), "accuracy": 0.5, "patches": patches or (10.0,)}


def rows(**results: dict[str, Any]) -> list[Row]:
    """``own_0``, ``peer_2``…: unit and seed."""
    names = {"own": OWN.name, "peer": PEER.name}
    keyed = {f"{names[key[:-2]]}/{key[-1]}": one for key, one in results.items()}
    return rows_of([OWN, PEER], keyed)


def test_models_are_compared_on_the_seeds_that_both_have() -> None:
    own = {"own_0": result(0.80, 2, 3), "own_1": result(0.95, 3, 5), "own_2": result(0.95, 3, 5)}
    found = rows(**own, peer_0=result(0.85))
    assert "-5.0 points from that of the best single-scale peer, abmil@20x (over the 1 seed" in verdict(found)
    assert "50.0% of its" in verdict(found), "patches are those of the same seeds"
    assert "| 0, 1, 2 | 90.0 ± 8.7 |" in table(found) and "| 0 | 85.0 |" in table(found)
    found = rows(**own, peer_0=result(0.75), peer_1=result(0.80), peer_5=result(0.99))
    assert "+10.0 ± 7.1 points" in verdict(found) and "2 seeds that both have" in verdict(found)
    assert summarised(found[1])["seeds"] == (0, 1, 5)
    assert verdict(rows(own_0=result(0.8), peer_1=result(0.9))) == "", "no seed in common"


def test_rows_without_the_metric_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(own_0=result(None), own_1=result(0.9), peer_0=result(None))
    assert verdict(found) == "" and verdict(found[1:]) == ""
    assert verdict(rows(own_0=result(0.9), own_1=result(None), peer_0=result(0.8))).startswith("ZoomMIL")
    assert table(found).count("| – |") >= 2
    drawn: list[Any] = []
    monkeypatch.setattr(zoom_models, "write_scatter", lambda path, panels, *_, **__: drawn.append(panels[""]))
    monkeypatch.setattr(zoom_k, "write_svg", lambda path, panels: drawn.append(panels[1].lines))
    draw(tmp_path / "a.svg", found)
    draw_k(tmp_path / "b.svg", found[:1])
    assert drawn == [[], []]
    assert "| 5 | 5 | 0, 1 |" in k_table(found[:1])
    assert "| zoommil |" in ablation_table(found[:1]) and "| 0, 1 |" in ablation_table(found[:1])


def test_the_time_of_a_training_that_was_cut_off_is_a_part() -> None:
    """As is, perhaps, that of an old result, which does not tell."""
    whole = {"seconds": 90.0, "resumed": False}
    assert _minutes([whole, whole]) == "3 minutes in total"
    for other in ({"seconds": 30.0, "resumed": True}, {"seconds": 30.0}):
        assert _minutes([whole, other]).startswith("at least 2 minutes in total (of a training that was cut")


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_result_tells_whether_its_training_was_resumed(
    cut_off: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, tmp_path / "cohort.csv", EXTENTS["cpu"], "cpu")
    monkeypatch.setattr(training, "train", lambda *_, **__: iter(()))
    monkeypatch.setattr(training, "measured", lambda *_: {})
    bench.folder(OWN, 0).mkdir(parents=True)
    if cut_off:
        (bench.folder(OWN, 0) / CHECKPOINT).touch()
    pieces = Pieces(tmp_path, {"zoommil/0": {}})
    run(training.train_one(OWN, 0, bench, pieces))
    assert pieces.read("zoommil/0")["resumed"] is cut_off
