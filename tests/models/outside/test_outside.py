"""A model that another package brings: installed like any, it is trained, used and shown like our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cli import main
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import Progress, explain, finetune, predict, run, train
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.models import create, names
from napari_zoommil.models.registry import entries, entry
from napari_zoommil.models.spec import load_model

NAME, PACKAGE = "outside-abmil", "zoommil_abmil"
COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}
SPLITS = ("train", "train", "val", "test")


def install(site: Path, package: str, points: dict[str, str]) -> None:
    """What pip leaves of a package that has entry points."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[napari_zoommil.models]\n{lines}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with the model in it."""
    folder = tmp_path / "site"
    install(folder, PACKAGE, {NAME: f"{PACKAGE}:ENTRY"})
    shutil.copy(Path(__file__).with_name(f"{PACKAGE}.py"), folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are kept for the next fine-tuning are kept with the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def cohort(tmp_path: Path, make_slide: Callable[..., Path]) -> Path:
    lines = ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(SPLITS):
            make_slide(tmp_path / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    return tmp_path / "cohort.csv"


@pytest.mark.usefixtures("site")
def test_it_is_trained_predicts_explains_is_taught_and_shown(cohort: Path, tmp_path: Path) -> None:
    assert NAME in names() and "zoommil" in names()
    settings = {"options": {"hidden": 32, "attention": 16}, "epochs": 12, "learning_rate": 1e-2}
    training = run(
        train(
            cohort, NAME, store=tmp_path / "features", out=tmp_path / "model", encoder="mean-rgb",
            magnifications=(10.0,), patch_size=32, **settings,
        )
    )  # fmt: skip
    assert training.metrics["test_accuracy"] == 1
    model, spec = load_model(training.model)
    assert type(model).__name__ == "ABMIL" and spec.config["hidden"] == 32

    seen: list[Progress] = []
    prediction = run(predict(tmp_path / "pink3.tif", str(training.model)), seen.append)
    assert prediction.predicted == "pink" and prediction.steps[0].heads == ("attention",)
    assert any(progress.partial for progress in seen), "its attention is shown while it works"

    explanation = run(explain(tmp_path / "pink3.tif", str(training.model), target="blue"))
    (cam,) = explanation.maps
    assert cam.title == "Grad-CAM blue 10x"
    assert np.isfinite(cam.values).sum() == len(prediction.steps[0].rows)

    points = Points(classes=[CellClass("pink", (213, 94, 0))])
    points.add(np.random.default_rng(0).uniform(40, 120, (9, 2)), 1)
    out = tmp_path / "taught"
    taught = run(finetune(tmp_path / "pink3.tif", points, str(training.model), out=out, epochs=3))
    assert taught.kind == "mil" and load_model(out)[0].name == NAME
    shown(tmp_path / "pink3.tif", prediction)


@pytest.mark.usefixtures("site")
def test_commands_and_docks_take_it_like_our_own(cohort: Path, tmp_path: Path, qtbot, capsys) -> None:  # type: ignore[no-untyped-def]
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QWidget

    from napari_zoommil.viewer.docks.model_choice import ModelChoice

    def call(*arguments: object) -> dict[str, Any]:
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments), "--json"])
        told = capsys.readouterr()
        assert not end.value.code, told.err
        return json.loads(told.out)  # type: ignore[no-any-return]

    folder, slide = tmp_path / "trained", tmp_path / "pink3.tif"
    training = call(
        "train", cohort, "--model", NAME, "--store", tmp_path / "features", "--out", folder,
        "--set", "hidden=32", "--set", "attention=16", "--encoder", "mean-rgb",
        "--magnifications", "10", "--patch-size", 32,
        "--epochs", 12, "--learning-rate", 0.01,
    )  # fmt: skip
    assert training["metrics"]["test_accuracy"] == 1
    model, spec = load_model(folder)
    assert type(model).__name__ == "ABMIL" and (spec.config["hidden"], spec.config["attention"]) == (32, 16)
    assert call("predict", slide, "--model", folder, "--out", tmp_path / "found")["predicted"] == "pink"
    assert (tmp_path / "found" / "attention-10x.ome.tiff").is_file()
    call("explain", slide, "--model", folder, "--target", "blue", "--out", tmp_path / "why")
    assert any(one.suffix == ".png" for one in (tmp_path / "why").iterdir())

    parent = QWidget()
    qtbot.addWidget(parent)
    choice = ModelChoice(parent, lambda: None, ("mil",), hub=True)  # as the Attention dock has it
    choice.offer([folder])
    assert choice.itemText(choice.findData(str(folder))) == "trained"
    choice.choose(folder)
    assert choice.chosen == str(folder) and choice.kind == "mil"
    assert choice.itemData(choice.currentIndex(), Qt.ItemDataRole.ToolTipRole) == f"trained · 10x\n{folder}"


