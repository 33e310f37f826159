from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.jobs import Progress, explain, finetune, predict, run, train, train_result
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.prediction_files import summary
from napari_zoommil.model_folder import familiarity_of
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.spec import load_model, read_spec
from napari_zoommil.models.task import Regression
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import (
    BEST,
    CHECKPOINT,
    CURVES,
    LOCK,
    PLAN,
    RUN,
    is_trained,
    provenance_of,
    read_curves,
)

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}
SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    """Ten small slides in two colours."""
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(SPLITS):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


@pytest.fixture
def settings(cohort: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "store": cohort.parent / "features", "out": tmp_path / "model", "encoder": "mean-rgb",
        "magnifications": (5.0, 10.0), "patch_size": 32, "options": {"k": 2}, "epochs": 8,
        "learning_rate": 3e-3,
    }  # fmt: skip


def test_two_colours_are_learnt_and_predicted(cohort: Path, settings: dict[str, Any]) -> None:
    seen: list[Progress] = []
    training = run(train(cohort, **settings), seen.append)
    assert training.class_names == ("blue", "pink")
    assert training.metrics["val_accuracy"] == training.metrics["test_accuracy"] == 1
    assert training.metrics["val_loss"] < 0.5 and training.metrics["val_f1"] == 1
    for label in COLOURS:
        prediction = run(predict(cohort.parent / f"{label}4.tif", str(training.model)))
        assert prediction.predicted == label

    fit = [progress for progress in seen if progress.note.startswith("epoch")]
    done = [progress.done for progress in fit]
    assert done == sorted(done) and done[-1] == fit[-1].total == 8 * 6
    assert "train_loss" in fit[-1].note and "val_loss" in fit[-1].note

    _, spec = load_model(training.model)
    assert (spec.encoder, spec.patch_size, spec.magnifications) == ("mean-rgb", 32, (5.0, 10.0))
    assert spec.training["slides"] == {"train": 6, "val": 2, "test": 2}
    assert spec.training["metrics"] == training.metrics
    card = (training.model / "README.md").read_text(encoding="utf-8")
    assert (
        card.startswith("---\nlibrary_name") and f"| val loss | {training.metrics['val_loss']:.3f} |" in card
    )


