from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil.jobs.finetune_runs import Request, TrainingRun
from napari_zoommil.viewer.docks.finetune.verdict import metrics_table, what_figures_are_of


def trained(kind: str = "cells", **metrics: float) -> TrainingRun:
    return TrainingRun(Path("2026-11-21 14.05.00"), Request("yollo", kind=kind), metrics=metrics)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0.75, 0.88])
def test_a_score_of_its_own_is_told(after: float) -> None:
    told = what_figures_are_of(trained(before_score_threshold=0.75, score_threshold=after))
    assert told.startswith("Too few windows") and ("nine in ten" in told) == (after != 0.75)


def test_figures_of_held_out_windows_are_told_apart() -> None:
    told = what_figures_are_of(trained(exclusive_recall=0.8, before_exclusive_recall=0.7))
    assert told.startswith("On windows it has not seen") and "nine in ten" not in told
    assert "nothing was held out" in what_figures_are_of(trained("mil"))


def test_the_table_has_a_line_for_what_was_measured_twice() -> None:
    table = metrics_table({"before_score_threshold": 0.75, "score_threshold": 0.876, "f1_complete": 0.5})
    assert "score threshold" in table and "0.75" in table and "0.88" in table and "F1" not in table
    assert metrics_table({"f1_complete": 0.5}) == ""


@pytest.mark.parametrize(("after", "told"), [(11196, "1.7 times"), (6000, ""), (2000, "0.31 times"), (0, "")])
def test_many_more_cells_are_told(after: float, told: str) -> None:
    said = what_figures_are_of(trained(before_predictions_per_mm2=6519.0, predictions_per_mm2=after))
    assert (f"finds {told} as many" in said) if told else ("as many" not in said)
