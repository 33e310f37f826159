"""Folders of trainings: begun, cut off, kept, discarded."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from napari_zoommil.annotations import Points, annotations_path, paths
from napari_zoommil.errors import FileError, ModelError
from napari_zoommil.jobs import finetune_runs
from napari_zoommil.jobs.finetune_runs import Request, TrainingRun
from napari_zoommil.model_folder import CONFIG, WEIGHTS, kind_of
from napari_zoommil.slides import Slide
from napari_zoommil.training.cells.fit import COLUMNS
from napari_zoommil.training.run import CHECKPOINT, CURVES, EPOCH, RUN, using

NOW = datetime(2026, 3, 4, 5, 6, 7)
ASKED = Request("yollo", "ece-margin", epochs=7, learning_rate=2e-4, seed=3, label="tumour", kind="mil")


@pytest.fixture
def slide(make_slide: Callable[..., Path], tmp_path: Path):
    """A slide with one point, in a folder of its own."""
    with Slide.open(make_slide(tmp_path / "small.tif", (200, 90, 150))) as opened:
        points = Points()
        points.add((10.0, 20.0), points.add_class("cell"))
        points.write(annotations_path(opened))
        yield opened


def progress(folder: Path, epochs: int) -> None:
    """What a training leaves that was cut off after some epochs."""
    (folder / RUN).write_text(json.dumps({"settings": {"epochs": 7}}))
    with (folder / CURVES).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((EPOCH, *COLUMNS))
        writer.writerows([epoch, 0.5, 0.75, 900, ""] for epoch in range(epochs))
    (folder / CHECKPOINT).write_bytes(b"checkpoint")


def finish(folder: Path) -> None:
    """What a training leaves that came to its end."""
    for name in (CONFIG, WEIGHTS):
        (folder / name).write_bytes(b"{}")
    told = {"settings": {"epochs": 7}, "metrics": {"exclusive_recall": 0.75}}
    (folder / RUN).write_text(json.dumps(told))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def test_a_run_begins_with_its_own_copy_of_the_points(slide: Slide, tmp_path: Path) -> None:
    folder = finetune_runs.begin(slide, ASKED, NOW)
    assert folder == tmp_path / "small.models" / "runs" / "2026-03-04 05.06.07"
    annotations_path(slide).write_text("changed")
    assert len(Points.read(folder / finetune_runs.POINTS)) == 1
    assert finetune_runs.begin(slide, ASKED, NOW) != folder, "within the same second"
    assert finetune_runs.read_run(folder) == TrainingRun(folder, ASKED)


def test_where_one_may_not_write_runs_lie_in_the_workspace_without_the_name(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "writable", lambda _: False)
    monkeypatch.setattr(paths, "user_data_path", lambda _: tmp_path / "workspace")
    folder = finetune_runs.models_folder(slide)
    assert folder.is_relative_to(tmp_path / "workspace") and "small" not in folder.name


def test_looking_at_the_runs_of_a_slide_makes_no_file(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(finetune_runs.begin(slide, ASKED))
    made = []
    monkeypatch.setattr(paths.tempfile, "TemporaryFile", lambda *_, **__: made.append(1))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))}
    assert len(finetune_runs.undecided(slide)) == 1 and finetune_runs.kept(slide) == ()
    assert not made and {path: path.stat().st_mtime_ns for path in before} == before


def test_where_no_file_can_be_made_whatever_permissions_say_the_workspace_is_taken(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError("the share says no")

    monkeypatch.setattr(paths, "_refused", set())
    monkeypatch.setattr(paths, "user_data_path", lambda _: tmp_path / "workspace")
    monkeypatch.setattr(paths.tempfile, "TemporaryFile", refuse)
    assert finetune_runs.models_folder(slide).parent == tmp_path, "as far as one can tell without trying"
    folder = finetune_runs.begin(slide, ASKED)
    assert folder.is_relative_to(tmp_path / "workspace")
    assert [run.folder for run in finetune_runs.undecided(slide)] == [folder]


def test_without_annotations_nothing_begins(slide: Slide, tmp_path: Path) -> None:
    annotations_path(slide).unlink()
    with pytest.raises(FileError, match="cannot be read"):
        finetune_runs.begin(slide, ASKED)
    assert not (tmp_path / "small.models").exists()


def test_what_was_cut_off_and_what_is_trained_are_told_apart(slide: Slide) -> None:
    cut, trained = (finetune_runs.begin(slide, ASKED, NOW.replace(hour=hour)) for hour in (1, 2))
    progress(cut, 3)
    progress(trained, 7)
    finish(trained)
    (cut.parent / "not ours").mkdir()
    latest, before = finetune_runs.undecided(slide)
    assert (latest.folder, latest.trained, latest.metrics) == (trained, True, {"exclusive_recall": 0.75})
    assert (before.folder, before.trained, before.epochs) == (cut, False, 7)
    assert before.began == "2026-03-04 01.06"
    assert len(before.history) == 3
    assert before.history[2] == {
        "epoch": 2.0,
        "train_loss": 0.5,
        "exclusive_recall": 0.75,
        "predictions_per_mm2": 900.0,
    }


def test_a_run_under_way_is_offered_to_nobody(slide: Slide) -> None:
    folder = finetune_runs.begin(slide, ASKED)
    with using(folder):
        assert finetune_runs.undecided(slide) == ()
        with pytest.raises(ModelError, match="another training is running"), using(folder, 0):
            pass
    assert [run.folder for run in finetune_runs.undecided(slide)] == [folder]


def test_a_kept_run_is_a_model_with_a_name(slide: Slide, tmp_path: Path) -> None:
    folder = finetune_runs.begin(slide, ASKED, NOW)
    finish(folder)
    for name in (" ", "runs", "..."):
        with pytest.raises(ModelError, match="needs a name"):
            finetune_runs.keep(folder, name)
    kept = finetune_runs.keep(folder, "lung: a/b ")
    assert kept == tmp_path / "small.models" / "lung- a-b" and (kept / WEIGHTS).exists()
    assert finetune_runs.kept(slide) == (kept,) and finetune_runs.undecided(slide) == ()
    assert not folder.parent.exists()
    other = finetune_runs.begin(slide, ASKED)
    finish(other)
    with pytest.raises(ModelError, match="already"):
        finetune_runs.keep(other, "lung- a-b")
    assert other.exists()


def test_what_is_discarded_leaves_nothing(slide: Slide, tmp_path: Path) -> None:
    folder = finetune_runs.begin(slide, ASKED)
    progress(folder, 1)
    finetune_runs.discard_if_empty(folder)
    assert folder.exists(), "there is something to go on from"
    finetune_runs.discard(folder)
    assert not (tmp_path / "small.models").exists()
    finetune_runs.discard(folder)
    finetune_runs.discard_if_empty(finetune_runs.begin(slide, ASKED))
    assert not (tmp_path / "small.models").exists()


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"model": "a", "epochs": -1}', '{"model": 3}'])
def test_a_folder_that_tells_nothing_is_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / finetune_runs.REQUEST).write_text(content)
    assert finetune_runs.read_run(tmp_path) is None


def test_a_request_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / finetune_runs.REQUEST).write_text('{"model": "a", "unknown": 1}')
    assert finetune_runs.read_run(tmp_path) == TrainingRun(tmp_path, Request("a"))


def test_a_request_of_an_earlier_version_is_of_a_cell_model(tmp_path: Path) -> None:
    (tmp_path / finetune_runs.REQUEST).write_text('{"model": "yollo", "seed": 3}')
    run = finetune_runs.read_run(tmp_path)
    assert run is not None and run.request == Request("yollo", seed=3) and run.request.kind == "cells"


def test_a_model_tells_its_kind(tmp_path: Path) -> None:
    assert [kind_of(name) for name in ("demo", "yollo", tmp_path)] == ["mil", "cells", "cells"]


def test_damaged_curves_cost_the_curves_only(slide: Slide) -> None:
    folder = finetune_runs.begin(slide, ASKED)
    progress(folder, 2)
    (folder / CURVES).write_text("epoch,train_loss\n0,no number\n")
    run = finetune_runs.read_run(folder)
    assert run is not None and run.history == () and run.epochs == 7
