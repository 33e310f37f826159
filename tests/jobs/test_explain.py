from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import explain, predict, run
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.maps.methods import METHODS
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


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.needs != "pixels"])
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


def test_attention_to_a_class_where_there_is_one(cmu: Path, tmp_path: Path) -> None:
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model

    for name in ("clam_mb", "dsmil"):
        small = {"hidden": 8, "attention": 4} if name == "clam_mb" else {"query": 4}
        network = create(name, in_features=3, classes=2, magnifications=(10.0,), **small)
        classes, found = ("benign", "tumour"), load_encoder("mean-rgb").hash
        spec = ModelSpec(name, network.config(), "mean-rgb", found, 128, classes)
        save_model(tmp_path / name, network, spec, "# Test\n")
        every = run(explain(cmu, str(tmp_path / name), method="attention"))
        assert every.target is None and {one.target for one in every.maps_of("attention", "benign")}
        for target in classes:
            explanation = run(explain(cmu, str(tmp_path / name), method="attention", target=target))
            assert [(one.kind, one.target) for one in explanation.maps] == [("attention", target)]
            (expected,) = every.maps_of("attention", target)
            np.testing.assert_array_equal(explanation.maps[0].values, expected.values)


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
