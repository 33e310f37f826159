"""A training in its folder, and two models on one region: without a window."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from napari_zoommil.annotations import Points, annotations_path
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.jobs import finetune_runs, run
from napari_zoommil.jobs.compare import Comparand, compare
from napari_zoommil.jobs.finetune_run import finetune_in_run
from napari_zoommil.jobs.finetune_runs import Request
from napari_zoommil.jobs.trace import Trace
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import RUN

pytestmark = pytest.mark.usefixtures("quick_cells")


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
