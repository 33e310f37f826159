"""Features in files of other tools: predicting and explaining with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.errors import FeatureFileError, ModelError, UnknownEncoderError
from napari_zoommil.jobs import embed, estimate, explain, export_features, predict, run
from napari_zoommil.jobs.feature_files import files_of
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.prediction_files import read_prediction, write_prediction
from napari_zoommil.slides.absent import AbsentSlide

READ: dict[str, Any] = {"magnifications": (5.0, 10.0, 20.0), "patch_size": 128}


@pytest.fixture(scope="module")
def store(cmu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    run(embed(cmu, "mean-rgb", store=folder, **READ))
    return folder


@pytest.fixture(scope="module")
def exported(cmu: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trident")
    run(export_features(cmu, "mean-rgb", store=store, out=folder, **READ))
    return folder


@pytest.mark.parametrize("there", [True, False])
def test_a_prediction_from_files_is_that_of_the_slide(
    cmu: Path, store: Path, exported: Path, make_model: Callable[..., str], tmp_path: Path, there: bool
) -> None:
    """Through three magnifications, nested by geometry alone."""
    model = make_model()
    expected = run(predict(cmu, model, store=store))
    slide = cmu if there else tmp_path / "elsewhere" / cmu.name
    found = run(predict(slide, model, features=[exported]))
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5)
    assert found.cost.taken == expected.cost.taken and sum(found.cost.encoded) == 0
    assert (found.slide, found.grid.shape) == (cmu.name, expected.grid.shape)
    for one, other in zip(found.maps, expected.maps, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-6)
        assert np.allclose(one.origin, other.origin) and np.allclose(one.downsample, other.downsample)
        assert one.mpp == (other.mpp if there else None)
    shown = AbsentSlide(slide, found.grid.shape, None, found.fingerprint)
    assert (tmp_path / "out" / "attention.png") in write_prediction(shown, found, tmp_path / "out")
    assert read_prediction(tmp_path / "out").predicted == expected.predicted


def test_features_of_patches_of_another_size_are_passed_over(
    cmu: Path, exported: Path, tmp_path: Path
) -> None:
    for scale in exported.iterdir():
        (tmp_path / scale.name).symlink_to(scale)
    shutil.copytree(exported / "20x_128px_0px_overlap", tmp_path / "20x_064px_0px_overlap")
    with h5py.File(tmp_path / "20x_064px_0px_overlap/features_mean-rgb" / f"{cmu.stem}.h5", "a") as file:
        file["coords"].attrs.update({"patch_size": 64, "patch_size_level0": 64})
    files = files_of(cmu, FeatureFolders((tmp_path,)), None, None, 128)
    (one,) = files.at((20.0,))
    assert one.patch_size == 128 and len(files.stated) == 3
    with pytest.raises(FeatureFileError, match="several files of patches at 20x"):
        files_of(cmu, FeatureFolders((tmp_path,)), None, None, None).at((20.0,))


def test_a_file_stands_for_its_slide(exported: Path, make_model: Callable[..., str]) -> None:
    """It has one magnification, and the model needs three."""
    file = next(exported.glob("20x_*/features_mean-rgb/*.h5"))
    with pytest.raises(ModelError, match=r"reads 5x, 10x, 20x, but .* at 20x; give .* 5x, 10x too"):
        run(predict(file, make_model()))


def test_gradients_and_leaving_out_need_no_pixels(
    cmu: Path, store: Path, exported: Path, make_model: Callable[..., str]
) -> None:
    model = make_model()
    for method in ("grad-cam", "saliency", "leave-one-out", "attention"):
        found = run(explain(cmu, model, features=[exported], method=method))
        expected = run(explain(cmu, model, store=store, method=method))
        for one, other in zip(found.maps, expected.maps, strict=True):
            np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-5)
    with pytest.raises(ModelError, match="statistics"):
        run(explain(cmu, model, features=[exported], method="familiarity"))


def test_features_of_something_else_are_refused_by_name(
    cmu: Path, exported: Path, make_model: Callable[..., str]
) -> None:
    with pytest.raises(FeatureFileError, match=r"holds features of the encoder mean-rgb, not of nic"):
        run(predict(cmu, make_model(), features=[exported], encoder="nic"))
    assert "was trained on features of the encoder resnet50, but CMU-1-Small-Region.h5" in (
        _said_of_spec(cmu, exported, make_model, encoder="resnet50")
    )
    assert "other weights of the encoder mean-rgb (hash 0000" in (
        _said_of_spec(cmu, exported, make_model, encoder_hash="0" * 16)
    )
    assert "reads patches of 64 px, but those of CMU-1-Small-Region.h5 have 128 px" in (
        _said_of_spec(cmu, exported, make_model, patch_size=64)
    )
    unknown = _said_of_spec(cmu, exported, make_model, encoder="", encoder_hash="")
    assert "does not know the encoder" in unknown and "say so with --encoder mean-rgb" in unknown


def _said_of_spec(cmu: Path, exported: Path, make_model: Callable[..., str], **spec: Any) -> str:
    with pytest.raises((ModelError, UnknownEncoderError)) as told:
        run(predict(cmu, make_model(**spec), features=[exported]))
    return str(told.value)


def test_an_imported_model_takes_features_of_the_encoder_that_the_user_names(
    cmu: Path, exported: Path, make_model: Callable[..., str]
) -> None:
    model = make_model(encoder="", encoder_hash="")
    assert run(predict(cmu, model, features=[exported], encoder="meanrgb")).cost.taken[0] > 0


def test_what_has_no_effect_on_files_is_refused(
    cmu: Path, exported: Path, make_model: Callable[..., str]
) -> None:
    square = [np.array([(0, 0), (0, 500), (500, 500)])]
    for options in ({"overlap": 0.5}, {"regions": square}):
        with pytest.raises(ModelError, match=r"no effect on them; leave these or --features out"):
            run(predict(cmu, make_model(), features=[exported], **options))


def test_what_files_hold_costs_nothing(exported: Path, cmu: Path, make_model: Callable[..., str]) -> None:
    found = run(estimate(cmu, make_model(), features=[exported]))
    made = run(predict(cmu, make_model(), features=[exported]))
    assert found.tissue is None and found.seconds == 0 and found.patches == found.taken
    assert found.taken[0] == made.cost.taken[0] and found.exhaustive == len(made.grid.levels[-1])
    with pytest.raises(ModelError, match="have no effect on them"):
        run(estimate(cmu, make_model(), features=[exported], add=(np.zeros((3, 2)),)))


def test_a_slide_without_a_file_does_not_stop_the_others(
    cmu: Path, exported: Path, make_model: Callable[..., str]
) -> None:
    from functools import partial

    job = partial(predict, model=make_model(), features=[exported])
    missing, found = run(over(job, [Path("other.svs"), cmu]))
    assert "no feature file of other.svs" in str(missing.error) and found.error is None


def test_a_model_of_feature_files_asks_for_them(cmu: Path, make_model: Callable[..., str]) -> None:
    model = make_model(encoder="meanrgb", encoder_hash="")
    with pytest.raises(UnknownEncoderError, match=r"feature files of the encoder 'meanrgb'; give such files"):
        run(predict(cmu, model))
    assert run(predict(cmu, model, encoder="mean-rgb")).cost.encoded[0] > 0  # the user vouches for it


def test_zoommils_own_files_are_predicted(cmu: Path, make_model: Callable[..., str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / f"{cmu.stem}.h5", "w") as file:
        paths = np.indices((3, 3)).reshape(2, -1).T
        for scale in ("5.0x", "10.0x", "20.0x"):
            file[f"{scale}_coords"] = paths
            file[f"{scale}_patches"] = rng.random((len(paths), 3), dtype=np.float32)
            halves = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
            paths = np.concatenate([np.repeat(paths, 4, 0), np.tile(halves, (len(paths), 1))], 1)
    with pytest.raises(UnknownEncoderError, match="does not state the encoder"):
        run(predict(cmu, make_model(), features=[tmp_path]))
    found = run(predict(cmu, make_model(), features=[tmp_path], encoder="mean-rgb"))
    assert [len(level) for level in found.grid.levels] == [9, 36, 144]
    low, high = found.grid.levels[0], found.grid.levels[2]
    assert low.size == (512, 512) and high.size == (128, 128)
    assert low.origins.min(0).tolist() == [-52, -170]  # 2967 × 2220 px, padded to 3072 × 2560