def test_held_out_slides_are_told_by_their_lines_with_intervals(
    cohort: Path, settings: dict[str, Any]
) -> None:
    training = run(train(cohort, **settings))
    lines = cohort.read_text(encoding="utf-8").splitlines()
    with (training.model / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["val", "val", "test", "test"]
    for row in rows:
        assert row["label"] in lines[int(row["line"]) - 1] and row["split"] in lines[int(row["line"]) - 1]
        assert row["predicted"] == row["label"]
        assert sum(float(row[f"probability_{name}"]) for name in ("blue", "pink")) == pytest.approx(1)
    made = json.loads((training.model / "held_out.json").read_text(encoding="utf-8"))
    assert set(made) == {"val", "test"} and made["test"]["per_slide"]["count"] == 2
    values = made["test"]["per_slide"]["metrics"]
    assert values["accuracy"]["value"] == training.metrics["test_accuracy"] == values["AUROC"]["value"] == 1
    assert values["weighted F1"]["value"] == training.metrics["test_f1"]
    card = (training.model / "README.md").read_text(encoding="utf-8")
    assert "| test | AUROC | 1.000 |" in card and "chose the epoch" in card


def test_the_same_seed_gives_the_same_model(cohort: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = run(train(cohort, **{**settings, "epochs": 1, "out": tmp_path / name, "seed": seed})).model
        results.append((out / "model.safetensors").read_bytes())
    assert results[0] == results[1] != results[2]


def test_a_recipe_and_options_make_the_training(
    cohort: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.models import entries

    recipes = {
        **entries.ZOOMMIL.recipes,
        "short": Recipe(epochs=2, learning_rate=1e-3, options={"hidden": 7}),
    }
    monkeypatch.setattr(entries, "ZOOMMIL", replace(entries.ZOOMMIL, recipes=recipes))
    del settings["epochs"], settings["learning_rate"]
    seen: list[Progress] = []
    run(train(cohort, **settings, recipe="short"), seen.append)
    _, spec = load_model(settings["out"])
    assert (spec.config["hidden"], spec.config["k"]) == (7, 2)
    assert {name: spec.training[name] for name in ("recipe", "epochs", "learning_rate")} == {
        "recipe": "short", "epochs": 2, "learning_rate": 1e-3,
    }  # fmt: skip
    assert [one.note for one in seen if one.note.startswith("epoch")][-1].startswith("epoch 2 of 2")
    told = [one.note for one in seen if one.note.startswith("measuring")]
    assert told[-1] == "measuring: 2 of 2 test slides"


def test_training_stops_early_where_the_recipe_says_so(
    cohort: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.models import entries

    recipe = Recipe(learning_rate=1e-6, monitor="val_f1", stop_after=2, least_epochs=4, accumulate=2)
    monkeypatch.setattr(entries, "ZOOMMIL", replace(entries.ZOOMMIL, recipes={"default": recipe}))
    settings |= {"epochs": 50, "learning_rate": None}
    seen: list[Progress] = []
    run(train(cohort, **settings), seen.append)
    epochs = {one.note.split()[1] for one in seen if one.note.startswith("epoch")}
    assert epochs == {"1", "2", "3", "4"}
    assert max(one.done for one in seen if one.note.startswith("epoch")) == 4 * 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "zoomil"}, "there is no model 'zoomil'"),
        ({"recipe": "none"}, "there is no recipe 'none'; choose one of default, crc"),
        ({"options": {"heads": 2}}, "there is no option 'heads'"),
        ({"options": {"k": 0}}, "k = 0"),
        ({"magnifications": (5.0,)}, "needs two magnifications or more"),
    ],
)
def test_a_wrong_choice_is_refused_before_any_work(
    cohort: Path, settings: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        next(train(cohort, **settings | changes))


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    """Slides of pink in many strengths, which are their labels."""
    folder = tmp_path_factory.mktemp("shades")
    lines, splits = ["slide,label,split"], ("train", "train", "val", "train", "test")
    for number in range(15):
        share = number / 14
        colour = tuple(round(start - fall * share) for start, fall in ((215, 30), (140, 70), (185, 50)))
        make_slide(folder / f"{number}.tif", colour, 256, number)
        lines.append(f"{number}.tif,{100 * share:.2f},{splits[number % 5]}")
    (folder / "shades.csv").write_text("\n".join(lines))
    return folder / "shades.csv"


def test_a_numeric_label_is_learnt_predicted_and_explained(
    shades: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"store": tmp_path / "features", "unit": "% stain", "epochs": 40, "learning_rate": 5e-3}
    training = run(train(shades, **settings))
    assert isinstance(training.task, Regression) and training.class_names == ()
    assert training.metrics["test_mae"] < 12 and training.metrics["test_correlation"] > 0.95
    _, spec = load_model(training.model)
    assert spec.task == training.task and spec.class_names == () and spec.task.unit == "% stain"
    slide = shades.parent / "14.tif"
    prediction = run(predict(slide, str(training.model)))
    assert prediction.values[0] == pytest.approx(100, abs=15)
    assert prediction.predicted.endswith(" % stain") and prediction.class_names == ()
    with pytest.raises(ModelError, match="tells a number"):
        _ = prediction.probabilities
    assert [step.evidence.shape[0] for step in prediction.steps] == [1, 1]
    explanation = run(explain(slide, str(training.model)))
    assert explanation.target == "value" and explanation.maps[0].title == "Grad-CAM value 5x"
    with pytest.raises(ModelError, match="has no class 'high'; it has value"):
        next(explain(slide, str(training.model), target="high"))
    said = summary(prediction)
    assert said["predicted"] == prediction.values[0] and said["unit"] == "% stain"
    assert "probabilities" not in said


def test_a_recipe_that_selects_by_what_a_number_lacks_is_refused(
    shades: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match="'bright' selects by val_f1, which a regression does not have"):
        next(train(shades, **settings, recipe="bright"))


def test_points_teach_a_model_of_numbers_without_moving_what_it_tells(
    shades: Path, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings |= {"store": tmp_path / "features", "epochs": 3}
    model = run(train(shades, **settings)).model
    points = Points(classes=[CellClass("here", (1, 2, 3))])
    points.add([[60.0, 60.0], [90.0, 70.0]], 1)
    taught = run(finetune(shades.parent / "7.tif", points, str(model), out=tmp_path / "taught", epochs=20))
    assert taught.metrics["value"] == pytest.approx(taught.metrics["before_value"], abs=5)


@pytest.mark.parametrize(
    ("task", "kind"), [("classification", "Classification"), ("regression", "Regression")]
)
def test_the_task_can_be_said(
    cohort: Path, settings: dict[str, Any], tmp_path: Path, task: Any, kind: str
) -> None:
    table = cohort.with_name(f"{task}.csv")
    table.write_text(cohort.read_text().replace(",blue,", ",0,").replace(",pink,", ",1,"))
    training = run(train(table, **settings | {"task": task, "epochs": 1}))
    assert type(training.task).__name__ == kind
    again = settings | {"epochs": 1, "overwrite": True}
    assert type(run(train(table, **again)).task).__name__ == "Classification"
    with pytest.raises(CohortError, match="'blue' is not a number"):
        next(train(cohort, **settings | {"task": "regression"}))


def test_closing_a_fit_leaves_no_thread_and_no_model(cohort: Path, settings: dict[str, Any]) -> None:
    """The fixture of this folder asserts that the fit's thread has ended."""
    job = train(cohort, **{**settings, "epochs": 1000})
    while not next(job).note.startswith("epoch 1 of"):
        pass
    job.close()
    assert not settings["out"].exists(), "there is nothing to go on from"
    job = train(cohort, **{**settings, "epochs": 1000})
    while not next(job).note.startswith("epoch 3 of"):
        pass
    job.close()
    left = {path.name for path in settings["out"].iterdir()}
    assert left == {RUN, CURVES, CHECKPOINT, BEST, LOCK, PLAN} and not is_trained(settings["out"])


def outcome(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", CURVES, "config.json")}


CHILD = """
import json, sys
from pathlib import Path
from napari_zoommil.jobs import train
given = json.loads(sys.argv[2])
given |= {"store": Path(given["store"]), "out": Path(given["out"])}
given["magnifications"] = tuple(given["magnifications"])
for progress in train(Path(sys.argv[1]), **given):
    print(progress.note, flush=True)
"""


def test_a_training_that_was_killed_ends_as_an_unbroken_one(
    cohort: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"device": "cpu", "epochs": 12, "learning_rate": 1e-1}  # it has plateaus, and a best epoch
    whole = run(train(cohort, **{**settings, "out": tmp_path / "whole"}))
    arguments = [sys.executable, "-c", CHILD, str(cohort), json.dumps(settings, default=str)]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and any(line.startswith("epoch 7 of") for line in child.stdout)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    seen: list[Progress] = []
    result = run(train(cohort, **settings, resume=True), seen.append)
    assert not any(one.note.startswith("epoch 1 of") for one in seen)
    assert result.metrics == whole.metrics and outcome(result.model) == outcome(whole.model)
    lines = read_curves(result.model)
    assert len(lines) == 12 and set(lines[0]) == {"epoch", "train_loss", "val_loss", "val_f1", "val_accuracy"}
    before, seen[:] = outcome(result.model), []
    again = run(train(cohort, **settings, resume=True), seen.append)
    assert again == replace(result, trained_before=True, plan=again.plan) and seen[-1].note.endswith(
        "finished"
    )
    assert [one.name for one in again.plan] == [one.name for one in result.plan]
    assert outcome(result.model) == before and not any("embed" in one.note for one in seen)
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(train(cohort, **{**settings, "seed": 1}, resume=True))


def test_another_training_is_not_gone_on_with(cohort: Path, settings: dict[str, Any]) -> None:
    job = train(cohort, **settings)
    while not next(job).note.startswith("epoch 3 of"):
        pass
    job.close()
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(train(cohort, **{**settings, "learning_rate": 1e-2}, resume=True))


def test_a_run_tells_what_it_was_made_of_and_names_no_slide(cohort: Path, settings: dict[str, Any]) -> None:
    settings["epochs"] = 1
    told: list[Progress] = []
    result = run(train(cohort, **settings), told.append)
    about = provenance_of(result.model)
    asked = {"epochs": 1, "learning_rate": 3e-3, "seed": 0}
    assert about["settings"] | asked == about["settings"] and about["recipe"] == "default"
    assert about["metrics"] == result.metrics and about["slides"] == {"train": 6, "val": 2, "test": 2}
    assert "blue0" not in (result.model / RUN).read_text(), "a slide's name can tell who the patient is"
    assert not (result.model / CHECKPOINT).exists() and not (result.model / BEST).exists()
    measured = [one.note for one in told if one.note.startswith("measuring")]
    assert measured == [f"measuring: {n} of 2 {split} slides" for split in ("val", "test") for n in (1, 2)]


def test_a_failure_inside_the_fit_is_raised(
    cohort: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.models.zoommil import ZoomMIL

    def broken(self: ZoomMIL, bag: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(ZoomMIL, "forward", broken)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        run(train(cohort, **settings))
    assert not settings["out"].exists()


def test_a_cohort_that_is_embedded_is_only_read(
    cohort: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An encoder is looked at once, for which weights it has; no slide is searched or read."""
    from napari_zoommil import encoders
    from napari_zoommil.jobs import tissue

    loaded, real = [], encoders.load_encoder
    monkeypatch.setattr(
        encoders, "load_encoder", lambda name, expected: loaded.append(name) or real(name, expected)
    )
    release()
    once = {**settings, "epochs": 1, "store": tmp_path / "features"}
    first = run(train(cohort, **once))
    assert loaded == ["mean-rgb"]

    def fail(*arguments: object) -> None:
        raise AssertionError("not needed")

    def none(*_: object, **__: object) -> Iterator[None]:
        yield from ()

    monkeypatch.setattr(train_result, "training_statistics", none)  # which read pixels
    for name in ("read_downsampled", "read_level"):
        monkeypatch.setattr(Slide, name, fail)
    tissue._found.clear()
    release()
    loaded.clear()
    again = run(train(cohort, **{**once, "out": tmp_path / "again"}))
    assert len(loaded) == 1
    weights = [(one.model / "model.safetensors").read_bytes() for one in (first, again)]
    assert weights[0] == weights[1]


def test_patches_too_small_to_be_described_are_trained_on(cohort: Path, settings: dict[str, Any]) -> None:
    training = run(train(cohort, **{**settings, "patch_size": 16, "epochs": 1}))
    assert is_trained(training.model) and familiarity_of(training.model, "mil") is None


def test_all_slides_that_cannot_be_read_are_told_at_once(cohort: Path, settings: dict[str, Any]) -> None:
    for name in ("x", "y"):
        cohort.with_name(f"{name}.tif").write_text("no slide")
    path = cohort.with_name("broken.csv")
    path.write_text(f"{cohort.read_text()}\nx.tif,blue,train\ny.tif,blue,train")
    with pytest.raises(CohortError, match=r"line 12: x\.tif is not .*; line 13: y\.tif is not ") as raised:
        run(train(path, **settings))
    assert len(raised.value.faults) == 2 and not settings["out"].exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_cohort_without_a_needed_split(
    cohort: Path, settings: dict[str, Any], split: str, tmp_path: Path
) -> None:
    path = cohort.with_name(f"no-{split}.csv")
    path.write_text(cohort.read_text().replace(f",{split}", ",test"))
    with pytest.raises(CohortError, match=f"no-{split}.csv .*: it has no slides in its split '{split}'"):
        run(train(path, **settings))


def test_an_old_model_is_never_taken_for_the_one_that_replaces_it(
    cohort: Path, settings: dict[str, Any]
) -> None:
    out = run(train(cohort, **{**settings, "epochs": 1})).model
    with pytest.raises(ModelError, match="holds the model that the training starts from"):
        run(train(cohort, start=str(out), store=settings["store"], out=out, overwrite=True))
    assert is_trained(out)
    job = train(cohort, **settings, overwrite=True)
    while not next(job).note.startswith("epoch 2 of"):
        pass
    assert not (out / "model.safetensors").exists() and not (out / "held_out.json").exists()
    job.close()
    with pytest.raises(ModelError):
        read_spec(out)
    assert run(train(cohort, **settings, resume=True)).model == out
