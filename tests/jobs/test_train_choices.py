"""Plans: what is chosen and why, changed and followed; cohorts that cannot be trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.jobs import Progress, run, train
from napari_zoommil.jobs.train_choices import Asked, read_plan, with_settings
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.spec import read_spec
from napari_zoommil.training.mil.cohort import Columns
from napari_zoommil.training.run import PLAN, provenance_of

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    """Four slides in each of two colours."""
    found = tmp_path_factory.mktemp("cohort")
    for label, colour in COLOURS.items():
        for number in range(4):
            make_slide(found / f"{label}{number}.tif", colour, 256, number)
    return found


@pytest.fixture
def cohort(folder: Path) -> Path:
    lines = [f"{label}{n}.tif,{label}" for label in COLOURS for n in range(4)]
    (folder / "cohort.csv").write_text("\n".join(["slide,label", *lines[:-1]]))
    return folder / "cohort.csv"


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {"store": folder / "features", "out": tmp_path / "model", "encoder": "mean-rgb", "patch_size": 32}


def reasons(folder: Path) -> dict[str, tuple[Any, str]]:
    choices = json.loads((folder / PLAN).read_text(encoding="utf-8"))["choices"]
    return {name: (one["value"], one["reason"]) for name, one in choices.items()}


def test_a_plan_tells_why_and_is_followed_as_changed(cohort: Path, settings: dict[str, Any]) -> None:
    planned = run(train(cohort, **settings, magnifications=(5, 10), options={"k": 3}, only_plan=True))
    assert planned.metrics == {} and [path.name for path in settings["out"].iterdir()] == [PLAN]
    assert not settings["store"].exists(), "nothing is embedded"
    told = reasons(planned.model)
    assert told["model"] == ("zoommil", "the default") and told["encoder"] == ("mean-rgb", "as asked for")
    assert told["magnifications"] == ([5, 10], "as asked for; the coarsest slide has 1 µm/px")
    assert told["task"][1] == "labels name 2 classes: blue 4, pink 3"
    assert (
        told["folds"][0] is None
        and "by slide; patients with several slides need a column group" in told["folds"][1]
    )
    assert "test slides, on which an accuracy is known to ± 0." in told["folds"][1]
    assert told["options.k"] == (3, "as asked for") and told["options.hidden"] == (512, "the model's default")
    assert told["settings.epochs"][1].startswith("of the recipe default; 4 slides a pass, 400 slides")
    assert "drawn equally often" in told["settings.weighted"][1]
    assert set(told) >= {"recipe", "patch_size", "min_tissue", "settings.patience", "settings.monitor"}

    path = settings["out"] / PLAN
    changed = json.loads(path.read_text(encoding="utf-8"))
    for name, value in {"settings.epochs": 2, "options.hidden": 8, "settings.weighted": False}.items():
        changed["choices"][name]["value"] = value
    path.write_text(json.dumps(changed))
    with pytest.raises(ModelError, match=r"holds a plan; follow it with --plan .*plan\.json"):
        run(train(cohort, **settings))
    seen: list[Progress] = []
    training = run(train(cohort, **settings, plan=path, learning_rate=1e-3), seen.append)
    about = provenance_of(training.model)
    assert (about["settings"]["epochs"], about["settings"]["weighted"]) == (2, False)
    assert about["settings"]["learning_rate"] == 1e-3, "what is asked for has precedence"
    assert read_spec(training.model).config["hidden"] == 8 and read_spec(training.model).encoder == "mean-rgb"
    told = reasons(training.model)
    assert told["settings.epochs"][1].startswith("as in the plan; 4 slides")
    assert told["settings.learning_rate"] == (1e-3, "as asked for")
    assert "of the 16 patches of a slide of median size at 5x" in told["options.k"][1]
    assert seen[0].partial == training.plan or seen[0].note == "planned"


def test_magnifications_fit_the_coarsest_slide(cohort: Path, settings: dict[str, Any]) -> None:
    planned = run(train(cohort, "abmil", **settings, only_plan=True))
    value, why = reasons(planned.model)["magnifications"]
    assert value == [10.0] and why.startswith(
        "those of the recipe default, lowered to 10x; the coarsest slide"
    )
    with pytest.raises(CohortError, match=r"line 2: blue0\.tif was scanned at 1 µm/px; 20x needs") as raised:
        run(train(cohort, "abmil", **settings, magnifications=(20.0,), overwrite=True))
    assert len(raised.value.faults) == 7, "each slide is told"


def test_what_was_asked_for_goes_before_a_plan(tmp_path: Path) -> None:
    path = tmp_path / PLAN
    stated = {"encoder": "nic", "magnifications": [10.0], "options.k": 4, "settings.epochs": 3}
    path.write_text(json.dumps({"choices": {name: {"value": value} for name, value in stated.items()}}))
    asked = Asked(encoder="resnet50", settings={"epochs": 9}).following(path)
    assert (asked.encoder, asked.magnifications, asked.options, asked.settings) == (
        "resnet50", (10.0,), {"k": 4}, {"epochs": 9},
    )  # fmt: skip
    assert asked.followed == {"magnifications", "options.k"}
    assert Asked().following(None) == Asked()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a plan of a training"),
        ("[]", "not a plan of a training"),
        ('{"choices": {"model": 3}}', "not a plan of a training"),
        ('{"choices": {"modell": {"value": 3}}}', "the choice 'modell', which there is not"),
        ('{"format": 2, "choices": {}}', "a later version"),
    ],
)
def test_what_is_no_plan_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(ModelError, match=said):
        Asked().following(tmp_path / PLAN)
    with pytest.raises(ModelError, match=said):
        assert read_plan(tmp_path / PLAN) and Asked().following(tmp_path / PLAN)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"magnifications": 10}, "magnifications should be"),
        ({"magnifications": ["high"]}, "magnifications.* should be"),
        ({"folds": 1}, "folds should be"),
        ({"patch_size": "large"}, "patch_size should be"),
        ({"task": "survival"}, "task should be"),
    ],
)
def test_values_of_a_plan_that_cannot_be_are_refused(
    cohort: Path, settings: dict[str, Any], tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    path = tmp_path / PLAN
    path.write_text(json.dumps({"choices": {name: {"value": value} for name, value in values.items()}}))
    del settings["patch_size"]
    with pytest.raises(ModelError, match=f"a training cannot be like that: {said}"):
        next(train(cohort, **settings, plan=path))


def test_settings_are_converted_and_refused() -> None:
    found = with_settings(Recipe(), {"weight_decay": "1e-5", "weighted": "false", "stop_after": None})
    assert (found.weight_decay, found.weighted, found.stop_after) == (1e-5, False, None)
    for wrong, said in (
        ({"epoch": 3}, "there is no setting 'epoch'; there are optimizer,"),
        ({"epochs": 0}, "epochs = 0"),
        ({"schedule": "linear"}, "schedule = 'linear'"),
    ):
        with pytest.raises(ModelError, match=said):
            with_settings(Recipe(), wrong)


def test_an_optimiser_that_there_is_not_is_refused_before_any_work(
    cohort: Path, settings: dict[str, Any]
) -> None:
    for wrong in ({"optimizer": "adamm"}, {"optimizer_options": {"betas": (3, 3)}}):
        with pytest.raises(ModelError, match=r"the optimiser 'adamm?' cannot be made"):
            run(train(cohort, **settings, settings=wrong))
    assert not settings["out"].exists()


BAD: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "one class": ("blue0.tif,x\nblue1.tif,x\n", {}, ["all labels are 'x'"]),
    "identifiers": (
        "blue0.tif,a\nblue1.tif,b\npink0.tif,c\npink1.tif,d\n",
        {},
        ["each slide has a label of its own"],
    ),
    "missing, twice, gone": (
        "blue0.tif,x\nblue0.tif,x\nnone.tif,y\npink0.tif,null\n",
        {},
        ["there is no slide at", "label is 'null'", "blue0.tif is listed 2 times"],
    ),
    "no slide, no label": (",x\nblue0.tif,\npink0.tif,y\n", {}, ["slide is empty", "label is empty"]),
    "numbers": (
        "blue0.tif,1\nblue1.tif,1.0\npink0.tif,2\npink1.tif,2\n",
        {"task": "classification"},
        ["seems to be written as 1 "],
    ),
    "case": ("blue0.tif,X\nblue1.tif,x\npink0.tif,y\n", {}, ["seems to be written as X"]),
    "two labels": (
        "blue0.tif,x\nblue0.tif,y\npink0.tif,y\n",
        {},
        ["has the labels x (line 2) and y (line 3)"],
    ),
    "numbers asked for": (
        "blue0.tif,1\nblue1.tif,high\npink0.tif,inf\n",
        {"task": "regression"},
        ["line 3: label 'high' is not a number", "line 4: label 'inf' is not a number"],
    ),
    "no slides": ("text.tif,x\nwide.tif,y\nblue0.tif,x\n", {}, ["text.tif is not a slide", "wide.tif"]),
    "too few": ("blue0.tif,x\npink0.tif,y\n", {}, ["2 slides are too few"]),
    "too few for folds": ("blue0.tif,x\nblue1.tif,x\npink0.tif,y\n", {"folds": 3}, ["class y has 1 groups"]),
    "surplus": ("blue0.tif,x,y\npink0.tif,y\nblue1.tif,x\n", {}, ["'y' is in no column"]),
}
SPLIT: dict[str, tuple[str, list[str]]] = {
    "no val": ("blue0.tif,x,train,\npink0.tif,y,train,\n", ["no slides in its split 'val'"]),
    "no train": ("blue0.tif,x,test,\npink0.tif,y,val,\n", ["no slides in its split 'train'"]),
    "some splits": ("blue0.tif,x,train,\npink0.tif,y,val,\nblue1.tif,x,,\n", ["for some slides only"]),
    "other word": (
        "blue0.tif,x,train,\npink0.tif,y,valid,\n", ["split is 'valid'", "no slides in its split 'val'"],
    ),
    "group": (
        "blue0.tif,x,train,p\nblue1.tif,y,train,q\npink0.tif,y,val,p\n", ["group p is in the splits"],
    ),
    "slide": (
        "blue0.tif,x,train,\nblue1.tif,y,train,\nblue0.tif,x,val,\n", ["blue0.tif is in the splits"],
    ),
    "untrained class": (
        "blue0.tif,x,train,\nblue1.tif,z,train,\npink0.tif,y,val,\n",
        ["no training slide has the label 'y' of line 4"],
    ),
    "all at once": (
        "blue0.tif,x,train,p\ntext.tif,y,train,q\npink0.tif,NA,vaal,p\nnone.tif,y,test,r\n",
        [
            "text.tif is not a slide", "label is 'NA'", "split is 'vaal'", "there is no slide at",
            "group p is in the splits", "no slides in its split 'val'",
        ],
    ),
}  # fmt: skip
CASES = [
    *((name, f"slide,label\n{text}", more, said) for name, (text, more, said) in BAD.items()),
    *((name, f"slide,label,split,group\n{text}", {}, said) for name, (text, said) in SPLIT.items()),
    ("folds of some", "slide,label,fold\nblue0.tif,x,1\nblue1.tif,y,\n", {}, ["a fold for some slides only"]),
    ("no column", "slide,class\nblue0.tif,x\n", {}, ["columns slide and label"]),
    ("column twice", "slide,label,label\nblue0.tif,x,y\n", {}, ["has the column label twice"]),
]


@pytest.mark.parametrize(
    ("text", "more", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_all_faults_of_a_bad_cohort_are_told_at_once(
    folder: Path, settings: dict[str, Any], text: str, more: dict[str, Any], said: list[str]
) -> None:
    (folder / "text.tif").write_text("no slide")
    tifffile.imwrite(folder / "wide.tif", np.zeros((64, 64, 3), np.uint8))  # states no resolution
    path = folder / "bad.csv"
    path.write_text(text)
    settings["store"] = settings["out"].with_name("features")
    with pytest.raises(CohortError) as raised:
        run(train(path, **settings | more))
    assert all(one in str(raised.value) for one in said), str(raised.value)
    assert len(raised.value.faults) in (0, len(said)), raised.value.faults
    assert not settings["out"].exists() and not settings["store"].exists()


def test_all_slides_of_joined_tables_are_checked(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "patients.csv").write_text("PATIENT,status\na,x\nb,y\nb,y\n")
    (folder / "slides.csv").write_text("slide,PATIENT\nblue0.tif,a\nnone.tif,b\npink0.tif,c\n")
    columns = Columns(folder / "slides.csv", label_column="status", group_column="patient")
    with pytest.raises(CohortError, match=r"patients\.csv cannot be used") as raised:
        run(train(folder / "patients.csv", **settings, columns=columns))
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "patients.csv, lines 3, 4", "line 4", "line 3",
    ]  # fmt: skip


def test_a_plan_of_another_model_or_recipe_is_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / PLAN
    stated = {"model": "zoommil", "recipe": "default", "options.k": 3}
    path.write_text(json.dumps({"choices": {name: {"value": value} for name, value in stated.items()}}))
    for asked in (Asked(model="abmil"), Asked(recipe="bright")):
        with pytest.raises(
            ModelError, match=r"plan\.json is a plan for the (model zoommil|recipe default), not"
        ):
            asked.following(path)
    assert Asked(model="zoommil").following(path).options == {"k": 3}


def test_what_no_epoch_can_be_selected_by_is_refused(cohort: Path, settings: dict[str, Any]) -> None:
    for wrong, said in (
        ({"monitor": "val_foo_loss"}, "selects by val_foo_loss"),
        ({"shares": (0, 1, 0)}, "some of the slides have to train"),
    ):
        with pytest.raises(ModelError, match=said):
            run(train(cohort, **settings, settings=wrong))
