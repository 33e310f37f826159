"""A training in its folder, and two models on one region: without a window."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points, annotations_path, autosave
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.jobs import finetune_runs, run
from napari_zoommil.jobs.compare import Comparand, compare
from napari_zoommil.jobs.finetune_plan import MILPoints, look, points_for_mil
from napari_zoommil.jobs.finetune_run import Trace, finetune_in_run
from napari_zoommil.jobs.finetune_runs import Request
from napari_zoommil.slides import Slide
from napari_zoommil.training.cells import presets
from napari_zoommil.training.cells.module import CellRecipe
from napari_zoommil.training.run import RUN

QUICK = CellRecipe(
    epochs=3, draws=8, batch_size=4, accumulate=1, learning_rate=1e-2, crop=64, background=1.0, stained=False
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "interactive", QUICK)


@pytest.fixture
def slide(discs: tuple[Path, np.ndarray]):
    """A slide of 48 discs, half of them marked."""
    with Slide.open(discs[0]) as opened:
        points = Points(classes=[CellClass("unused", (1, 2, 3)), CellClass("disc", (0, 114, 178), 10.0)])
        points.add(discs[1][::2], 2)
        points.write(annotations_path(opened))
        yield opened


def test_a_training_tells_its_course(slide: Slide, make_cell_model: Callable[..., str]) -> None:
    told: list[Trace] = []
    result = run(
        finetune_in_run(slide, Request(make_cell_model()), device="cpu", threads=1),
        lambda progress: told.append(progress.partial),
    )
    last = told[-1]
    assert last.epochs == 3 and last.places[-1] == 3 and len(last.losses) == 6
    assert list(last.places) == sorted(last.places)
    made = finetune_runs.read_run(result.model)
    assert made is not None and made.trained and len(made.history) == 3 and made.metrics == result.metrics


def test_other_stains_are_left_as_they_are(slide: Slide, make_cell_model: Callable[..., str]) -> None:
    for vary in (True, False):
        request = Request(make_cell_model(), epochs=1, stain_augmentation=vary)
        result = run(finetune_in_run(slide, request, device="cpu", threads=1))
        told = json.loads((result.model / RUN).read_text())
        assert told["settings"]["stained"] is vary


def test_what_is_left_to_do_is_told_in_time(slide: Slide, make_cell_model: Callable[..., str]) -> None:
    left: list[float | None] = []
    request = Request(make_cell_model(), epochs=20)
    run(
        finetune_in_run(slide, request, device="cpu", threads=1),
        lambda progress: left.append(progress.seconds_left),
    )
    told = [seconds for seconds in left if seconds is not None]
    assert told and min(told) > 0 and left[-1] is None


def test_a_failure_leaves_no_folder(slide: Slide, make_cell_model: Callable[..., str]) -> None:
    Points().write(annotations_path(slide))
    with pytest.raises(AnnotationError, match="add a few first"):
        run(finetune_in_run(slide, Request(make_cell_model()), device="cpu", threads=1))
    assert not finetune_runs.models_folder(slide).exists()


def test_both_models_look_at_the_same_place(slide: Slide, make_cell_model: Callable[..., str]) -> None:
    model = make_cell_model()
    region = np.array([[0.0, 0.0], [0.0, 300.0], [200.0, 300.0], [200.0, 0.0]])
    told = []
    run(compare(slide, region, (("one", model), ("two", model)), "cpu", 1), told.append)
    one, two = (each.partial for each in told if isinstance(each.partial, Comparand))
    assert (one.title, two.title) == ("one", "two") and told[-1].done == told[-1].total == 200
    np.testing.assert_array_equal(one.detection.finds.boxes, two.detection.finds.boxes)
    assert (one.detection.finds.scores >= one.detection.threshold).all()
    assert one.detection.area_mm2 == pytest.approx(300 * 200 * 0.25 / 1e6)


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
    monkeypatch.setattr(autosave, "_writable", lambda _: False)
    monkeypatch.setattr(autosave, "user_data_path", lambda _: tmp_path / "workspace")
    *_, found = look(slide, make_cell_model(), "interactive", "cpu")
    assert [count for _, count in found.counts] == [24] and not found.problem
    assert found.stamp is None and found.path == annotations_path(slide), "the first edit is written there"
    assert len(Points.read(finetune_runs.begin(slide, Request("yollo")) / finetune_runs.POINTS)) == 24


def test_a_model_that_a_run_names_is_not_fetched(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    region = np.array([[0.0, 0.0], [0.0, 300.0], [200.0, 300.0]])
    folder = finetune_runs.begin(slide, Request("owner/name"))
    found = finetune_runs.read_run(folder)
    assert found is not None and found.request.model == "owner/name"
    for job in (
        finetune_in_run(slide, found.request, folder, device="cpu"),
        compare(slide, region, (("before", found.request.model),), "cpu", 1),
    ):
        with pytest.raises(ModelError, match="no model 'owner/name'; give a folder, or yollo, unet"):
            run(job)
