"""What a training would train on is told before, as it is then done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points, annotations_path, paths
from napari_zoommil.jobs import finetune_runs, run
from napari_zoommil.jobs.finetune_plan import MILPoints, look, points_for_mil
from napari_zoommil.jobs.finetune_run import finetune_in_run
from napari_zoommil.jobs.finetune_runs import Request
from napari_zoommil.slides import Slide

pytestmark = pytest.mark.usefixtures("quick_cells")


def test_the_training_set_is_told_at_once_and_then_in_full(
    slide: Slide, make_cell_model: Callable[..., str]
) -> None:
    first, full = look(slide, make_cell_model(), "interactive", "cpu")
    assert [(one.name, count) for one, count in first.counts] == [("disc", 24)]
    assert first.windows is None and first.complete == 0
    assert full.windows and full.held_out == round(0.2 * full.windows) and full.off_slide == 0
    assert (full.epochs, full.learning_rate) == (3, 1e-2) and full.device.startswith("cpu")
    result = run(finetune_in_run(slide, Request(make_cell_model()), device="cpu", threads=1))
    assert (result.windows, result.held_out) == (full.windows, full.held_out)


def test_what_would_be_left_out_or_refused_is_told_before(
    slide: Slide, make_cell_model: Callable[..., str]
) -> None:
    points = Points.read(annotations_path(slide))
    points.add([(-3.0, 3.0), (3.0, 800.0)], 1)
    points.write(annotations_path(slide))
    model = make_cell_model()
    _, full = look(slide, model, "interactive", "cpu")
    assert [(one.name, count) for one, count in full.counts] == [("disc", 24)] and full.off_slide == 2
    result = run(finetune_in_run(slide, Request(model, epochs=1), device="cpu", threads=1))
    assert (result.windows, result.off_slide) == (full.windows, 2)
    slide.mpp = (3.0, 3.0)
    assert (
        "this cell model needs 1 µm/px or finer" in list(look(slide, model, "interactive", "cpu"))[-1].problem
    )


def test_an_unpadded_network_is_planned_as_it_is_taught(
    slide: Slide, make_cell_model: Callable[..., str]
) -> None:
    model = make_cell_model("unet", padding="valid", width=2)
    _, full = look(slide, model, "interactive", "cpu")
    result = run(finetune_in_run(slide, Request(model, epochs=1), device="cpu", threads=1))
    assert (result.windows, result.held_out) == (full.windows, full.held_out)


def test_what_points_tell_a_mil_model(slide: Slide) -> None:
    def told(label: str | None, *names: str) -> MILPoints:
        points = Points(classes=[CellClass(name, (1, 2, 3)) for name in (*names, "unused", "benign")])
        for number in range(1, len(names) + 1):
            points.add(np.full((number, 2), 9.0), number)
        return points_for_mil(points, (5.0, 10.0), ("benign", "tumour"), label)

    one = told("benign", "Tumour", "stroma")
    assert (one.classes, one.points, one.label, one.choices) == (("Tumour",), 1, "tumour", ())
    none = told(None, "stroma", "fat")
    assert (none.named, none.label, none.points) == ((), None, 3) and not none.needs_label
    assert none.choices == ("benign", "tumour") and told("tumour", "stroma").label == "tumour"
    both = told(None, "tumour", "Benign")
    assert both.needs_label and both.choices == ("benign", "tumour") and both.classes == ()
    said = told("benign", "tumour", "Benign")
    assert (said.classes, said.points, said.label) == (("Benign",), 2, "benign") and not said.needs_label


def test_a_mil_model_is_told_of_in_full(slide: Slide) -> None:
    first, full = look(slide, "demo", "interactive", "cpu")
    assert first.mil_points is None and first.model == full.model == "demo"
    assert full.mil_points is not None and full.mil_points.magnifications == (5, 10, 20)
    assert full.mil_points.named == () and full.mil_points.points == 24
    assert full.windows is None and full.epochs and full.learning_rate and full.device.startswith("cpu")


def test_without_a_file_there_is_nothing_to_train_on(slide: Slide) -> None:
    annotations_path(slide).unlink()
    (found,) = look(slide, "", "interactive", "cpu")
    assert found.counts == () and found.stamp is None and not found.problem


@pytest.mark.parametrize(("content", "model"), [("no json", ""), (None, "no/such/model")])
def test_what_is_wrong_is_told(slide: Slide, content: str | None, model: str) -> None:
    if content is not None:
        annotations_path(slide).write_text(content)
    found = list(look(slide, model, "interactive", "cpu"))[-1]
    assert found.problem and ("discs.points.geojson" in found.problem or model in found.problem)


def test_points_of_a_slide_in_a_folder_one_may_not_write_to_are_trained_on(
    slide: Slide, make_cell_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "writable", lambda _: False)
    monkeypatch.setattr(paths, "user_data_path", lambda _: tmp_path / "workspace")
    *_, found = look(slide, make_cell_model(), "interactive", "cpu")
    assert [count for _, count in found.counts] == [24] and not found.problem
    assert found.stamp is None and found.path == annotations_path(slide), "the first edit is written there"
    assert len(Points.read(finetune_runs.begin(slide, Request("yollo")) / finetune_runs.POINTS)) == 24


def test_annotations_at_hand_are_not_read_from_their_file(slide: Slide) -> None:
    points = Points(classes=[CellClass("cell", (1, 2, 3))])
    points.add([[5.0, 5.0], [9.0, 9.0]], 1)
    points.add_complete([[0, 0], [0, 50], [50, 0]])
    (found,) = look(slide, "", "interactive", "cpu", annotations=points.content)
    assert [count for _, count in found.counts] == [2] and found.complete == 1
    assert found.stamp is not None, "the file is what a later change is told by"


def test_runs_that_are_not_decided_on_are_told(slide: Slide) -> None:
    folder = finetune_runs.begin(slide, Request("yollo"))
    (found,) = look(slide, "", "interactive", "cpu")
    assert [one.folder for one in found.runs] == [folder] and found.kept == ()
