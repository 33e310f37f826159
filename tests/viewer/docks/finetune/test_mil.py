"""The Fine-tune dock with a MIL model: from points to attention before and after, kept or discarded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.jobs import finetune_runs
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.training.mil import points
from napari_zoommil.training.run import RUN
from napari_zoommil.viewer.docks.attention.dock import AttentionDock
from napari_zoommil.viewer.docks.finetune.state import AFTER, ATTENTION, BEFORE
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.overlays import MAP, show_overlay
from napari_zoommil.viewer.metadata import TITLE, slide_of

MINUTE = 60_000
QUICK = points.PointRecipe(epochs=6, learning_rate=1e-2)
MAPS = [f"attention {side}" for side in (BEFORE, AFTER)]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setitem(points.PRESETS, "interactive", QUICK)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, over mean colours."""
    import torch

    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model

    torch.manual_seed(0)
    network = create(
        "zoommil", in_features=3, classes=2, magnifications=(5.0, 10.0), k=2, hidden=8, attention=4
    )
    encoder = load_encoder("mean-rgb").hash
    spec = ModelSpec("zoommil", network.config(), "mean-rgb", encoder, 32, ("benign", "tumour"))
    folder = tmp_path_factory.mktemp("models") / "colours"
    save_model(folder, network, spec, "# Test\n")
    return folder


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """512 × 512 px at 1 µm/px: pink tissue with a purple corner, on glass."""
    rng = np.random.default_rng(0)
    image = np.full((512, 512, 3), 245, np.int16)
    image[64:-64, 64:-64] = (220, 130, 170)
    image[64:256, 64:256] = (120, 60, 160)
    pixels = (image + rng.integers(-9, 10, image.shape, np.int16)).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("slides") / "tissue.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), resolution=(1e4, 1e4), resolutionunit="CENTIMETER")
    return path


@pytest.fixture
def path(tissue: Path, tmp_path: Path) -> Path:
    """A slide of its own, with points of one class of the model and a class without points."""
    path = Path(shutil.copy(tissue, tmp_path / "slide.tif"))
    points = Points("reader", [CellClass("Tumour", (213, 94, 0)), CellClass("benign", (0, 114, 178))])
    points.add(np.random.default_rng(0).uniform((80, 80), (250, 250), (9, 2)), 1)
    points.write(path.with_name("slide.points.geojson"))
    return path


@pytest.fixture
def ready(hidden_window, path, model, add_slide, qtbot) -> tuple:
    viewer = hidden_window
    layer = add_slide(viewer, path)
    dock = show_dock(viewer, "Fine-tune")
    dock.model.choose(model)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    return viewer, dock, layer


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def free(dock) -> bool:
    return not (dock._training.running or dock.views.running or dock._looking.running)


def teach(qtbot, dock) -> None:
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: dock.lesson.run is not None and free(dock), timeout=MINUTE)


def views(viewer) -> dict[str, bool]:
    return {layer.metadata[TITLE]: layer.visible for layer in viewer.layers if MAP in layer.metadata}


def shown(viewer) -> list[str]:
    return sorted(title for title, visible in views(viewer).items() if visible)


def document(dock) -> Points:
    return dock.lesson.entry.document.points


