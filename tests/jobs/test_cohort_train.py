"""A training as the window starts it: places, curves, cut off and gone on with, metrics."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from napari_zoommil.jobs import cohort_train, run
from napari_zoommil.jobs.cohort_train import (
    TrainingRequest,
    held_out_metrics,
    models_beside,
    places_beside,
    plan_of,
    train_with_curves,
)
from napari_zoommil.jobs.trace import Trace, curves_of
from napari_zoommil.jobs.train_choices import Choice
from napari_zoommil.jobs.train_held_out import REPORT

HOW = {"encoder": "mean-rgb", "magnifications": (5.0,), "patch_size": 32, "epochs": 6, "learning_rate": 3e-3,
       "device": "cpu"}  # fmt: skip


@pytest.fixture
def request_(colour_cohort: Path, tmp_path: Path) -> TrainingRequest:
    return TrainingRequest(colour_cohort, "abmil", tmp_path / "features", tmp_path / "model", HOW)


def test_a_training_is_cut_off_gone_on_with_and_tells_its_curves(request_, monkeypatch) -> None:
    monkeypatch.setattr("napari_zoommil.jobs.trace.SECONDS_BETWEEN", 0)
    traces = []
    assert not request_.can_be_resumed
    job = train_with_curves(request_)
    for progress in job:
        if isinstance(progress.partial, Trace) and progress.partial.history[2:]:
            break
    job.close()
    assert request_.can_be_resumed
    training = run(train_with_curves(request_, resume=True), lambda told: traces.append(told.partial))
    assert training.model == request_.out and not request_.can_be_resumed
    assert all(isinstance(one, Choice) for one in traces[0]), "the plan comes first"
    assert [int(line["epoch"]) for line in curves_of(training.model)] == list(range(6))
    assert [int(line["epoch"]) for line in traces[-1].history][:4] == list(range(4)), "the past is there too"
    assert traces[-1].epochs == 6 and {"val_f1", "val_accuracy", "val_loss"} <= set(traces[-1].history[-1])

    found = {(one.split, one.metric): one for one in held_out_metrics(training.model)}
    assert found["test", "accuracy"].value == 1 and found["test", "accuracy"].slides == 2
    assert found["val", "accuracy"].text == "1.000", "two patients are too few for an interval"


def test_places_beside_the_table_and_elsewhere_where_one_may_not_write(tmp_path, monkeypatch) -> None:
    now = datetime(2026, 3, 4)
    table = tmp_path / "cohort.csv"
    features, out = places_beside(table, "abmil", now)
    assert (features, out) == (tmp_path / "features", tmp_path / "models" / "abmil 2026-03-04")
    out.mkdir(parents=True)
    assert places_beside(table, "abmil", now)[1].name == "abmil 2026-03-04 2"
    (out / "config.json").touch()
    assert models_beside(table) == (), "not trained yet"
    (out / "model.safetensors").touch()
    assert models_beside(table) == (out,)
    monkeypatch.setattr(cohort_train.os, "access", lambda *_: False)
    monkeypatch.setattr(cohort_train, "cache_folder", lambda: tmp_path / "cache")
    assert places_beside(table, "abmil", now)[0] == tmp_path / "cache" / "cohorts" / "cohort" / "features"


def test_metrics_with_intervals_and_of_damaged_reports_none(tmp_path) -> None:
    one = {"value": 0.8333, "low": 0.611, "high": 0.97}
    told = {"test": {"per_slide": {"count": 12, "patients": 9, "metrics": {"accuracy": one}}}}
    (tmp_path / REPORT).write_text(json.dumps(told))
    (found,) = held_out_metrics(tmp_path)
    assert found.text == "0.833 (0.61 to 0.97)" and (found.slides, found.patients) == (12, 9)
    for content in ("", "[]", '{"test": 3}', '{"test": {"per_slide": {}}}'):
        (tmp_path / REPORT).write_text(content)
        assert held_out_metrics(tmp_path) == ()
    shutil.rmtree(tmp_path)
    assert held_out_metrics(tmp_path) == ()


def test_what_is_asked_for_reaches_the_job(request_) -> None:
    with pytest.raises(Exception, match="no option 'nonsense'"):
        run(train_with_curves(replace(request_, how=HOW | {"options": {"nonsense": "1"}})))


def test_a_plan_leaves_nothing_behind_and_is_followed_as_it_was_changed(request_) -> None:
    choices = run(plan_of(request_))
    assert not request_.out.exists() and not request_.store.exists()
    assert {one.name: one.value for one in choices}["model"] == "abmil" and all(one.reason for one in choices)
    changed = tuple(replace(one, value=2) if one.name == "settings.epochs" else one for one in choices)
    training = run(train_with_curves(request_.following(changed)))
    assert len(curves_of(training.model)) == 2


def test_folds_have_curves_of_their_own(request_, monkeypatch) -> None:
    monkeypatch.setattr("napari_zoommil.jobs.trace.SECONDS_BETWEEN", 0)
    traces = []
    asked = replace(request_, how=request_.how | {"folds": 2, "epochs": 2})
    training = run(train_with_curves(asked), lambda told: traces.append(told.partial))
    places = [one.places[-1] for one in traces if isinstance(one, Trace) and one.places]
    assert max(places) == 2 and sum(after < before for before, after in pairwise(places)) == 1
    assert "folds" in {one.split for one in held_out_metrics(training.model)}
