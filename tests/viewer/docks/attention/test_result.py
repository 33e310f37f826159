"""What was predicted, in the dock: bars or a value, the maps there are, the scores of a patch. No window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QComboBox, QLabel, QProgressBar

from napari_zoommil.familiarity import Verdict
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.patch_table import patch_tables
from napari_zoommil.jobs.prediction import Cost, Prediction, StepResult
from napari_zoommil.maps.heatmap import rasterise, score_map
from napari_zoommil.maps.legend import legend_of
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.models.task import Classification, Regression, Task
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.attention.bars import GREY, ProbabilityBars
from napari_zoommil.viewer.docks.attention.maps import MapsPanel
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.sentences import LITTLE, NO_MAPS, kind_help, kind_title, patch_scores, times

CLASSES = Classification(("normal", "tumour"))


@pytest.fixture
def predicted(make_grid: Callable) -> Callable[..., Prediction]:
    """A made-up prediction; without ``heads`` the model says nothing of patches."""

    def make(
        task: Task = CLASSES, heads: tuple[str, ...] = ("attention", "zoom"), added: bool = True
    ) -> Prediction:
        grid, rng = make_grid(3, 4, (5.0, 10.0), patch_size=128), np.random.default_rng(0)
        steps, maps = [], []
        for level in range(2 if heads else 0):
            rows = np.arange(0, len(grid.levels[level]), 2)
            own = heads[: len(heads) - level]
            scores = rng.normal(size=(len(rows), len(own))).astype(np.float32)
            evidence = rng.normal(size=(len(task.names), len(rows))).astype(np.float32) if added else None
            steps.append(StepResult(level, rows, scores, own, rows[:3], evidence))
            maps += [
                score_map(grid, level, rows, column, None, head, task.names)
                for head, column in zip(own, scores.T, strict=True)
            ]
            maps += [
                rasterise(grid, level, rows, values, None, method, name)
                for method, of_outputs in steps[-1].explained.items()
                for name, values in zip(task.names, of_outputs, strict=True)
            ]
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
        asked: list[str] = []
        panel = MapsPanel(viewer, asked.append)  # type: ignore[arg-type]
        qtbot.addWidget(panel)
        made: dict[str, Explanation] = {}
        entry = SimpleNamespace(slide=slide, prediction=prediction, explanation=made.get)
        panel.set_slide(entry)  # type: ignore[arg-type]
        panel.asked, panel.made = asked, made  # type: ignore[attr-defined]
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


def test_bars_are_grey_below_the_sentence_where_the_tissue_is_unlike(qtbot, predicted) -> None:
    bars = ProbabilityBars()
    qtbot.addWidget(bars)
    for verdict, grey in ((Verdict("known", 0.9, 0.25, 50), True), (Verdict("known", 0.1, 0.25, 50), False)):
        bars.show_prediction(replace(predicted(), familiarity=verdict))
        assert bars.familiarity.text().lower() == verdict.sentence.lower()
        assert bars.layout().itemAt(0).widget() is bars.familiarity, "it stands above the bars"
        assert bool(bars.familiarity.styleSheet()) is grey
        items = [bars._grid.itemAt(index).widget() for index in range(bars._grid.count())]
        assert all((GREY in one.styleSheet()) is grey for one in items)
    bars.show_prediction(predicted())
    assert "unknown" in bars.familiarity.text() and not bars.familiarity.styleSheet()
    bars.show_prediction(None)
    assert bars.familiarity.isHidden()


def test_a_map_of_familiarity_is_offered_where_there_can_be_one(predicted, shown) -> None:
    panel, _, _ = shown(replace(predicted(), familiarity=Verdict("known", 0.1, 0.25, 50)))
    assert choices(panel.what)[-1] == "Familiarity"
    panel.what.setCurrentIndex(panel.what.count() - 1)
    assert panel.asked == ["familiarity"] and panel.target is None


def choices(box: QComboBox) -> list[str]:
    return [box.itemText(index) for index in range(box.count())]


COMPUTED = ["Grad-CAM", "Saliency", "Occlusion", "Occlusion by glass"]


def test_each_attention_and_each_method_has_maps(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, viewer, _ = shown(predicted())
    assert choices(panel.what) == ["Attention", "Zoom attention", "Evidence", "Leave-one-out", *COMPUTED]
    assert titles(viewer) == ["attention"] and panel.target is None
    assert panel._of.isHidden() and "gathers its answer from" in panel.about.text()
    panel.what.setCurrentText("Zoom attention")
    assert titles(viewer) == ["zoom attention"]
    panel.what.setCurrentText("Leave-one-out")
    assert choices(panel.output) == ["normal", "tumour"] and not panel._of.isHidden()
    assert panel.target == "tumour", "the predicted class"
    assert titles(viewer)[:2] == ["leave-one-out tumour"]
    panel.output.setCurrentText("normal")
    panel.what.setCurrentText("Evidence")
    assert titles(viewer)[:2] == ["evidence normal"], "the class stays"


def test_a_method_is_computed_when_it_is_chosen(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    prediction = predicted()
    panel, viewer, _ = shown(prediction)
    panel.what.setCurrentText("Grad-CAM")
    assert panel.asked == ["grad-cam"]
    assert titles(viewer)[:2] == ["attention"], "what was shown stays until it is there"
    maps = tuple(
        rasterise(prediction.grid, 0, np.arange(12), np.full(12, value, np.float32), None, "grad-cam", name)
        for value, name in ((-1, "normal"), (1, "tumour"))
    )
    panel.made["grad-cam"] = Explanation("grad-cam", None, prediction, (), maps)
    panel.refresh()
    assert titles(viewer) == ["Grad-CAM tumour"]
    assert panel.asked == ["grad-cam"]
    panel.what.setCurrentText("Saliency")
    panel.revert()
    assert panel.what.currentText() == "Grad-CAM" and panel.asked == ["grad-cam", "saliency"]


def test_a_head_for_each_class_is_chosen_by_its_class(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, viewer, _ = shown(predicted(heads=("normal", "tumour"), added=False))
    assert choices(panel.what) == ["Attention", *COMPUTED]
    assert choices(panel.output) == ["normal", "tumour"] and titles(viewer)[0] == "attention tumour"


def test_heads_of_several_kinds_are_kinds_with_their_classes(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    heads = ("normal", "tumour", "instance normal", "instance tumour")
    panel, viewer, _ = shown(predicted(heads=heads, added=False))
    assert choices(panel.what) == ["Attention", "Instance score", *COMPUTED]
    panel.what.setCurrentText("Instance score")
    assert choices(panel.output) == ["normal", "tumour"]
    assert titles(viewer)[0] == "instance score tumour"
    panel.output.setCurrentText("normal")
    assert titles(viewer)[0] == "instance score normal"


def test_a_model_without_patch_scores_says_why_there_is_no_map(
    predicted: Callable[..., Prediction], shown: Callable[..., Any]
) -> None:
    panel, viewer, _ = shown(predicted(heads=()))
    assert choices(panel.what) == ["Nothing", *COMPUTED] and panel.about.text() == NO_MAPS
    assert titles(viewer) == [] and panel.asked == []
    panel.what.setCurrentText("Grad-CAM")
    assert panel.asked == ["grad-cam"]


def signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")


def test_a_patch_is_told_in_words(predicted: Callable[..., Prediction]) -> None:
    prediction = predicted()
    step = prediction.steps[0]
    y, x = prediction.grid.levels[0].origins[step.rows[1]] + 1
    coarse, _ = patch_scores(prediction, y, x, "tumour").split("\n")
    shares = np.exp(step.scores) / np.exp(step.scores).sum(0) * len(step.rows)
    rank = 1 + int((step.scores[:, 0] > step.scores[1, 0]).sum())
    heads = (
        f"{shares[1, 0]:.2g} times the average attention at 5x (no. {rank} of 6), "
        f"zoom attention {shares[1, 1]:.2g} times"
    )
    value = step.explained["leave-one-out"][1, 1]
    side = "for" if value > 0 else "against"
    assert abs(value) > LITTLE, "else it hardly speaks"
    assert coarse == f"{heads}; speaks {side} tumour (leave-one-out {signed(value)} logit); zoomed into"
    found = PatchScores(0, step.rows[1:2], np.array([[-0.25], [0.5]], np.float32))
    explanation = Explanation("grad-cam", None, prediction, (found,), ())
    told = patch_scores(prediction, y, x, "normal", "grad-cam", explanation)
    assert told.split("\n")[0] == f"{heads}; speaks against normal (Grad-CAM −0.25 logit); zoomed into"
    faint = PatchScores(0, step.rows[1:2], np.array([[0.002], [0.5]], np.float32))
    told = patch_scores(prediction, y, x, "normal", "grad-cam", replace(explanation, scores=(faint,)))
    assert "; hardly speaks for normal; zoomed into" in told
    plain = replace(prediction, steps=tuple(replace(one, evidence=None) for one in prediction.steps))
    assert "tumour" not in patch_scores(plain, y, x, "tumour")
    assert patch_scores(predicted(heads=()), y, x, "tumour") == ""


def test_scores_of_which_nothing_is_known_are_told_as_they_are(predicted: Callable[..., Prediction]) -> None:
    prediction = predicted(Regression("cells/mm²", "density"), heads=("max", "max too"))
    step = prediction.steps[0]
    y, x = prediction.grid.levels[0].origins[step.rows[0]] + 1
    coarse = patch_scores(prediction, y, x, "density").split("\n")[0]
    assert coarse.startswith(f"{signed(step.scores[0, 0])} max at 5x (no. ")
    value, of = step.explained["leave-one-out"][0, 0], "standard deviations of the label"
    assert f"; {'raises' if value > 0 else 'lowers'} density (leave-one-out {signed(value)} {of})" in coarse


def test_evidence_is_told_where_there_is_no_leave_one_out(predicted: Callable[..., Prediction]) -> None:
    prediction = predicted()
    plain = replace(prediction, steps=tuple(replace(one, pooling=None) for one in prediction.steps))
    step = plain.steps[0]
    y, x = plain.grid.levels[0].origins[step.rows[1]] + 1
    value = step.explained["evidence"][1, 1]
    assert abs(value) > LITTLE and "leave-one-out" not in step.explained
    assert f"(evidence {signed(value)} logit)" in patch_scores(plain, y, x, "tumour")
    assert "evidence" not in patch_scores(plain, y, x, "tumour", "grad-cam")


def test_of_several_parts_of_the_attention_only_their_mean_is_told(
    predicted: Callable[..., Prediction],
) -> None:
    prediction = predicted(heads=("attention", "attention-1", "attention-2"))
    y, x = prediction.grid.levels[0].origins[prediction.steps[0].rows[0]] + 1
    told = patch_scores(prediction, y, x, "tumour")
    assert "average attention at 5x" in told and "attention-" not in told


def test_maps_of_a_regression_have_its_unit(predicted: Callable[..., Prediction], shown) -> None:
    prediction = predicted(Regression("cells/mm²", "density"), heads=("instance density", "max"))
    assert "evidence density (standard deviations of the label)" in patch_tables(prediction)[0].scores
    panel, _, _ = shown(prediction)
    assert panel.overlay is not None
    made = legend_of(panel.overlay)
    assert (made.unit, made.ends) == ("standard deviations of the label", ("lowers", "raises"))
    assert "standard deviations of the label" in panel.scaling.toolTip()


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.4, "12 times"), (9.7, "10 times"), (1.23, "1.2 times"), (1e-5, "less than 0.01 times")],
)
def test_multiples_are_round(value: float, text: str) -> None:
    assert times(value) == text


def test_kinds_of_maps_read_as_titles() -> None:
    assert [kind_title(one) for one in ("attention", "zoom", "max", "grad-cam")] == [
        "Attention", "Zoom attention", "Max", "Grad-CAM",
    ]  # fmt: skip
    assert kind_help("zoom") == "What the model zooms into." and "max" in kind_help("max")
