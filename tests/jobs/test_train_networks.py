"""From a cohort to a prediction with maps and explanations, with each network of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import explain, predict, run, train
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.models.spec import load_model
from napari_zoommil.training.flags import TrainerFlags

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}
SPLITS = ("train", "train", "train", "val", "test")

NETWORKS: dict[str, dict[str, Any]] = {
    "transmil": {
        "options": {"hidden": 64, "heads": 2, "landmarks": 8}, "magnifications": (10.0,),
        "learning_rate": 3e-3,
    },
    "msmil": {
        "options": {"hidden": 64, "attention": 16, "adversarial": 0.001}, "magnifications": (5.0, 10.0),
        "learning_rate": 1e-2,
    },
    "sparseconvmil": {
        "options": {"channels": (16, 16), "hidden": 16}, "magnifications": (10.0,),
        "learning_rate": 1e-2,
    },
}  # fmt: skip

OFFERED = {
    "transmil": {"attention", "grad-cam", "saliency", "occlusion", "occlusion-glass"},
    "msmil": {"attention", "evidence", "grad-cam", "saliency", "occlusion", "occlusion-glass"},
    "sparseconvmil": {"attention", "grad-cam", "saliency", "occlusion", "occlusion-glass"},
}
"""Methods of explanation; familiarity needs no model, and is tested elsewhere."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(SPLITS):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_trained_predicts_and_is_explained(cohort: Path, tmp_path: Path, name: str) -> None:
    training = run(
        train(
            cohort, name, store=cohort.parent / "features", out=tmp_path / "model", encoder="mean-rgb",
            patch_size=32, epochs=20, flags=TrainerFlags(accumulate=1), **NETWORKS[name],
        )
    )  # fmt: skip
    assert training.metrics["test_accuracy"] == 1
    model, spec = load_model(training.model)
    assert model.name == name and spec.magnifications == NETWORKS[name]["magnifications"]

    slide = cohort.parent / "pink4.tif"
    prediction = run(predict(slide, str(training.model)))
    assert prediction.predicted == "pink"
    for step in prediction.steps:
        assert step.scores.shape == (len(step.rows), len(model.heads)) and step.heads == model.heads
    for shown in prediction.maps:
        on_tissue = prediction.grid.levels[spec.magnifications.index(shown.magnification)]
        assert np.isfinite(shown.values).sum() == len(on_tissue)
    _explained(slide, str(training.model), name, prediction)


def _explained(slide: Path, model: str, name: str, prediction: Prediction) -> None:
    for method in METHODS.keys() - {"familiarity"}:
        if method not in OFFERED[name]:
            with pytest.raises(ModelError, match=f"there is no {method} of"):
                run(explain(slide, model, method=method))  # type: ignore[arg-type]
            continue
        explanation = run(explain(slide, model, method=method))  # type: ignore[arg-type]
        assert explanation.maps and explanation.prediction.predicted == "pink"
        if METHODS[method].per_output:
            assert len(explanation.maps) == len(prediction.grid.levels)
            assert any((one.values[np.isfinite(one.values)] != 0).any() for one in explanation.maps)