def test_attention_before_and_after(ready, model, path, qtbot) -> None:
    viewer, dock, layer = ready
    assert dock.model.currentText() == "colours" and dock.slide_is.isHidden()
    assert "9&nbsp;Tumour. Patches of 5x, 10x that hold points of Tumour" in dock.what.text()
    assert dock.what.text().endswith("the slide is taken to be tumour.") and "window" not in dock.what.text()
    assert dock.settings.advanced["epochs"].native.text() == "6 (preset)"
    assert dock.device.text().startswith("Device: ")
    teach(qtbot, dock)
    assert sorted(views(viewer)) == sorted(MAPS) and all(AFTER in title for title in shown(viewer))
    assert len(shown(viewer)) == 1 and viewer.layers.selection.active is layer
    click(qtbot, dock.verdict.before)
    assert all(BEFORE in title for title in shown(viewer)) and len(shown(viewer)) == 1
    dock.views.change_over()
    assert dock.verdict.after.isChecked() and len(shown(viewer)) == 1
    before, after = (dock.lesson.layers[side, ATTENTION].metadata[MAP].maps[0] for side in (BEFORE, AFTER))
    assert not np.array_equal(before.values, after.values, equal_nan=True)
    run = dock.lesson.run
    assert run.request.kind == "mil" and dock.model.chosen == str(model), "the old model stays in use"
    assert json.loads((run.folder / RUN).read_text())["label"] == "tumour"
    table, told = dock.verdict.table.text(), dock.verdict.told.text()
    assert all(title in table for title in ("attention at 5x", "attention at 10x", "probability of tumour"))
    assert f"{run.metrics['attention_on_points_5x']:.1%}"[:-1] in table
    assert "nothing was held out" in told and "check it on others" in told
    assert dock.verdict.again.isHidden() and dock.unfinished.isHidden()
    assert [line["epoch"] for line in run.history] == list(range(6)) and "point_loss" in run.history[0]
    assert len(dock.lesson.trace.losses) == 6 and not dock.curves.isHidden()
    assert dock.widget().minimumSizeHint().width() <= 300


def test_a_kept_model_goes_to_the_docks_that_take_it(ready, path, qtbot) -> None:
    viewer, dock, _ = ready
    attention, detect = show_dock(viewer, "Attention"), show_dock(viewer, "Detect cells")
    used = detect.model.chosen
    teach(qtbot, dock)
    dock.verdict.name.setText("mine")
    click(qtbot, dock.verdict.keep)
    kept = path.parent / "slide.models" / "mine"
    assert dock.model.chosen == attention.model.chosen == str(kept) and detect.model.chosen == used
    reopened = AttentionDock(viewer)
    qtbot.addWidget(reopened)
    assert reopened.model.chosen == str(kept), "a dock that is opened later uses it too"
    assert views(viewer) == {} and dock.verdict.isHidden()
    assert f"Kept as {kept}, and chosen" in dock.act.note.text()
    qtbot.waitUntil(lambda: dock.act.button.isEnabled() and free(dock), timeout=MINUTE)
    assert finetune_runs.kept(slide_of(viewer.layers[0])) == (kept,)
    assert attention.model.findData(str(kept)) >= 0 and detect.model.findData(str(kept)) < 0


def test_a_discarded_model_leaves_nothing_and_what_it_covered_comes_back(ready, path, qtbot) -> None:
    viewer, dock, layer = ready
    slide = slide_of(layer)
    values = np.zeros((2, 2), np.float32)
    old, hand = (
        show_overlay(
            viewer, slide, Overlay.of([HeatMap(values, (0, 0), (256, 256), slide.mpp, 5, kind)], "raw")
        )
        for kind in ("attention", "zoom")
    )
    hand.visible = False
    teach(qtbot, dock)
    assert not old.visible and not hand.visible and len(shown(viewer)) == 1
    click(qtbot, dock.verdict.discard)
    assert sorted(views(viewer)) == ["attention", "zoom attention"] and old.visible and not hand.visible
    assert not (path.parent / "slide.models").exists()
    assert "colours stays in use" in dock.act.note.text() and dock.curves.isHidden()


def test_what_was_hidden_by_hand_stays_hidden(ready, qtbot) -> None:
    viewer, dock, _ = ready
    teach(qtbot, dock)
    dock.lesson.layers[AFTER, ATTENTION].visible = False
    dock._refresh()
    assert shown(viewer) == []
    dock.views.change_over()
    assert shown(viewer) == [f"attention {BEFORE}"], "it was asked for"