def shown(path: Path, prediction) -> None:  # type: ignore[no-untyped-def]
    """Its maps as layers."""
    from napari.components import ViewerModel

    from napari_zoommil.viewer.layers.overlays import show_overlay
    from napari_zoommil.viewer.layers.slide import open_slide_layer
    from napari_zoommil.viewer.metadata import slide_of

    viewer = ViewerModel()
    data, arguments, _ = open_slide_layer(path)
    slide = slide_of(viewer.add_image(data, **arguments))
    maps = prediction.maps_of("attention")
    layer = show_overlay(viewer, slide, Overlay.of(maps, "times"))
    assert layer.name == "pink3 · attention" and layer in viewer.layers
    assert np.asarray(layer.data[-1][:, :])[..., 3].any()


@pytest.mark.usefixtures("site")
def test_its_options_and_recipes_are_known() -> None:
    found = entry(NAME)
    assert found.recipe("paper").epochs == 20 and found.magnifications() == (20.0,)
    torch.manual_seed(0)
    model = create(NAME, in_features=8, classes=3, hidden="16")
    assert model.config()["hidden"] == 16 and model.embed[0].weight.shape == (16, 8)
    with pytest.raises(ModelError, match=f"{NAME} cannot be built: it uses one magnification, not 5x"):
        create(NAME, magnifications=(5, 10))
    with pytest.raises(ModelError, match="there is no option 'k'; there are hidden, attention, dropout"):
        create(NAME, k=3)


def test_a_command_in_a_process_of_its_own_lists_it(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "napari_zoommil.cli", "models", "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True,
    )  # fmt: skip
    found = {one["model"]: one for one in json.loads(done.stdout)}
    assert found[NAME]["options"]["hidden"]["default"] == 512
    assert found[NAME]["recipes"] == ["default", "paper"] and "Ilse" in found[NAME]["citation"]


def test_a_broken_package_breaks_nothing(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"gone": "not_installed:ENTRY", "no-entry": "json:dumps", "raises": "raising:ENTRY"}
    install(site, "broken", points | {"zoommil": "raising:ENTRY"})
    (site / "raising.py").write_text("raise SystemError('of an old compiler')\n")
    with pytest.warns(UserWarning) as warned:
        found = entries()
    assert set(found) >= {"zoommil", NAME} and not points.keys() & found.keys()
    said = sorted(str(one.message) for one in warned)
    assert said == [
        "the model 'gone' of the package broken cannot be used "
        "(ModuleNotFoundError: No module named 'not_installed')",
        "the model 'no-entry' of the package broken cannot be used (json:dumps is not an Entry)",
        "the model 'raises' of the package broken cannot be used (SystemError: of an old compiler)",
    ]
    assert found["zoommil"].target == "napari_zoommil.models.zoommil:ZoomMIL", "nobody takes our names"
    with pytest.raises(ModelError, match="'raises' of the package broken cannot be used"):
        create("raises")
    with pytest.raises(SystemExit) as end:
        main(["models"])
    told = capsys.readouterr()
    assert not end.value.code and NAME in told.out
    assert "warning: the model 'gone' of the package broken cannot be used" in told.err


@pytest.mark.usefixtures("site")
def test_a_class_that_is_not_there_is_said(site: Path) -> None:
    text = (site / f"{PACKAGE}.py").read_text().replace('"zoommil_abmil:ABMIL"', '"zoommil_abmil:ABMILL"')
    (site / f"{PACKAGE}.py").write_text(text)
    with pytest.raises(ModelError, match="zoommil_abmil:ABMILL cannot be imported"):
        create(NAME)


def test_a_model_folder_names_the_package_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architecture": NAME, "config": {"magnifications": [10]}, "encoder": "mean-rgb",
                "encoder_hash": "0", "patch_size": 32, "class_names": ["a", "b"],
            }
        )
    )  # fmt: skip
    with pytest.raises(ModelError, match=f"holds a '{NAME}', which this version does not support"):
        load_model(tmp_path)
