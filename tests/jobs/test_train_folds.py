"""Cross-validation: folds, their ensemble, and what of it is resumed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.jobs import Progress, explain, predict, run, train
from napari_zoommil.model_folder import familiarity_of
from napari_zoommil.models.spec import load_model, read_spec
from napari_zoommil.training.run import CURVES, FOLDS, PLAN, is_trained, provenance_of

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    """Sixteen slides of eight patients, and two for tests alone, in two colours, with a size."""
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["slide,label,split,group,size,subset"]
    for label, colour in COLOURS.items():
        for number in range(9):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            split, group = ("test", "t") if number == 8 else ("train", f"{number // 2}")
            subset = "odd" if number % 2 else "even small" if number < 4 else "even"
            lines.append(f"{label}{number}.tif,{label},{split},{label}{group},{number},{subset}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


@pytest.fixture
def settings(cohort: Path, tmp_path: Path) -> dict[str, Any]:
    from napari_zoommil.training.mil.cohort import Columns

    return {
        "store": cohort.parent / "features", "out": tmp_path / "model", "model": "abmil",
        "encoder": "mean-rgb", "magnifications": (10.0,), "patch_size": 32, "epochs": 6,
        "learning_rate": 3e-3, "folds": 3, "columns": Columns(by="size"), "device": "cpu",
    }  # fmt: skip


def test_folds_end_in_one_model(cohort: Path, settings: dict[str, Any]) -> None:
    seen: list[Progress] = []
    training = run(train(cohort, **settings), seen.append)
    spec = read_spec(training.model)
    assert (spec.architecture, spec.config["member"], spec.config["count"]) == ("ensemble", "abmil", 3)
    assert spec.training["slides"] == {"train": 16, "val": 0, "test": 2} and spec.training["folds"] == 3
    assert training.metrics["folds_f1"] == training.metrics["folds_accuracy"] == 1
    assert training.metrics["test_accuracy"] == 1
    parts = ("", "mean_", "even_", "odd_", "small_")
    assert all(training.metrics[f"folds_{part}AUROC"] == 1 for part in parts)

    with (training.model / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = cohort.read_text(encoding="utf-8").splitlines()
    assert sorted(int(row["line"]) for row in rows) == list(range(2, 20)), "each slide is held out once"
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(lines[int(row["line"]) - 1].split(",")[3], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in groups.values()), "patients stay together"
    assert {row["split"] for row in rows} == {"fold 1", "fold 2", "fold 3", "test"}

    report = json.loads((training.model / "held_out.json").read_text(encoding="utf-8"))
    folds = report["folds"]
    assert set(report) == {"folds", "test"} and folds["per_slide"]["count"] == 16
    assert folds["per_patient"]["count"] == 8 and len(folds["temperature"]) == 3
    assert set(folds["by"]) == {"0 to 2", "3 to 5", "6 to 7"}
    counts = {name: one["count"] for name, one in folds["subsets"].items()}
    assert counts == {"even": 8, "odd": 8, "small": 4} and set(report["test"]["subsets"]) == {"even"}
    assert folds["over_folds"]["accuracy"] == {"mean": 1, "sd": 0, "folds": 3}
    assert sum(one["slides"] for one in folds["per_slide"]["reliability"]) == 16

    members = [load_model(training.model / FOLDS / str(n))[0] for n in (1, 2, 3)]
    together, _ = load_model(training.model)
    for own, member in zip(together.members, members, strict=True):
        assert all((a == b).all() for a, b in zip(own.parameters(), member.parameters(), strict=True))
    assert familiarity_of(training.model, "mil") is not None
    done = [one.done / one.total for one in seen if ": epoch" in one.note]
    assert done == sorted(done) and done[-1] <= 1
    card = (training.model / "README.md").read_text(encoding="utf-8")
    assert (
        "# ensemble of 3 abmil: blue, pink" in card and "told by the model that was trained without" in card
    )
    assert "| folds: slides of | told blue | told pink |" in card

    slide = cohort.parent / "pink8.tif"
    prediction = run(predict(slide, str(training.model)))
    assert prediction.predicted == "pink" and prediction.familiarity.share is not None
    alone = [run(predict(slide, str(training.model / FOLDS / str(n)))) for n in (1, 2, 3)]
    mean = np.mean([np.log(one.probabilities) for one in alone], 0)
    np.testing.assert_allclose(
        prediction.probabilities, np.exp(mean) / np.exp(mean).sum(), rtol=1e-4, atol=1e-6
    )
    assert prediction.maps_of("attention") and prediction.maps_of("evidence", "pink")
    for method in ("grad-cam", "saliency"):
        (shown,) = run(explain(slide, str(training.model), method=method)).maps
        assert np.nanmax(np.abs(shown.values)) > 0


def test_a_cross_validation_goes_on_where_it_was_cut_off(
    cohort: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    whole = run(train(cohort, **{**settings, "out": tmp_path / "whole"}))
    job = train(cohort, **settings)
    while "fold 2 of 3: epoch 4" not in next(job).note:
        pass
    job.close()
    out = settings["out"]
    assert is_trained(out / FOLDS / "1") and not is_trained(out)
    weights = (out / FOLDS / "1" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(train(cohort, **{**settings, "seed": 1}, resume=True))
    notes: list[Progress] = []
    result = run(train(cohort, **settings, resume=True), notes.append)
    assert not any("fold 1 of 3: epoch" in one.note or "fold 2 of 3: epoch 1 " in one.note for one in notes)
    assert (out / FOLDS / "1" / "model.safetensors").stat().st_mtime_ns == weights
    assert result.metrics == whole.metrics
    for name in ("model.safetensors", "config.json", "held_out.json", f"{FOLDS}/2/{CURVES}"):
        assert (result.model / name).read_bytes() == (whole.model / name).read_bytes()
    again = run(train(cohort, **settings, resume=True))
    assert again.trained_before and again.metrics == whole.metrics and again.task == whole.task


def test_runs_of_another_kind_are_not_gone_on_with_nor_deleted(
    cohort: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    job = train(cohort, **settings)
    while "fold 1 of 3: epoch 3" not in next(job).note:
        pass
    job.close()
    table = cohort.with_name("split.csv")
    text = cohort.read_text()
    for label in COLOURS:
        text = text.replace(f"{label}7.tif,{label},train,{label}3", f"{label}7.tif,{label},val,{label}9")
    table.write_text(text)
    alone = settings | {"folds": None}
    plan = (settings["out"] / PLAN).read_bytes()
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(train(table, **alone, resume=True))
    assert (settings["out"] / PLAN).read_bytes() == plan
    assert (settings["out"] / FOLDS / "1" / "last.ckpt").exists()
    alone["out"] = tmp_path / "alone"
    run(train(table, **alone | {"epochs": 1}))
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(train(cohort, **settings | {"out": alone["out"], "resume": True}))
    assert is_trained(alone["out"])


def test_an_ensemble_of_models_of_pixels_predicts(cohort: Path, settings: dict[str, Any]) -> None:
    table = cohort.with_name("small.csv")
    rows = [f"{label}{number}.tif,{label}" for label in COLOURS for number in range(4)]
    table.write_text("\n".join(["slide,label", *rows]))
    del settings["encoder"], settings["columns"]
    settings |= {"model": "sparseconvmil_pixels", "options": {"pretrained": False, "sampled": 2}}
    training = run(train(table, **settings | {"epochs": 1, "folds": 2, "patch_size": 64}))
    assert "encoder" not in {one.name for one in training.plan}
    assert read_spec(training.model).takes == "pixels"
    assert run(predict(cohort.parent / "pink8.tif", str(training.model))).class_names == ("blue", "pink")


def test_folds_that_the_cohort_does_not_allow_are_refused(cohort: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(CohortError, match="class blue has 4 groups, too few for 5 folds"):
        run(train(cohort, **settings | {"folds": 5}))
    assert provenance_of(settings["out"]) == {} and not settings["out"].exists()
