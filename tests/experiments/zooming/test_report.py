"""Rows of different seeds: what is compared, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_zoommil.experiments.zoom_ablation.experiment import table as ablation_table
from napari_zoommil.experiments.zoom_k.experiment import _draw as draw_k
from napari_zoommil.experiments.zoom_k.experiment import table as k_table
from napari_zoommil.experiments.zoom_models.experiment import draw, table, verdict
from napari_zoommil.experiments.zooming.report import Row, rows_of, summarised
from napari_zoommil.experiments.zooming.units import ALL, Unit

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


def test_rows_without_the_metric_are_left_out(tmp_path: Path) -> None:
    found = rows(own_0=result(None), own_1=result(0.9), peer_0=result(None))
    assert verdict(found) == "" and verdict(found[1:]) == ""
    assert verdict(rows(own_0=result(0.9), own_1=result(None), peer_0=result(0.8))).startswith("ZoomMIL")
    assert table(found).count("| – |") >= 2
    for number, (write, of) in enumerate([(draw, found), (draw_k, found[:1])]):
        write(tmp_path / f"{number}.svg", of)
    assert "| 5 | 5 | 0, 1 |" in k_table(found[:1])
    assert "| zoommil |" in ablation_table(found[:1]) and "| 0, 1 |" in ablation_table(found[:1])
