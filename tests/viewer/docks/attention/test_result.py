"""What was predicted, in the dock: bars or a value, the maps there are, the scores of a patch. No window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QLabel, QProgressBar

from napari_zoommil.jobs.prediction import Cost, Prediction, StepResult
from napari_zoommil.maps.heatmap import rasterise, score_map
from napari_zoommil.models.task import Classification, Regression, Task
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.attention.bars import ProbabilityBars
from napari_zoommil.viewer.docks.attention.maps import MapsPanel
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.sentences import NO_MAPS, kind_title, patch_scores

CLASSES = Classification(("normal", "tumour"))


@pytest.fixture
def predicted(make_grid: Callable) -> Callable[..., Prediction]:
    """A made-up prediction; without ``heads`` the model says nothing of patches."""

    def make(
        task: Task = CLASSES, heads: tuple[str, ...] = ("attention", "zoom"), cam: bool = True
    ) -> Prediction:
        grid, rng = make_grid(3, 4, (5.0, 10.0), patch_size=128), np.random.default_rng(0)
        steps, maps = [], []
        for level in range(2 if heads else 0):
            rows = np.arange(0, len(grid.levels[level]), 2)
            own = heads[: len(heads) - level]
            scores = rng.normal(size=(len(rows), len(own))).astype(np.float32)
            cams = rng.normal(size=(len(task.names), len(rows))).astype(np.float32) if cam else None
            steps.append(StepResult(level, rows, scores, own, rows[:3], cams))
            maps += [
                score_map(grid, level, rows, column, None, head, task.names)
                for head, column in zip(own, scores.T, strict=True)
            ]
            for index, name in enumerate(task.names if cam else ()):
                maps.append(rasterise(grid, level, rows, cams[index], None, "grad-cam", name))  # type: ignore[index]
        values = np.array([0.07, 0.93] if len(task.names) == 2 else [12.345], np.float32)
        cost = Cost((6, 6), 1.0, "cpu")
        return Prediction("s", "f", "m", task, values, values, grid, tuple(steps), tuple(maps), cost)

    return make


@pytest.fixture
def shown(qtbot, small_slide) -> Callable[[Prediction], tuple[MapsPanel, ViewerModel, Slide]]:
    """The panel beside a viewer without a window."""

    def make(prediction: Prediction) -> tuple[MapsPanel, ViewerModel, Slide]:
        viewer = ViewerModel()
        data, arguments, _ = open_slide_layer(small_slide)
        slide = slide_of(viewer.add_image(data, **arguments))
        panel = MapsPanel(viewer)  # type: ignore[arg-type]
        qtbot.addWidget(panel)
        panel.set_slide(SimpleNamespace(slide=slide, prediction=prediction))  # type: ignore[arg-type]
        return panel, viewer, slide

    return make


def titles(viewer: ViewerModel) -> list[str]:
    return [layer.name.removeprefix("small · ") for layer in viewer.layers[1:]]


def test_classes_are_bars_and_a_number_has_its_unit(qtbot, predicted: Callable[..., Prediction]) -> None:
    bars = ProbabilityBars()
    qtbot.addWidget(bars)
    for task, words, count in (
        (CLASSES, ["normal", "0.07", "tumour", "0.93"], 2),
        (Regression("cells/mm²", "density"), ["density", "12.35 cells/mm²"], 0),
    ):
        bars.show_prediction(predicted(task))
        items = [bars._grid.itemAt(index).widget() for index in range(bars._grid.count())]
        assert [one.text() for one in items if isinstance(one, QLabel)] == words
        assert sum(isinstance(one, QProgressBar) for one in items) == count


def test_each_attention_and_each_class_has_maps(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, viewer, _ = shown(predicted())
    kinds = ["Attention", "Zoom attention", "Grad-CAM normal", "Grad-CAM tumour"]
    assert [panel.what.itemText(index) for index in range(panel.what.count())] == kinds
    assert titles(viewer)[:2] == ["attention 5x", "attention 10x"] and panel.target is None
    panel.what.setCurrentText("Zoom attention")
    assert titles(viewer)[:1] == ["zoom attention 5x"] and "attention 5x" not in titles(viewer)
    panel.what.setCurrentText("Grad-CAM tumour")
    assert titles(viewer)[:2] == ["Grad-CAM tumour 5x", "Grad-CAM tumour 10x"] and panel.target == "tumour"
    assert panel.lack.isHidden() and not panel._controls.isHidden()


def test_what_was_not_explained_is_not_offered(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, _, _ = shown(predicted(heads=("normal", "tumour"), cam=False))
    assert [panel.what.itemText(index) for index in range(panel.what.count())] == [
        "Attention normal", "Attention tumour",
    ]  # fmt: skip
    assert panel.target is None


def test_a_model_without_patch_scores_says_why_there_is_no_map(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, viewer, _ = shown(predicted(heads=()))
    assert not panel.lack.isHidden() and panel.lack.text() == NO_MAPS and panel._controls.isHidden()
    assert titles(viewer) == []


def test_a_patch_tells_each_score_and_its_rank(predicted: Callable[..., Prediction]) -> None:
    prediction = predicted()
    step = prediction.steps[0]
    y, x = prediction.grid.levels[0].origins[step.rows[1]] + 1
    coarse, _ = patch_scores(prediction, y, x, "tumour").split("\n")
    ranks = [1 + int((column > column[1]).sum()) for column in step.scores.T]
    assert coarse == (
        f"5x  attention {step.scores[1, 0]:+.2f} (no. {ranks[0]} of 6) · "
        f"zoom attention {step.scores[1, 1]:+.2f} (no. {ranks[1]} of 6) · "
        f"tumour {step.grad_cam[1, 1]:+.3g} · zoomed in"  # type: ignore[index]
    )
    plain = replace(prediction, steps=tuple(replace(one, grad_cam=None) for one in prediction.steps))
    assert "tumour" not in patch_scores(plain, y, x, "tumour")
    assert patch_scores(predicted(heads=()), y, x, "tumour") == ""


def test_kinds_of_maps_read_as_titles() -> None:
    assert [kind_title(*one) for one in (("attention", None), ("zoom", None), ("max", None))] == [
        "Attention", "Zoom attention", "Max",
    ]  # fmt: skip
    assert kind_title("grad-cam", "tumour") == "Grad-CAM tumour"
