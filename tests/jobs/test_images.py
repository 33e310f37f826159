"""A model of images from end to end: trained on a folder, used on images and on regions of slides."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.geometry import NATIVE, Box
from napari_zoommil.jobs import estimate, explain, faithfulness, predict, prediction_store, run, train
from napari_zoommil.jobs.cohort_predict import kept_answers, predict_and_keep
from napari_zoommil.jobs.prediction_files import read_prediction, summary, write_explanation, write_prediction
from napari_zoommil.jobs.prediction_store import KeptPrediction
from napari_zoommil.maps.focus import Focus, MethodOptions
from napari_zoommil.models.spec import load_model, read_spec
from napari_zoommil.slides import Slide
from napari_zoommil.slides.image_grid import image_shape
from napari_zoommil.viewer.reading import Reading

NEEDLES = {"with": (110, 60, 150), "without": (150, 190, 60)}
"""Colours of the discs of both classes."""

SETTINGS: dict[str, Any] = {
    "model": "bagnet",
    "recipe": "cpu",
    "options": {"receptive_field": 9, "width": 1 / 16},
    "settings": {"accumulate": 4, "learning_rate": 0.01, "milestones": (0.8,)},
    "epochs": 8,
    "device": "cpu",
}


def disc(rng: np.random.Generator, label: str) -> tuple[np.ndarray, tuple[int, int]]:
    """An image of its own size, and where its disc is."""
    height, width = rng.integers(40, 64, 2)
    pixels = rng.normal(190, 10, (height, width, 3))
    y, x = (int(rng.integers(12, edge - 12)) for edge in (height, width))
    pixels[y - 4 : y + 5, x - 4 : x + 5] = NEEDLES[label]
    return pixels.clip(0, 255).astype(np.uint8), (y, x)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3)):
        for label in NEEDLES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(disc(rng, label)[0]).save(folder / split / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    store = out.parent / "store"
    training = run(train(images, store=store, out=out, **SETTINGS))
    assert not store.exists(), "there is nothing to embed"
    chosen = {one.name: one for one in training.plan}
    assert not {"encoder", "patch_size", "min_tissue", "tissue_detector"} & set(chosen)
    assert chosen["magnifications"].value == [NATIVE]
    assert "states the size of its pixels" in chosen["magnifications"].reason
    assert training.metrics["val_accuracy"] > 0.8
    return out


def test_images_of_unknown_pixel_size_are_learnt(trained: Path) -> None:
    model, spec = load_model(trained)
    assert (spec.takes, spec.magnifications, spec.patch_size, spec.encoder) == ("image", (NATIVE,), 0, "")
    assert model.reads_images and not (trained / "familiarity.safetensors").exists()
    card = (trained / "README.md").read_text()
    assert "pixels that it was trained on is not known" in card and "patches of" not in card


def test_images_are_changed_at_random_where_a_model_reads_images(images: Path, tmp_path: Path) -> None:
    given = {"store": tmp_path / "store", "out": tmp_path / "out", "only_plan": True}
    settings = {"rotate_flip": "true", "brightness": 0.1}
    plan = {one.name: one for one in run(train(images, "bagnet", settings=settings, **given)).plan}
    assert plan["settings.rotate_flip"].value is True and plan["settings.contrast"].value == 0
    assert "settings.brightness" in plan and plan["settings.brightness"].reason == "as asked for"
    with pytest.raises(ModelError, match="reads patches and no images; leave rotate_flip and brightness out"):
        run(train(images, "abmil", settings=settings, **given | {"overwrite": True}))


def test_a_model_is_trained_on_changed_images(images: Path, tmp_path: Path) -> None:
    how = SETTINGS | {"epochs": 1, "options": {"receptive_field": 9, "width": 1 / 64}}
    losses = []
    for number, turned in enumerate((False, True, True)):
        out, settings = (
            tmp_path / f"{number}",
            how["settings"] | {"rotate_flip": turned, "contrast": 0.1 * turned},
        )
        run(train(images, store=tmp_path / "store", out=out, **how | {"settings": settings}))
        losses.append((out / "curves.csv").read_text())
    assert losses[0] != losses[1] == losses[2], "changed, and the same by the same seed"


def test_an_image_is_predicted_over_and_explained(trained: Path, tmp_path: Path) -> None:
    pixels, _ = disc(np.random.default_rng(5), "with")
    path = tmp_path / "new.png"
    Image.fromarray(pixels).save(path)
    found = run(predict(path, str(trained), store=tmp_path / "store"))
    assert found.predicted == "with" and found.probabilities[0] > 0.6
    assert found.cost.image == pixels.shape[:2] == image_shape(found.grid)
    assert found.cost.counted == f"an image of {pixels.shape[1]} × {pixels.shape[0]} px"
    assert summary(found)["magnifications"][0]["mpp"] is None
    with Slide.open(path) as slide:
        write_prediction(slide, found, tmp_path / "out")
    assert read_prediction(tmp_path / "out").cost == found.cost
    (places,) = found.maps_of("local-evidence", "with")
    bias = float(load_model(trained)[0].network.classify.bias[0])
    np.testing.assert_allclose(places.values.sum() + bias, found.logits[0], rtol=1e-4)
    assert (places.origin, places.downsample) == ((0.5, 0.5), (8, 8))  # a field of 9 px, every 8 px
    given = {"prediction": found, "target": "with", "store": tmp_path / "store"}
    shown = {
        method: run(
            explain(path, str(trained), method=method, method_options=MethodOptions(boxes=6), **given)
        ).maps
        for method in ("grad-cam", "local-evidence", "saliency", "occlusion", "occlusion-glass")
    }
    assert {len(maps) for maps in shown.values()} == {1}, "of one layer, the last one"
    assert shown["grad-cam"][0].values.shape == shown["local-evidence"][0].values.shape
    assert shown["saliency"][0].values.shape == pixels.shape[:2]
    for method in ("occlusion", "occlusion-glass"):
        (one,) = shown[method]
        row, column = np.unravel_index(np.nanargmax(one.values), one.values.shape)
        top, left, high, wide = (int(edge * one.downsample[0]) for edge in (row, column, row + 1, column + 1))
        with Slide.open(path) as slide:
            covered = pixels.copy()
            covered[top:high, left:wide] = slide.background
        Image.fromarray(covered).save(tmp_path / f"{method}.png")
        other = run(predict(tmp_path / f"{method}.png", str(trained), store=tmp_path / "store"))
        fall = found.logits[0] - other.logits[0]
        assert fall > 0 and one.values[row, column] == pytest.approx(fall, abs=1e-3), method
    curves = run(faithfulness(path, run(explain(path, str(trained), method="occlusion", **given))))
    assert curves.deletion[0] == pytest.approx(found.probabilities[0], abs=1e-5)
    assert curves.deletion[-1] == curves.insertion[0] and curves.deletion[-1] != curves.deletion[0]
    assert curves.areas["deletion"] <= curves.areas["deletion_random"]


def test_a_region_of_an_image_of_unknown_pixel_size_is_read_and_explained(
    trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new.png"
    Image.fromarray(disc(np.random.default_rng(5), "with")[0]).save(path)
    given: dict[str, Any] = {"regions": (Box(4, 8, 30, 24),), "store": tmp_path / "store"}
    found = run(predict(path, str(trained), **given))
    assert found.cost.image == (30, 24) and found.regions_mm2 is None
    window = Focus(window=(6, 10, 20, 16))
    shown = run(explain(path, str(trained), method="saliency", focus=window, prediction=found, **given))
    with Slide.open(path) as slide:
        write_explanation(slide, shown, tmp_path / "out")
    assert list((tmp_path / "out").rglob("saliency*.png"))


def test_a_region_of_a_slide_is_read_at_a_chosen_magnification(
    trained: Path, cmu: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"regions": (Box(200, 300, 240, 320),), "store": tmp_path / "store"}
    own = run(predict(cmu, str(trained), **how))
    assert own.cost.image == (240, 320) and own.regions_mm2 is not None
    coarse = run(predict(cmu, str(trained), magnification=10.0, **how))
    assert coarse.cost.image == (120, 160)
    np.testing.assert_allclose(coarse.grid.levels[0].size, (240, 320), atol=2.1)
    assert coarse.grid.levels[0].origins.tolist() == [[200, 300]]
    assert run(estimate(cmu, str(trained), magnification=10.0, **how)).image == (120, 160)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"regions": (Box(0, 0, 90, 90), Box(500, 500, 90, 90))}, "2 areas apart"),
        ({"regions": (Box(0, 0, 8, 90),)}, "too small"),
        ({"overlap": 0.5}, "no patches"),
        ({"min_tissue": 0.5}, "no patches"),
        ({"model": "demo", "magnification": 10.0}, "magnifications of its training"),
    ],
)
@pytest.mark.parametrize("job", [predict, estimate])
def test_what_an_image_does_not_have_is_refused(
    job: Callable, trained: Path, cmu: Path, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    options = {"model": str(trained), "store": tmp_path / "store"} | given
    with pytest.raises(ModelError, match=said):
        run(job(cmu, **options))


def test_a_whole_slide_that_does_not_fit_into_memory_is_refused_by_its_estimate(
    trained: Path, cmu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.encoders import device

    monkeypatch.setattr(device, "free_bytes", lambda _: 10_000_000)
    with pytest.raises(ModelError, match=r"GB are free; give a smaller region or a lower magnification"):
        run(estimate(cmu, str(trained)))


def test_pixels_of_unknown_size_are_no_obstacle_to_an_estimate_or_a_cohort(
    trained: Path, tmp_path: Path
) -> None:
    path, model = tmp_path / "new.png", str(trained)
    pixels = disc(np.random.default_rng(6), "with")[0]
    Image.fromarray(pixels).save(path)
    told = run(estimate(path, model, store=tmp_path / "store"))
    assert told.tissue is None and told.image == pixels.shape[:2]
    answer = run(predict_and_keep(path, model, store=tmp_path / "store", device="cpu"))
    np.testing.assert_allclose(answer.values, run(predict(path, model, device="cpu")).values, atol=1e-6)
    with Slide.open(path) as slide:
        assert slide.mpp is None
        (kept,) = prediction_store.kept(slide.fingerprint, None)
    assert kept.read_as is not None and kept.read_as.tissue is None
    found: dict[Path, Any] = {}
    run(kept_answers([path], model), lambda progress: found.update(progress.partial))
    assert list(found) == [path]


def test_a_prediction_at_another_magnification_is_not_that_of_the_default(
    trained: Path, other_slide: Path
) -> None:
    model, found = str(trained), {}
    reading = Reading(None, None, {"magnification": 1.25})
    assert reading.ways.text == "all tissue, at 1.25x"
    coarse = run(predict(other_slide, model, device="cpu", magnification=1.25))
    with Slide.open(other_slide) as slide:
        prediction_store.keep(
            KeptPrediction(coarse, time.time(), reading.ways.text, slide.mpp, False, reading.stored)
        )
        kept = next(prediction_store.kept(slide.fingerprint, slide.mpp))
    assert Reading.restored(kept.read_as).how["magnification"] == 1.25, "it is explained as it was made"
    run(kept_answers([other_slide], model), lambda progress: found.update(progress.partial))
    assert not found
    prediction_store.keep(replace(kept, where="all tissue", made=kept.made + 1))
    run(kept_answers([other_slide], model), lambda progress: found.update(progress.partial))
    assert not found, "whatever it is called"


def test_images_are_trained_on_at_a_magnification_where_all_state_it(
    colour_cohort: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"store": tmp_path / "store", "only_plan": True, **SETTINGS}
    plan = run(train(colour_cohort, out=tmp_path / "plan", **how)).plan
    chosen = {one.name: one for one in plan}
    assert chosen["magnifications"].value == [10.0] and "lowered to 10x" in chosen["magnifications"].reason
    native = run(train(colour_cohort, out=tmp_path / "own", magnifications=(NATIVE,), **how)).plan
    assert {one.name: one for one in native}["magnifications"].value == [NATIVE]
    shutil.copy(colour_cohort, tmp_path / "cohort.csv")
    for path in colour_cohort.parent.glob("*.tif"):
        with Slide.open(path) as slide:
            Image.fromarray(slide.read_level(0, 0, 0, *slide.shape)).save(tmp_path / path.name, format="PNG")
    shutil.copy(colour_cohort.parent / "blue0.tif", tmp_path / "blue0.tif")
    with pytest.raises(CohortError, match="9 of 10 state no pixel size") as told:
        run(train(tmp_path / "cohort.csv", out=tmp_path / "mixed", **how))
    assert len(told.value.faults) == 10
    assert run(train(tmp_path / "cohort.csv", out=tmp_path / "mixed", mpp=1.0, **how))


@pytest.mark.parametrize("given", [{"patch_size": 64}, {"encoder": "nic"}, {"min_tissue": 0.5}])
def test_what_only_patches_have_is_refused(images: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="reads images and no patches; leave"):
        run(train(images, store=tmp_path / "store", out=tmp_path / "model", **SETTINGS | given))


def test_a_training_starts_from_a_model_of_images(trained: Path, images: Path, tmp_path: Path) -> None:
    how = {name: one for name, one in SETTINGS.items() if name not in ("model", "options")} | {"epochs": 1}
    again = run(train(images, start=str(trained), store=tmp_path / "s", out=tmp_path / "m", **how))
    assert read_spec(again.model).magnifications == (NATIVE,)


def test_the_mean_of_folds_predicts_over_images(images: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label in NEEDLES:
            shutil.copytree(images / split / label, tmp_path / "all" / label, dirs_exist_ok=True)
    how = SETTINGS | {"epochs": 1, "folds": 2}
    made = run(train(tmp_path / "all", store=tmp_path / "s", out=tmp_path / "m", **how))
    spec = read_spec(made.model)
    assert (spec.architecture, spec.takes) == ("ensemble", "image")
    found = run(predict(next((tmp_path / "all" / "with").glob("*.png")), str(made.model)))
    np.testing.assert_allclose(found.probabilities.sum(), 1, rtol=1e-5)
