from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtGui import QTextDocument

from napari_zoommil.jobs.finetune_runs import Request, TrainingRun
from napari_zoommil.viewer.docks.finetune.verdict import (
    Verdict,
    metrics_table,
    what_figures_are_of,
    what_figures_mean,
)

LEAST_PX = 270
"""What a dock of its least width leaves for a table."""


def trained(kind: str = "cells", **metrics: float) -> TrainingRun:
    return TrainingRun(Path("2026-11-21 14.05.00"), Request("yollo", kind=kind), metrics=metrics)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0.75, 0.88])
def test_a_score_of_its_own_is_told(after: float) -> None:
    run = trained(before_score_threshold=0.75, score_threshold=after)
    assert what_figures_are_of(run).startswith("Too few windows")
    assert ("as the old model found" in what_figures_mean(run)) == (after != 0.75)


def test_figures_of_held_out_windows_are_told_apart() -> None:
    run = trained(exclusive_recall=0.8, before_exclusive_recall=0.7)
    assert what_figures_are_of(run).startswith("On windows it has not seen")
    assert what_figures_mean(run).startswith("The share of the annotated cells")
    assert "nothing was held out" in what_figures_are_of(trained("mil"))


def test_the_table_has_a_line_for_what_was_measured_twice() -> None:
    table = metrics_table({"before_score_threshold": 0.75, "score_threshold": 0.876, "f1_complete": 0.5})
    assert "score threshold" in table and "0.75" in table and "0.88" in table and "F1" not in table
    assert metrics_table({"f1_complete": 0.5}) == ""


def test_the_table_is_no_wider_than_a_dock(qtbot) -> None:
    shares = {f"exclusive_recall{of}": 0.5 for of in ("", ":cell", ":lymphocyte")}
    parts = {
        f"{name}{part}": value
        for name in shares
        for part, value in (("/cells", 123), ("/low", 0.09), ("/high", 0.91))
    }
    panel = Verdict()
    qtbot.addWidget(panel)
    dense = {"before_predictions_per_mm2": 14323, "predictions_per_mm2": 15031}
    panel.show_run(trained(**shares, **parts, before_exclusive_recall=0.5, **dense))
    document = QTextDocument()
    document.setDefaultFont(panel.table.font())
    document.setHtml(panel.table.text())
    document.setTextWidth(LEAST_PX)
    assert document.size().width() <= LEAST_PX


def test_a_share_of_no_cell_is_left_out() -> None:
    table = metrics_table(
        {
            "before_score_threshold": 0.7,
            "score_threshold": 0.6,
            "exclusive_recall:cell": 1.0,
            "exclusive_recall:cell/cells": 0.0,
            "exclusive_recall:cell/low": 0.0,
            "exclusive_recall:cell/high": 1.0,
        }
    )
    assert "score threshold" in table and "as cell" not in table


def test_a_worse_model_is_told_and_discard_comes_first(qtbot) -> None:
    panel = Verdict()
    qtbot.addWidget(panel)
    for before, worse in ((0.5, False), (0.75, True)):
        panel.show_run(trained(exclusive_recall=0.6, before_exclusive_recall=before))
        first, second = (panel._buttons.itemAtPosition(0, at).widget() for at in (0, 1))
        assert (first, second) == ((panel.discard, panel.keep) if worse else (panel.keep, panel.discard))
        assert panel.keep.text() == ("Keep anyway" if worse else "Keep new")
        assert panel.told.text().startswith("It became worse") == worse
