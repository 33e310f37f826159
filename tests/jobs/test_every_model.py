"""Every model that reads features is trained, predicts and is explained, as commands and docks do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import explain, finetune, predict, run, train
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import WHOLE, read_prediction
from napari_zoommil.jobs.result_file import result_bytes
from napari_zoommil.models import names
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.registry import entry
from napari_zoommil.models.spec import load_model
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.mil.points import trained_parameters
from napari_zoommil.viewer.sentences import map_kinds, map_targets, patch_scores

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}
SPLITS = ("train", "train", "train", "val", "test")
SCALES = {"one": (10.0,), "several": (5.0, 10.0), "nested": (5.0, 10.0)}
BAGS = [name for name in names() if entry(name).takes == "bag"]

SETTINGS: dict[str, dict[str, Any]] = {
    "transmil": {
        "options": {"hidden": 64, "heads": 2, "landmarks": 8}, "learning_rate": 3e-3, "epochs": 20,
        "flags": TrainerFlags(accumulate=1),
    },
    "msmil": {"options": {"hidden": 64, "attention": 16, "adversarial": 0.001}, "epochs": 20},
    "sparseconvmil": {
        "options": {"channels": (16, 16), "hidden": 16}, "epochs": 20, "flags": TrainerFlags(accumulate=1),
    },
    "nic": {
        "options": {"region": 12, "padding": "same", "width": 16, "strides": (2, 1)}, "epochs": 20,
        "settings": {"batch": 3},
    },
}  # fmt: skip
"""Of models that would take longer, or more epochs."""

EXACT = ("abmil", "clam_sb", "clam_mb", "meanmil")
"""Models whose leave-one-out must be offered."""


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


@pytest.fixture(scope="module", params=BAGS)
def trained(request: pytest.FixtureRequest, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that tells the colours."""
    name = request.param
    settings = {"epochs": 12, "learning_rate": 1e-2} | SETTINGS.get(name, {})
    training = run(
        train(
            cohort, name, store=cohort.parent / "features", out=tmp_path_factory.mktemp(name) / "model",
            encoder="mean-rgb", magnifications=SCALES[entry(name).scales], patch_size=32, **settings,
        )
    )  # fmt: skip
    assert training.metrics["test_accuracy"] == 1
    return training.model


@pytest.fixture(scope="module")
def prediction(trained: Path, cohort: Path) -> Prediction:
    return run(predict(cohort.parent / "pink4.tif", str(trained)))


def test_it_tells_the_colour_with_maps_of_every_head(
    prediction: Prediction, trained: Path, tmp_path: Path
) -> None:
    assert prediction.predicted == "pink"
    model, _ = load_model(trained)
    assert set().union(*(step.heads for step in prediction.steps)) == set(model.heads)
    assert len(prediction.kinds) == len(set(prediction.kinds)) >= len(model.heads)
    for one in prediction.maps:
        level = prediction.grid.magnifications.index(one.magnification)
        (step,) = (step for step in prediction.steps if step.level == level)
        assert np.isfinite(one.values).sum() == len(step.rows) or one.kind == "leave-one-out"
    (tmp_path / WHOLE).write_bytes(result_bytes(prediction))
    again = read_prediction(tmp_path)
    assert [step.pooling for step in again.steps] == [step.pooling for step in prediction.steps]
    assert [one.title for one in again.maps] == [one.title for one in prediction.maps]


def test_the_dock_offers_its_kinds_and_classes(prediction: Prediction) -> None:
    kinds = map_kinds(prediction)
    assert {kind for kind, _ in prediction.kinds} <= set(kinds)
    for kind in kinds:
        targets = map_targets(prediction, kind)
        assert targets in ((), ("blue", "pink"))
    step = prediction.steps[0]
    level = prediction.grid.levels[step.level]
    y, x = level.origins[step.rows[0]] + np.asarray(level.size) / 2
    assert "no. " in patch_scores(prediction, float(y), float(x), "pink")


def test_leaving_one_out_is_what_occlusion_finds(prediction: Prediction, trained: Path, cohort: Path) -> None:
    """Where it is offered and nothing is zoomed into, it is exact."""
    found = run(explain(cohort.parent / "pink4.tif", str(trained), method="occlusion"))
    offered = bool(prediction.maps_of("leave-one-out", "pink"))
    assert offered or load_model(trained)[0].name not in EXACT
    if not offered:
        with pytest.raises(
            ModelError, match=r"there is no leave-one-out of .*: (without a patch, more changes|its answer)"
        ):
            run(explain(cohort.parent / "pink4.tif", str(trained), method="leave-one-out"))
    if offered and not any(len(step.zoomed) for step in prediction.steps):
        # with a patch of a lower magnification, occlusion leaves out those inside it too
        occluded, step = found.scores[-1], prediction.steps[-1]
        np.testing.assert_allclose(step.explained["leave-one-out"], occluded.values, atol=2e-4)


def test_points_teach_its_attention_or_are_refused(trained: Path, cohort: Path, tmp_path: Path) -> None:
    points = Points(classes=[CellClass("pink", (213, 94, 0))])
    points.add(np.random.default_rng(0).uniform(40, 120, (9, 2)), 1)
    job = finetune(cohort.parent / "pink4.tif", points, str(trained), out=tmp_path / "taught", epochs=20)
    model, _ = load_model(trained)
    if type(model).attention_logits is MILModel.attention_logits:
        with pytest.raises(ModelError, match="has no attention over patches"):
            run(job)
        return
    assert "attention_on_points_10x" in run(job).metrics
    taught = dict(load_model(tmp_path / "taught")[0].named_parameters())
    changed = {name for name, weight in model.named_parameters() if (weight != taught[name]).any()}
    attention = {id(weight) for weight in trained_parameters(model)}
    assert changed and {id(model.get_parameter(name)) for name in changed} <= attention


@pytest.mark.parametrize("method", ["grad-cam", "saliency"])
def test_it_is_explained_by(method: str, trained: Path, cohort: Path) -> None:
    explanation = run(explain(cohort.parent / "pink4.tif", str(trained), method=method))
    assert explanation.maps and all(np.isfinite(one.values).any() for one in explanation.maps)
