"""The training part: what it asks for, and a training from the table to the chosen model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qtpy.QtCore import Qt

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.train_choices import Choice
from napari_zoommil.models.registry import entries
from napari_zoommil.viewer.docks.cohort.plan import PlanTable
from napari_zoommil.viewer.docks.cohort.settings import TrainSettings
from napari_zoommil.viewer.docks.showing import show_dock

MINUTE = 60_000


@pytest.fixture
def settings(qtbot, tmp_path) -> TrainSettings:
    widget = TrainSettings(lambda: None)
    qtbot.addWidget(widget)
    widget.show_cohort(tmp_path / "cohort.csv")
    return widget


def test_every_model_with_every_recipe_can_be_asked_for(settings) -> None:
    assert [settings.model.itemText(at) for at in range(settings.model.count())] == list(entries())
    for name, entry in entries().items():
        settings.model.setCurrentText(name)
        assert [settings.recipe.itemText(at) for at in range(settings.recipe.count())] == list(entry.recipes)
        for recipe in entry.recipes:
            settings.recipe.setCurrentText(recipe)
            asked = settings.request()
            assert (asked.model, asked.how["recipe"] or "default") == (name, recipe)
            assert asked.how["options"] == {} and asked.how["magnifications"] is None, "the recipe's own"
            assert ("encoder" in asked.how) == (entry.takes == "bag")
        assert asked.out.name.startswith(name)


def test_what_is_typed_is_asked_for(settings, tmp_path) -> None:
    settings.model.setCurrentText("zoommil")
    settings.recipe.setCurrentText("crc")
    assert settings.magnifications.placeholderText() == "5, 10, 20 (recipe)"
    settings.magnifications.setText("2.5x; 10")
    settings.encoder.setCurrentText("hf-hub:owner/name")
    settings.options.lines["k"].setText("12, 8")
    settings.options.lines["sigma"].setText("none")
    settings.how.advanced["epochs"].value = 7
    settings.how.device.setCurrentText("cpu")
    asked = settings.request()
    assert asked.how["magnifications"] == (2.5, 10.0) and asked.how["encoder"] == "hf-hub:owner/name"
    assert asked.how["options"] == {"k": ["12", "8"], "sigma": None}
    assert (asked.how["epochs"], asked.how["device"], asked.how["learning_rate"]) == (7, "cpu", None)
    assert asked.cohort == tmp_path / "cohort.csv" and asked.store == tmp_path / "features"
    settings.magnifications.setText("five")
    with pytest.raises(ModelError, match="magnifications are numbers"):
        settings.request()


def test_a_plan_is_changed_in_place(qtbot) -> None:
    choices = (
        Choice("magnifications", [5, 10], "of the recipe"),
        Choice("settings.learning_rate", 1e-4, "of the recipe"),
        Choice("folds", None, "the table states splits"),
    )
    table = PlanTable()
    qtbot.addWidget(table)
    assert table.isHidden()
    table.show_choices(choices)
    assert table.choices == choices, "nothing is changed by showing it"
    for line, text in enumerate(("2.5, 10, 20", "none", "5")):
        table.item(line, 1).setText(text)
    assert [one.value for one in table.choices] == [[2.5, 10, 20], None, 5]
    assert [one.reason for one in table.choices] == [one.reason for one in choices]


def test_from_a_table_to_a_model_that_is_chosen(window, qtbot, colour_cohort, tmp_path) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(colour_cohort.parent, folder)
    dock = show_dock(window, "Cohort")
    train = dock.train
    assert train.act.button.toolTip() == "Open a table of labelled slides first"
    dock.open(folder / "cohort.csv")
    qtbot.waitUntil(lambda: train.act.button.isEnabled(), timeout=MINUTE)
    dock.train_fold.button.setChecked(True)
    settings = train.settings
    settings.model.setCurrentText("meanmil")
    settings.encoder.setCurrentText("mean-rgb")
    settings.magnifications.setText("5")
    settings.how.advanced["patch_size"].value = 32
    settings.how.advanced["epochs"].value = 3
    settings.how.device.setCurrentText("cpu")
    qtbot.mouseClick(train.look, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not train._planning.running, timeout=MINUTE)
    told = {one.name: one for one in train.plan.choices}
    assert told["model"].value == "meanmil" and told["settings.epochs"].value == 3
    assert all(one.reason for one in told.values()) and not settings.out.path.exists()
    line = [one.name for one in train.plan.choices].index("settings.epochs")
    train.plan.item(line, 1).setText("2")
    out = settings.out.path
    qtbot.mouseClick(train.act.button, Qt.MouseButton.LeftButton)
    assert train.act.button.text() == "Cancel"
    qtbot.waitUntil(lambda: not train.runner.running, timeout=MINUTE)
    assert train.act.note.text().startswith("Trained: meanmil")
    assert not train.curves.isHidden() and train.curves.measured["val_f1"].getData()[0].tolist() == [1, 2], (
        "as the plan was changed"
    )
    assert not train.result.isHidden() and "too few patients for intervals" in train.result.told.text()
    assert dock.model.chosen == str(out) and settings.out.path != out, "the next one goes elsewhere"
    assert Path(show_dock(window, "Attention").model.chosen) == out
    assert train.resume.isHidden()
