"""Predictions over a cohort: made once, kept for the window, found again."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil import jobs
from napari_zoommil.jobs import cohort_predict, prediction_store, run
from napari_zoommil.jobs.cohort_predict import kept_answers, predict_and_keep
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.model_folder import WEIGHTS
from napari_zoommil.resources import resource
from napari_zoommil.slides import Slide
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.viewer.reading import Reading

predict = partial(predict_and_keep, device="cpu", threads=1, workers=1)


def known(slides: list[Path], model: str, **way: object) -> dict[Path, object]:
    found: dict[Path, object] = {}
    run(kept_answers(slides, model, **way), lambda progress: found.update(progress.partial))
    return found


@pytest.fixture
def model(tmp_path) -> str:
    """A copy of the shipped model."""
    return str(shutil.copytree(resource("models", "demo"), tmp_path / "model"))


def test_a_cohort_is_predicted_once_and_a_failure_stops_nothing(other_slide, tmp_path, model) -> None:
    broken = tmp_path / "broken.svs"
    broken.write_bytes(b"no slide")
    slides = [broken, other_slide]
    assert known(slides, model) == {}
    failed, done = run(over(partial(predict, model=model), slides))
    assert failed.error is not None and "broken.svs" in str(failed.error)
    found = known(slides, model)
    assert list(found) == [other_slide]
    np.testing.assert_array_equal(found[other_slide].values, done.result.values)
    assert found[other_slide].task == done.result.task
    assert found[other_slide].familiarity == done.result.familiarity

    with Slide.open(other_slide) as slide:  # as the window reads it when the slide is opened
        (kept,) = prediction_store.kept(slide.fingerprint, slide.mpp, slide.colour_managed)
    assert kept.prediction.maps and kept.where == "all tissue" and kept.read_as.tissue.mask.any()

    assert known(slides, "demo") == {}, "of another model"
    os.utime(Path(model) / WEIGHTS, (kept.made + 9, kept.made + 9))
    assert known(slides, model) == {}, "the model was trained anew since"


def test_a_prediction_of_a_part_of_the_slide_is_not_one_of_the_slide(other_slide) -> None:
    with Slide.open(other_slide) as slide:
        run(predict(other_slide))
        (kept,) = prediction_store.kept(slide.fingerprint, slide.mpp)
        assert list(known([other_slide], "demo")) == [other_slide]
        prediction_store.forget(slide.fingerprint, kept.made)
        part = prediction_store.KeptPrediction(
            kept.prediction, kept.made, "all tissue, 1 left out", slide.mpp, False, kept.read_as
        )
        prediction_store.keep(part)
        assert known([other_slide], "demo") == {}


def test_tissue_is_found_as_the_model_finds_it(other_slide, make_model) -> None:
    model = make_model((5.0, 10.0), tissue_detector="gaussian-crc")
    answer = run(predict(other_slide, model))
    with Slide.open(other_slide) as slide:
        (kept,) = (
            one
            for one in prediction_store.kept(slide.fingerprint, slide.mpp)
            if one.prediction.model == model
        )
        found, default = (run(find_tissue(slide, name)) for name in ("gaussian-crc", DEFAULT))
    assert (found.mask != default.mask).any()
    np.testing.assert_array_equal(kept.read_as.tissue.mask, found.mask)
    assert list(known([other_slide], model)) == [other_slide]
    prediction_store.forget(kept.prediction.fingerprint, kept.made)
    prediction_store.keep(replace(kept, read_as=replace(kept.read_as, detector=DEFAULT)))
    assert known([other_slide], model) == {}, "of tissue that another detector found"
    by_itself = run(jobs.predict(other_slide, model, device="cpu"))
    np.testing.assert_allclose(answer.values, by_itself.values, atol=1e-6)
    assert len(kept.prediction.grid.levels[0]) == len(by_itself.grid.levels[0])


def test_slides_without_predictions_are_not_opened(other_slide, monkeypatch) -> None:
    monkeypatch.setattr(cohort_predict.Slide, "open", lambda *_: pytest.fail("it was opened"))
    assert known([other_slide, Path("not there.svs")], "demo") == {}


@pytest.fixture
def one_scale(tmp_path) -> str:
    """An untrained model of one magnification."""
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model

    network = create("abmil", in_features=3, classes=2, magnifications=(10.0,), hidden=8, attention=4)
    found = load_encoder("mean-rgb").hash
    spec = ModelSpec("abmil", network.config(), "mean-rgb", found, 128, ("benign", "tumour"))
    save_model(tmp_path / "abmil", network, spec, "# Test\n")
    return str(tmp_path / "abmil")


def test_another_way_to_read_is_another_prediction(other_slide, one_scale, tmp_path) -> None:
    """Of overlapping patches, of features in files, and as the model reads by default."""
    model, read = one_scale, {"magnifications": (10.0,), "patch_size": 128}
    run(jobs.embed(other_slide, "mean-rgb", store=tmp_path / "store", **read))
    run(jobs.export_features(other_slide, "mean-rgb", store=tmp_path / "store", out=tmp_path / "h5", **read))
    ways = ({}, {"overlap": 64.0}, {"features": (tmp_path / "h5",)}, {"min_tissue": 0.9})
    for number, way in enumerate(ways):
        assert known([other_slide], model, **way) == {}
        answer = run(predict(other_slide, model, **way))
        found = known([other_slide], model, **way)
        np.testing.assert_array_equal(found[other_slide].values, answer.values)
        assert len(known([other_slide], model)) == 1, "that of the default way stays"
        with Slide.open(other_slide) as slide:
            kept = next(prediction_store.kept(slide.fingerprint, slide.mpp))
        told = ("all tissue", "all tissue, overlap 64", "feature files", "all tissue, tissue share from 0.9")
        assert kept.where == told[number]
        restored = Reading.restored(kept.read_as)
        assert {name: restored.how[name] for name in way} == way, "it is explained as it was made"
        assert (restored.tissue is None) == ("features" in way)


def test_a_slide_need_not_be_there_if_its_features_are(other_slide, one_scale, tmp_path) -> None:
    model, read = one_scale, {"magnifications": (10.0,), "patch_size": 128}
    run(jobs.embed(other_slide, "mean-rgb", store=tmp_path / "store", **read))
    run(jobs.export_features(other_slide, "mean-rgb", store=tmp_path / "store", out=tmp_path / "h5", **read))
    gone = tmp_path / "gone" / other_slide.name
    way = {"features": (tmp_path / "h5",)}
    expected = run(predict(other_slide, model, **way))
    np.testing.assert_allclose(run(predict(gone, model, **way)).values, expected.values, rtol=1e-5)
    assert known([gone], model, **way) == {}
