from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box
from napari_zoommil.jobs import explain, predict, run
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.prediction_files import write_explanation
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue


def test_grad_cam_of_the_predicted_class_by_default(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0))))
    prediction = explanation.prediction
    assert (explanation.method, explanation.target) == ("grad-cam", prediction.predicted)
    assert explanation.maps == explanation.maps_of("grad-cam", prediction.predicted)
    assert [made.magnification for made in explanation.maps] == [5, 10]
    index = prediction.class_names.index(prediction.predicted)
    for made, one, step in zip(explanation.maps, explanation.scores, prediction.steps, strict=True):
        np.testing.assert_array_equal(one.rows, step.rows)
        origin = prediction.grid.levels[one.level].origins[one.rows[0]]
        assert made.at(*(origin + 1)) == one.values[index, 0]


@pytest.mark.parametrize(
    "method",
    [name for name, one in METHODS.items() if one.needs != "pixels" and name != "local-evidence"],
)
def test_each_method_explains_the_prediction(cmu: Path, make_model: Callable, method: str) -> None:
    name, seen = make_model((5.0, 10.0)), []
    prediction = run(predict(cmu, name))
    explanation = run(explain(cmu, name, method=method), seen.append)
    np.testing.assert_array_equal(explanation.prediction.logits, prediction.logits)
    assert not sum(explanation.prediction.cost.encoded), "the features are there"
    assert {made.kind for made in explanation.maps} == (
        {"attention", "zoom"} if method == "attention" else {method}
    )
    if METHODS[method].computed:
        assert any(one.note.startswith(f"{METHODS[method].title}: ") for one in seen)
    else:
        assert explanation.scores == ()


def test_what_a_method_is_computed_of_is_cancelled_between_patches(cmu: Path, make_model: Callable) -> None:
    job = explain(cmu, make_model((5.0, 10.0)), method="occlusion")
    while not next(job).note.startswith("Occlusion: 1 of"):
        pass
    job.close()


def test_a_model_whose_answer_is_no_sum_has_no_evidence(cmu: Path, make_model: Callable) -> None:
    name = make_model((5.0, 10.0), classifier="mlp")
    for method in ("evidence", "leave-one-out"):
        with pytest.raises(
            ModelError, match=f"there is no {method} of .*: its answer is no sum over patches"
        ):
            run(explain(cmu, name, method=method))
    assert run(predict(cmu, name)).kinds == (("attention", None), ("zoom", None))


def test_an_unknown_method_is_refused_before_any_work(cmu: Path, make_model: Callable) -> None:
    with pytest.raises(ModelError, match="there is no method 'lime'; choose one of attention, evidence"):
        next(explain(cmu, make_model(), method="lime"))


def test_a_class_by_name(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0)), target="tumour"))
    assert {made.target for made in explanation.maps} == {"tumour"}


def test_attention_has_no_class(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0)), method="attention"))
    assert explanation.target is None
    with pytest.raises(ModelError, match="attention does not tell classes apart; choose another method"):
        next(explain(cmu, make_model((5.0, 10.0)), method="attention", target="tumour"))
    assert [made.title for made in explanation.maps] == ["attention 5x", "attention 10x", "zoom attention 5x"]


def test_an_unknown_class_is_refused_before_any_work(cmu: Path, make_model: Callable) -> None:
    with pytest.raises(ModelError, match="no class 'metastasis'; it has benign, tumour"):
        next(explain(cmu, make_model(), target="metastasis"))


def test_it_takes_what_predict_takes_and_says_the_same_of_it() -> None:
    own, predicts = fields(explain), fields(predict)
    shared = ("model", "encoder", "mpp", "icc", "min_tissue", "device", "batch_size", "workers", "threads")
    for name in (*shared, "tissue"):
        assert own[name] == predicts[name]


def test_it_reads_what_it_is_told_to(cmu: Path, make_model: Callable) -> None:
    model = make_model((5.0, 10.0))
    whole = Tissue(np.ones((30, 23), bool), (100.0, 100.0))
    least = run(explain(cmu, model, tissue=whole, min_tissue=0.9, workers=1, threads=1)).prediction
    assert len(least.grid.levels[0]) == len(
        run(predict(cmu, model, tissue=whole, min_tissue=0.9)).grid.levels[0]
    )
    assert len(least.grid.levels[0]) > len(run(explain(cmu, model)).prediction.grid.levels[0])


def test_a_prediction_that_was_made_is_explained_as_it_is(
    cmu: Path, make_model: Callable, make_slide: Callable, tmp_path: Path
) -> None:
    model, seen = make_model((5.0, 10.0)), []
    inside = Box(0, 0, 1200, 1200)
    prediction = run(predict(cmu, model, regions=[inside]))
    found = run(explain(cmu, model, prediction=prediction), seen.append)
    assert found.prediction is prediction and found.maps[0].title == "Grad-CAM tumour 5x"
    assert {one.level for one in found.scores} == {0, 1}
    assert not [one for one in seen if "tissue" in one.note], "its patches are known"
    other = make_slide(tmp_path / "other.tif", (200, 90, 150))
    with pytest.raises(ModelError, match=r"the prediction is of another slide than other\.tif"):
        run(explain(other, model, prediction=prediction))
    changed = replace(prediction, logits=prediction.logits + 1)
    with pytest.raises(ModelError, match="has changed since the prediction: run it again"):
        run(explain(cmu, model, prediction=changed))


def test_a_patch_is_opened_where_the_model_read_one(cmu: Path, make_model: Callable, tmp_path: Path) -> None:
    model = make_model((5.0, 10.0))
    prediction = run(predict(cmu, model))
    step = prediction.steps[1]
    patch = prediction.grid.levels[1].origins[step.rows[0]]
    focus = Focus(at=tuple((patch + 5).tolist()))
    found = run(explain(cmu, model, method="occlusion", focus=focus, prediction=prediction))
    (shown,) = found.maps
    np.testing.assert_allclose(shown.origin, patch)
    assert shown.magnification == 10 and shown.values.shape == (8, 8) and found.scores == ()
    low = run(explain(cmu, model, method="saliency", focus=replace(focus, only_magnification=5.0)))
    assert low.maps[0].magnification == 5 and low.maps[0].values.any()
    with pytest.raises(ModelError, match="no layer of the encoder mean-rgb keeps 16 × 16 places"):
        run(explain(cmu, model, focus=focus))
    with pytest.raises(ModelError, match="attention gives a value to a patch and none to its pixels; choose"):
        next(explain(cmu, model, method="attention", focus=focus))
    with Slide.open(cmu) as slide:
        written = write_explanation(slide, found, tmp_path / "out")
    names = {str(path.relative_to(tmp_path / "out")) for path in written}
    assert f"patch-{focus.at[0]:.0f}-{focus.at[1]:.0f}/occlusion-{found.target}-10x.png" in names