def test_points_of_several_classes_ask_what_the_slide_is(ready, qtbot) -> None:
    _, dock, _ = ready
    document(dock).add((300.0, 300.0), 2)
    qtbot.waitUntil(lambda: not dock.slide_is.isHidden(), timeout=MINUTE)
    choice = dock.slide_is.choice
    assert [choice.itemText(n) for n in range(choice.count())] == ["choose…", "benign", "tumour"]
    assert "benign or tumour" in dock.what.text()
    assert not dock.act.button.isEnabled() and "what this slide is" in dock.act.button.toolTip()
    choice.setCurrentText("benign")
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    assert "hold points of benign" in dock.what.text() and "taken to be benign" in dock.what.text()
    document(dock).add((310.0, 310.0), 2)
    qtbot.waitUntil(lambda: "2&nbsp;benign. P" in dock.what.text() and free(dock), timeout=MINUTE)
    assert dock.slide_is.label == "benign", "what was said stays said"
    teach(qtbot, dock)
    assert dock.lesson.run.request.label == "benign"
    assert json.loads((dock.lesson.run.folder / RUN).read_text())["label"] == "benign"


def test_points_of_no_class_of_the_model(ready, qtbot) -> None:
    _, dock, _ = ready
    document(dock).rename_class(1, "follicle")
    qtbot.waitUntil(lambda: not dock.slide_is.isHidden(), timeout=MINUTE)
    assert "No class of the model is named like your points" in dock.what.text()
    assert dock.slide_is.choice.currentText() == "not said" and dock.act.button.isEnabled()
    dock.slide_is.choice.setCurrentText("tumour")
    qtbot.waitUntil(lambda: dock.what.text().endswith("tumour, as you say."), timeout=MINUTE)


def test_a_cancelled_training_leaves_nothing(ready, path, qtbot) -> None:
    viewer, dock, _ = ready
    dock.settings.advanced["epochs"].value = 5000
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) > 1, timeout=MINUTE)
    assert sorted(views(viewer)) == MAPS[:1] == shown(viewer), "before is there while it trains"
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    assert views(viewer) == {} and dock.act.note.text() == "Cancelled"
    assert not (path.parent / "slide.models").exists() and dock.unfinished.isHidden()


def test_another_slide_in_mid_run_sees_nothing_of_it(ready, tissue, add_slide, qtbot) -> None:
    viewer, dock, layer = ready
    first = dock.lesson
    click(qtbot, dock.act.button)
    add_slide(viewer, tissue)
    qtbot.waitUntil(lambda: first.run is not None and free(dock), timeout=MINUTE)
    assert sorted(views(viewer)) == sorted(MAPS) and shown(viewer) == [] and dock.verdict.isHidden()
    viewer.layers.selection.active = layer
    assert dock.lesson is first and not dock.verdict.isHidden()
    assert len(shown(viewer)) == 1 and all(AFTER in title for title in shown(viewer))


def test_a_training_that_was_killed_is_not_gone_on_with(
    make_napari_viewer, path, model, add_slide, qtbot
) -> None:
    viewer = make_napari_viewer()
    slide = slide_of(add_slide(viewer, path))
    finetune_runs.begin(slide, finetune_runs.Request(str(model), kind="mil"))
    dock = show_dock(viewer, "Fine-tune")
    qtbot.waitUntil(lambda: not dock.unfinished.isHidden(), timeout=MINUTE)
    assert dock.unfinished.resume.isHidden() and dock.unfinished.told.text().endswith("was cut off.")
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    click(qtbot, dock.unfinished.discard)
    qtbot.waitUntil(lambda: dock.unfinished.isHidden(), timeout=MINUTE)
    assert not (path.parent / "slide.models").exists()


def test_a_model_nobody_decided_on_waits_without_its_maps(ready, qtbot) -> None:
    viewer, dock, _ = ready
    teach(qtbot, dock)
    metrics = dock.lesson.run.metrics
    viewer.window.remove_dock_widget(dock)
    assert views(viewer) == {}
    again = show_dock(viewer, "Fine-tune")
    qtbot.waitUntil(lambda: not again.verdict.isHidden() and free(again), timeout=MINUTE)
    assert again.lesson.run.metrics == metrics and not again.verdict.after.isEnabled()
    assert "run it in the Attention dock" in again.verdict.after.toolTip()
