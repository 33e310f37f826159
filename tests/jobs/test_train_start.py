"""Trainings that start from a model: its weights, its reading, and a new head for other classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_zoommil.errors import EncoderError, ModelError, UnknownEncoderError
from napari_zoommil.jobs import import_model, predict, run, train
from napari_zoommil.models import create
from napari_zoommil.models.origins import ORIGINS
from napari_zoommil.models.spec import load_model, read_spec
from napari_zoommil.models.warm_start import copy_weights, head_modules
from napari_zoommil.training.run import provenance_of, read_curves

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    lines, others = ["slide,label,split"], ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(("train", "train", "train", "val")):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
            others.append(f"{label}{number}.tif,{label}ish,{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    (folder / "others.csv").write_text("\n".join(others))
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def trained(cohort: Path) -> str:
    """A CLAM-SB that tells the colours apart."""
    reading = {"encoder": "mean-rgb", "magnifications": (10.0,), "patch_size": 32, "min_tissue": 0.2}
    options = {"hidden": 32, "attention": 8, "dropout": 0.0, "instance_loss": "ce"}
    how = {"epochs": 40, "learning_rate": 1e-2, "device": "cpu", "options": options}
    out, store = cohort.parent / "trained", cohort.parent / "features"
    return str(run(train(cohort, "clam_sb", store=store, out=out, **reading, **how)).model)


@pytest.fixture
def settings(cohort: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "store": cohort.parent / "features", "out": tmp_path / "model", "epochs": 1,
        "learning_rate": 1e-4, "device": "cpu",
    }  # fmt: skip


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_it_starts_where_the_model_ended(cohort: Path, trained: str, settings: dict[str, Any]) -> None:
    result = run(train(cohort, start=trained, **settings))
    (line,), before = read_curves(result.model), read_curves(Path(trained))
    assert line["train_loss"] < before[0]["train_loss"] / 2
    assert line["val_loss"] == pytest.approx(before[-1]["val_loss"], rel=0.1)
    spec, own = read_spec(result.model), read_spec(trained)
    for name in ("architecture", "config", "encoder", "encoder_hash", "patch_size", "min_tissue"):
        assert getattr(spec, name) == getattr(own, name)
    told = provenance_of(result.model)["from"]
    assert told["model"] == "trained" and len(told["weights"]) == 16
    assert spec.training["from"] == told
    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert f"began with the weights of `trained` ({told['weights']})" in card


def test_other_classes_get_a_new_head(cohort: Path, trained: str, settings: dict[str, Any]) -> None:
    result = run(train(cohort.parent / "others.csv", start=trained, **settings))
    assert result.class_names == ("blueish", "pinkish")
    new, own = weights(result.model), weights(trained)
    changed = {name: float((new[name] - own[name]).abs().max()) for name in own}
    assert changed["classify.weight"] > 0.05 and changed["instances.0.weight"] > 0.05
    assert changed["embed.0.weight"] < 0.01 and changed["attend.score.weight"] < 0.01


def test_the_order_of_the_models_classes_is_kept(
    cohort: Path, trained: str, settings: dict[str, Any]
) -> None:
    config = Path(trained) / "config.json"
    told = config.read_text()
    try:
        config.write_text(told.replace('"blue"', '"x"').replace('"pink"', '"blue"').replace('"x"', '"pink"'))
        assert read_spec(trained).class_names == ("pink", "blue")
        result = run(train(cohort, start=trained, **settings))
    finally:
        config.write_text(told)
    assert result.class_names == ("pink", "blue")
    # It answers the wrong way round, as a head of that order should: it was not made anew.
    assert result.metrics["val_accuracy"] == 0


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": "abmil"}, ModelError, "has the architecture clam_sb, but the training was given abmil"),
        ({"magnifications": (5.0,)}, ModelError, "has the magnifications 10x, but the training was given 5x"),
        ({"patch_size": 64}, ModelError, "has the patch size in px 32, but the training was given 64"),
        ({"encoder": "nic"}, EncoderError, "was trained on other weights"),
        ({"options": {"hidden": 9}}, ModelError, "change the shape of weights .*embed.0.bias"),
        ({"start": "no-such-model"}, ModelError, "there is no model 'no-such-model'"),
    ],
)
def test_what_differs_from_the_model_is_refused(
    cohort: Path,
    trained: str,
    settings: dict[str, Any],
    changes: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        run(train(cohort, **{"start": trained, **settings, **changes}))
    assert not settings["out"].exists()


def test_options_that_do_not_shape_weights_may_change(
    cohort: Path, trained: str, settings: dict[str, Any]
) -> None:
    result = run(train(cohort, start=trained, options={"dropout": 0.5}, patch_size=32, **settings))
    assert read_spec(result.model).config["dropout"] == 0.5


def test_a_training_from_a_model_resumes(cohort: Path, trained: str, settings: dict[str, Any]) -> None:
    whole = run(train(cohort, start=trained, **{**settings, "epochs": 2}))
    cut = {**settings, "epochs": 2, "out": settings["out"].with_name("cut")}
    job = train(cohort, start=trained, **cut)
    for progress in job:
        if progress.note.startswith("epoch 2"):
            job.close()
    again = run(train(cohort, start=trained, resume=True, **cut))
    for name, value in weights(whole.model).items():
        torch.testing.assert_close(weights(again.model)[name], value)


def test_a_feather_folder_is_fine_tuned(cohort: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    """It comes without a head and names no encoder: both come with the training."""
    torch.manual_seed(0)
    folder, own = tmp_path / "feather", create("abmil", 3, 2, hidden=32).state_dict()
    folder.mkdir()
    names = {name: f"model.{ORIGINS['abmil'].published(name)}" for name in own if "classify" not in name}
    save_file({theirs: own[name] for name, theirs in names.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "abmil", "gate": True}))
    how = {"patch_size": 32, "magnifications": (10.0,), "out": tmp_path / "imported"}
    start = str(run(import_model(folder, "abmil", **how)).model)
    settings |= {"epochs": 40, "learning_rate": 1e-2}
    with pytest.raises(UnknownEncoderError, match="imported without the name of its encoder"):
        run(train(cohort, start=start, **settings))
    with pytest.raises(EncoderError, match="takes 3 features per patch, but the encoder nic makes 128"):
        run(train(cohort, start=start, encoder="nic", **settings))
    result = run(train(cohort, start=start, encoder="mean-rgb", **settings))
    assert result.metrics["val_accuracy"] == 1
    for label in COLOURS:
        assert run(predict(cohort.parent / f"{label}3.tif", str(result.model))).predicted == label


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("abmil", ("classify",)),
        ("clam_sb", ("classify", "instances")),
        ("clam_mb", ("attend.score", "classify", "instances")),
        ("dsmil", ("bag", "instance")),
        ("transmil", ("classifier",)),
        ("zoommil", ("classifier",)),
        ("meanmil", ("classify",)),
    ],
)
def test_the_head_is_what_belongs_to_classes(name: str, head: tuple[str, ...]) -> None:
    def make(classes: int) -> Any:
        return create(name, 6, classes)

    assert head_modules(make, 2) == head
    source, target = make(3), make(2)
    assert copy_weights(source, target, make, same_classes=False) == head
    for key, value in target.state_dict().items():
        kept = not key.startswith(tuple(f"{module}." for module in head))
        other = source.state_dict().get(key)
        if kept:
            assert other is not None
            torch.testing.assert_close(value, other)


def test_the_model_itself_stays_as_it_is(cohort: Path, trained: str, settings: dict[str, Any]) -> None:
    before = weights(trained)
    run(train(cohort, start=trained, **settings))
    assert all(torch.equal(value, before[name]) for name, value in weights(trained).items())
    load_model(trained)
