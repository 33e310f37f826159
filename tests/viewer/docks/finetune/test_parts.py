from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_zoommil.annotations import CellClass
from napari_zoommil.jobs.finetune_plan import TrainingSet
from napari_zoommil.viewer.docks.finetune.parts import what_it_trains_on


def test_points_off_the_slide_are_told() -> None:
    cells = CellClass("cell", (1, 2, 3))
    found = TrainingSet(Path("points.geojson"), None, ((cells, 42),), windows=7, held_out=1)
    assert "off the slide" not in what_it_trains_on(found)
    assert what_it_trains_on(replace(found, off_slide=1)).endswith("; 1 point off the slide left out")
    nothing = TrainingSet(Path("points.geojson"), None)
    assert what_it_trains_on(nothing).startswith("No points yet: ")
    assert what_it_trains_on(replace(nothing, off_slide=45)).startswith(
        "No points on the slide, and 45 points off it"
    )
