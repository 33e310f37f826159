"""The training part: what it asks for, and a training from the table to the chosen model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from qtpy.QtCore import Qt

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import Progress, train
from napari_zoommil.jobs.cohort import TableSource
from napari_zoommil.jobs.cohort_train import TrainingRequest
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.trace import Trace
from napari_zoommil.jobs.train_choices import FIXED, Choice, read_choices, read_plan, write_plan
from napari_zoommil.jobs.train_held_out import REPORT
from napari_zoommil.jobs.train_result import Training
from napari_zoommil.models.registry import OF_IMAGES, Recipe, entries
from napari_zoommil.models.task import Classification
from napari_zoommil.resources import resource
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.mil.cohort import Columns
from napari_zoommil.training.run import CURVES
from napari_zoommil.viewer.docks.cohort import training
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
            assert asked.how.get("encoder") is None and ("encoder" in asked.how) == (entry.takes == "bag")
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
    assert asked.how["options"] == {"k": [12, 8], "sigma": None}
    assert (asked.how["epochs"], asked.how["device"], asked.how["learning_rate"]) == (7, "cpu", None)
    assert asked.cohort == tmp_path / "cohort.csv" and asked.store == tmp_path / "features"
    settings.magnifications.setText("five")
    with pytest.raises(ModelError, match="magnifications are numbers"):
        settings.request()


def test_a_folder_of_images_is_trained_on_by_a_model_of_images(settings, tmp_path) -> None:
    assert "rotate_flip" not in settings.set.lines, "of models that read images"
    settings.show_cohort(tmp_path / "images", of_images=True)
    asked = settings.request()
    assert asked.model == "bagnet" and asked.cohort == tmp_path / "images"
    assert asked.store == tmp_path / "features", "beside the folder and not in it"
    settings.set.lines["rotate_flip"].setText("true")
    assert settings.request().how["settings"] == {"rotate_flip": True}


def test_after_a_cohort_of_images_the_architecture_is_that_of_before(settings, tmp_path) -> None:
    settings.model.setCurrentText("clam_sb")
    settings.show_cohort(tmp_path / "images", of_images=True)
    settings.show_cohort(tmp_path / "more", of_images=True)
    settings.show_cohort(tmp_path / "cohort.csv")
    assert settings.request().model == "clam_sb"
    settings.show_cohort(tmp_path / "images", of_images=True)
    settings.model.setCurrentText("dsmil")
    settings.show_cohort(tmp_path / "cohort.csv")
    assert settings.request().model == "dsmil", "chosen meanwhile"


def test_all_that_a_training_can_be_told_can_be_told_here(settings) -> None:
    """But for what buttons do, and that nothing is replaced."""
    buttons = {"plan", "only_plan", "resume", "overwrite"}
    assert set(fields(train)) - buttons - {"cohort", "model", "store", "out"} == set(settings.request().how)
    flags = {one for one in fields(TrainerFlags) if one != "num_nodes"}
    assert all(settings.how.advanced[name] is not None for name in flags)
    known = {name for name in fields(Recipe) if name not in (*FIXED, *OF_IMAGES, "epochs", "learning_rate")}
    assert set(settings.set.lines) == known
    settings.how.advanced["devices"].value = 2
    settings.how.advanced["tissue_detector"].value = "gaussian-crc"
    settings.set.lines["weight_decay"].setText("1e-5")
    settings.set.lines["loss_weights"].setText('{"instance": 0.3}')
    settings.set.lines["shares"].setText("0.8, 0.1, 0.1")
    asked = settings.request(TableSource(Columns(label_column="isMSIH"), (Path("h5"),)))
    assert asked.how["flags"] == TrainerFlags(devices=2)
    assert asked.how["settings"] == {
        "weight_decay": 1e-5, "loss_weights": {"instance": 0.3}, "shares": [0.8, 0.1, 0.1],
    }  # fmt: skip
    assert (asked.how["tissue_detector"], asked.how["features"]) == ("gaussian-crc", (Path("h5"),))
    assert asked.how["columns"].label_column == "isMSIH"


def test_a_training_that_starts_from_a_model_has_what_is_the_models(settings) -> None:
    settings.model.setCurrentText("abmil")
    settings.start.choose(folder := resource("models", "demo"))
    asked = settings.request()
    assert (asked.model, asked.how["start"]) == (None, str(folder))
    assert asked.how["encoder"] is None and asked.how["options"] == {} and asked.how["magnifications"] is None
    assert settings.model.currentText() == "zoommil" and not settings.model.isEnabled()
    assert settings.magnifications.placeholderText() == "5, 10, 20 (model)"
    assert settings.encoder.lineEdit().placeholderText() == "that of the model"
    settings.start.setCurrentIndex(0)
    settings.start.activated.emit(0)
    assert settings.request().model == "zoommil" and settings.model.isEnabled()
    assert settings.request().how["start"] is None


def test_a_plan_of_a_file_is_followed(qtbot, tmp_path) -> None:
    choices = (Choice("model", "meanmil", "as asked for"), Choice("settings.epochs", 3, "as in the plan"))
    write_plan(tmp_path, choices)
    table = PlanTable()
    qtbot.addWidget(table)
    table.show_choices(read_choices(tmp_path / "plan.json"), from_file=True)
    assert table.choices == choices and table.is_changed
    table.show_choices(choices)
    assert not table.is_changed, "it is what the settings lead to"


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


def test_from_a_plan_to_a_model_that_is_chosen(window, qtbot, tmp_path, monkeypatch) -> None:
    """The job is a short one in the place of a training, which has tests of its own."""
    choices = (Choice("model", "meanmil", "as asked for"), Choice("settings.epochs", 100, "of the recipe"))
    asked: list[TrainingRequest] = []

    def plan(request):
        yield Progress(0, 1, "reading")
        return choices

    def trained(request, resume):
        asked.append(request)
        yield Progress(0, 1, "planned", (*choices, Choice("seed", 0, "as it is")))
        yield Progress(
            1, 2, "epoch 1 of 2", Trace(2, (0.5, 1.0), (0.9, 0.8), ({"epoch": 0.0, "val_f1": 0.5},))
        )
        shutil.copytree(resource("models", "demo"), request.out, dirs_exist_ok=True)
        metric = {"value": 0.8333, "low": 0.611, "high": 0.97}
        told = {"test": {"per_slide": {"count": 12, "patients": 9, "metrics": {"accuracy": metric}}}}
        (request.out / REPORT).write_text(json.dumps(told))
        (request.out / CURVES).write_text("epoch,val_f1\n0,0.5\n1,0.75\n")
        return Training(request.out, Classification(("a", "b")), {}, choices)

    monkeypatch.setattr(training, "plan_of", plan)
    monkeypatch.setattr(training, "train_with_curves", trained)
    (tmp_path / "a.svs").touch()
    (tmp_path / "cohort.csv").write_text("slide,label\na.svs,x\n")
    dock = show_dock(window, "Cohort")
    train = dock.train
    assert train.act.button.toolTip().startswith("Open a table of labelled slides, or a folder")
    dock.open(tmp_path / "cohort.csv")
    qtbot.waitUntil(lambda: train.act.button.isEnabled(), timeout=MINUTE)
    dock.train_fold.button.setChecked(True)
    qtbot.mouseClick(train.look, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not train._planning.running, timeout=MINUTE)
    assert train.plan.choices == choices
    train.plan.item(1, 1).setText("2")
    out = train.settings.out.path
    qtbot.mouseClick(train.act.button, Qt.MouseButton.LeftButton)
    assert train.act.button.text() == "Cancel" and not train.look.isEnabled()
    qtbot.waitUntil(lambda: not train.runner.running, timeout=MINUTE)
    assert (asked[0].out, asked[0].how["plan"]) == (out, out / "plan.json")
    assert read_plan(out / "plan.json")["settings.epochs"] == 2, "as it was changed"
    assert len(train.plan.choices) == 3, "what the training said last"
    assert train.act.note.text().startswith(f"Trained: {out.name}")
    assert train.curves.measured["val_f1"].getData()[1].tolist() == [0.5, 0.75]
    shown = [train.result.grid.itemAt(at).widget().text() for at in range(train.result.grid.count())]
    assert shown == ["test (12)", "accuracy", "0.833 (0.61 to 0.97)"]
    assert dock.model.chosen == str(out) and train.settings.out.path != out, "the next one goes elsewhere"
    assert Path(show_dock(window, "Attention").model.chosen) == out
    train.settings.magnifications.setText("5")
    assert train.plan.isHidden(), "the plan is not of these settings"
    window.theme = "light"  # curves follow


def test_a_training_that_is_refused_tells_all_faults(window, qtbot, tmp_path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"no slide")
    (tmp_path / "cohort.csv").write_text("slide,label,split\na.svs,x,test\nb.svs,y,test\n")
    dock = show_dock(window, "Cohort")
    dock.open(tmp_path / "cohort.csv")
    qtbot.waitUntil(lambda: dock.train.act.button.isEnabled(), timeout=MINUTE)
    qtbot.mouseClick(dock.train.look, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.train._planning.running, timeout=MINUTE)
    told = dock.train.act.note.text().splitlines()
    assert len(told) >= 4 and any("no slides in its split 'train'" in one for one in told)
    assert any("a.svs" in one for one in told) and dock.train.plan.isHidden()
