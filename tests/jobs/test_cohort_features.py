"""Training on feature files, with and without the slides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.jobs import predict, run, train
from napari_zoommil.models.spec import read_spec

SPLITS = ("train", "train", "train", "val", "test")


def write(
    path: Path, mean: float, seed: int, width: int = 6, encoder: str = "uni_v1", size: int = 256
) -> None:
    """A slide of TRIDENT, half of whose patches tell its class."""
    rng = np.random.default_rng(seed)
    count = 12 + seed
    features = rng.normal(0, 0.3, (count, width)).astype(np.float16)
    features[::2] += np.float16(mean)
    with h5py.File(path, "w") as file:
        file["features"] = features
        file["features"].attrs["encoder"] = encoder
        file["coords"] = np.stack(np.unravel_index(rng.permutation(30)[:count], (6, 5)), 1)[:, ::-1] * size
        file["coords"].attrs.update(
            {
                "patch_size": size, "patch_size_level0": size, "level0_magnification": 20,
                "target_magnification": 20, "overlap": 0,
            }
        )  # fmt: skip


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Ten slides that are not there, and their features; half of them are named by their files."""
    folder = tmp_path / "features"
    folder.mkdir()
    lines = ["slide,label,split"]
    for label, mean in (("low", -1.0), ("high", 1.0)):
        for number, split in enumerate(SPLITS):
            write(folder / f"{label}{number}.h5", mean, number)
            name = f"gone/{label}{number}.svs" if number % 2 else f"features/{label}{number}.h5"
            lines.append(f"{name},{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    return tmp_path / "cohort.csv"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "model": "abmil", "features": [tmp_path / "features"], "store": tmp_path / "store",
        "out": tmp_path / "model", "options": {"hidden": 8, "attention": 4}, "epochs": 15,
        "learning_rate": 1e-2,
    }  # fmt: skip


def test_a_cohort_is_learnt_without_its_slides(cohort: Path, settings: dict[str, Any]) -> None:
    seen = []
    training = run(train(cohort, **settings), seen.append)
    assert training.metrics["test_accuracy"] == 1
    assert any(one.note.startswith("checking features: slide 10 of 10") for one in seen)
    spec = read_spec(training.model)
    assert (spec.encoder, spec.encoder_hash, spec.patch_size) == ("uni_v1", "", 256)
    assert spec.magnifications == (20.0,) and spec.config["in_features"] == 6
    for label in ("low", "high"):
        found = run(predict(cohort.parent / f"features/{label}4.h5", str(training.model)))
        assert found.predicted == label and found.cost.taken == (16,)
    assert not settings["store"].exists()  # nothing was encoded


def test_all_faults_of_features_are_told_at_once(cohort: Path, settings: dict[str, Any]) -> None:
    folder = cohort.parent / "features"
    (folder / "low1.h5").unlink()
    (folder / "low2.h5").write_bytes(b"")
    with h5py.File(folder / "high1.h5", "a") as file:
        del file["coords"]
    with cohort.open("a") as file:
        file.write("\n,low,train\nfeatures/low3.pt,high,train")
    with pytest.raises(CohortError) as told:
        run(train(cohort, **settings))
    assert len(told.value.faults) == 5, told.value.faults
    for said in (
        "line 3: there is no feature file of low1.svs", "line 4: low2.h5 is empty",
        "line 8: high1.h5 has no coordinates", "line 12: slide is empty", "low3.pt is a pickle",
    ):  # fmt: skip
        assert any(said in fault for fault in told.value.faults), said


def test_features_that_differ_are_told(cohort: Path, settings: dict[str, Any]) -> None:
    folder = cohort.parent / "features"
    write(folder / "low1.h5", 0, 1, width=7, encoder="conch_v15", size=512)
    with pytest.raises(CohortError) as told:
        run(train(cohort, **settings))
    assert len(told.value.faults) == 3
    assert (
        "they differ in the encoder uni_v1 (9, such as low0.h5) and conch_v15 (1, such as low1.h5)"
        in (told.value.faults[0])
    )


def test_features_that_are_not_finite_are_found_before_the_training(
    cohort: Path, settings: dict[str, Any]
) -> None:
    for name in ("low0", "high4"):
        with h5py.File(cohort.parent / f"features/{name}.h5", "a") as file:
            file["features"][3, 2] = np.inf
    with pytest.raises(CohortError) as told:
        run(train(cohort, **settings))
    assert [fault[:8] for fault in told.value.faults] == ["low0.h5 ", "high4.h5"]


def test_what_the_user_says_must_be_what_files_state(cohort: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"patches of 256 px, but the training was given 128"):
        run(train(cohort, **settings, patch_size=128))
    with pytest.raises(CohortError, match="holds features of the encoder uni_v1, not of resnet50"):
        run(train(cohort, **settings, encoder="resnet50"))
    with pytest.raises(CohortError, match="features at 10x are needed"):
        run(train(cohort, **settings, magnifications=(10.0,)))
    with pytest.raises(ModelError, match="reads pixels of the slides"):
        run(train(cohort, **settings | {"model": "sparseconvmil_pixels", "options": {}}))


def test_turned_patches_are_not_in_files(cohort: Path, settings: dict[str, Any]) -> None:
    small = {"region": 8, "padding": "same", "width": 4, "strides": (2, 1)}
    nic = settings | {"model": "nic", "options": small, "epochs": 1, "magnifications": (20.0,)}
    with pytest.raises(ModelError, match="feature files hold patches as they are; choose views=1"):
        run(train(cohort, **nic))
    training = run(train(cohort, **nic | {"options": small | {"views": 1}}))
    assert read_spec(training.model).architecture == "nic"
    (reason,) = (one.reason for one in training.plan if one.name == "options.views")
    assert reason.endswith("patches are encoded once and not turned, only their places are")


def test_the_encoder_is_asked_for_where_no_file_states_it(cohort: Path, settings: dict[str, Any]) -> None:
    for path in (cohort.parent / "features").iterdir():
        with h5py.File(path, "a") as file:
            del file["features"].attrs["encoder"]
    with pytest.raises(CohortError, match="does not state the encoder of its features; name it"):
        run(train(cohort, **settings))
    training = run(train(cohort, **settings | {"epochs": 1}, encoder="uni_v1"))
    assert read_spec(training.model).encoder == "uni_v1"


def test_a_training_starts_from_a_model_of_the_same_features(
    cohort: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    first = run(train(cohort, **settings | {"epochs": 1})).model
    again = settings | {"out": tmp_path / "again", "start": str(first), "epochs": 1, "model": None}
    del again["options"]
    assert read_spec(run(train(cohort, **again)).model).encoder == "uni_v1"
    for path in (cohort.parent / "features").iterdir():
        with h5py.File(path, "a") as file:
            file["features"].attrs["encoder"] = "conch_v15"
    with pytest.raises(ModelError, match=r"trained on features of the encoder uni_v1, but low0.h5 holds"):
        run(train(cohort, **again | {"out": tmp_path / "third"}))


def test_slides_among_feature_files_need_features_too(
    cohort: Path, settings: dict[str, Any], make_slide: Callable[..., Path]
) -> None:
    del settings["features"]
    make_slide(cohort.parent / "one.tif", (120, 90, 200))
    lines = [line for line in cohort.read_text().splitlines() if "gone" not in line]
    cohort.write_text("\n".join([*lines, "one.tif,low,train", "features/low3.h5,low,val"]))
    with pytest.raises(CohortError, match=r"line 8: one.tif is a slide, but other lines name feature files"):
        run(train(cohort, **settings))
