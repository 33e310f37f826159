"""The Fine-tune dock on a real slide: from points to a kept model, cut off and gone on with."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from napari_zoommil.annotations import Autosave, CellClass, Points
from napari_zoommil.cells.model import load_cell_model
from napari_zoommil.training.cells import presets
from napari_zoommil.training.cells.module import CellRecipe
from napari_zoommil.training.run import CHECKPOINT, RUN
from napari_zoommil.viewer.docks.finetune import dock as module
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.metadata import TITLE, slide_of
from napari_zoommil.viewer.worker import OUTDATED

MINUTE = 60_000
BEFORE, AFTER = "cells before", "cells after"
QUICK = CellRecipe(
    epochs=2, draws=8, batch_size=4, accumulate=1, learning_rate=1e-3, crop=64, background=1.0, stained=False
)


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "interactive", QUICK)


@pytest.fixture
def path(cmu: Path, tmp_path: Path) -> Path:
    """A slide of its own, with 12 points far enough apart for a window each."""
    path = Path(shutil.copy(cmu, tmp_path / "slide.svs"))
    points = Points("reader", [CellClass("tumour", (0, 114, 178), 10.0), CellClass("stroma", (213, 94, 0))])
    points.add(np.indices((3, 4)).reshape(2, -1).T * 300.0 + 400, 1)
    points.write(path.with_name("slide.points.geojson"))
    return path


@pytest.fixture
def bare(cmu: Path, tmp_path: Path) -> Path:
    """Another slide, which nobody has annotated."""
    (tmp_path / "bare").mkdir()
    return Path(shutil.copy(cmu, tmp_path / "bare" / "other.svs"))


@pytest.fixture
def opened(path, add_slide, make_cell_model, qtbot) -> Callable[[napari.Viewer], tuple]:
    """Brings a viewer on the points at 10x, and the dock with an untrained model, ready."""

    def make(viewer: napari.Viewer) -> tuple:
        layer = add_slide(viewer, path)
        viewer.scene.camera.zoom = 4
        viewer.scene.camera.center = (0, 300, 400)
        dock = show_dock(viewer, "Fine-tune")
        dock.model.choose(Path(make_cell_model()))
        qtbot.waitUntil(lambda: known(dock), timeout=MINUTE)
        return viewer, dock, layer

    return make


@pytest.fixture
def ready(hidden_window, opened) -> tuple:
    return opened(hidden_window)


@pytest.fixture
def ready_alone(make_napari_viewer, opened) -> tuple:
    """The same in a window that is new."""
    return opened(make_napari_viewer())


def known(dock) -> bool:
    return bool(dock.lesson.found and dock.lesson.found.windows is not None)


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def free(dock) -> bool:
    return not (dock._training.running or dock.views.running or dock._looking.running)


def teach(qtbot, dock) -> None:
    """Press Fine-tune and wait for before and after."""
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: dock.lesson.run is not None and free(dock), timeout=MINUTE)


def cut_off(qtbot, dock) -> None:
    """Cancel a training of 30 epochs after its second one."""
    dock.settings.advanced["epochs"].value = 30
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) >= 2, timeout=MINUTE)
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: free(dock) and dock.lesson.unfinished is not None, timeout=MINUTE)


def views(viewer) -> dict[str, bool]:
    return {
        layer.metadata[TITLE]: layer.visible
        for layer in viewer.layers
        if layer.metadata.get(TITLE) in (BEFORE, AFTER)
    }


def test_what_it_will_train_on_follows_the_annotations(ready, qtbot) -> None:
    _, dock, _ = ready
    assert "12&nbsp;tumour" in dock.what.text() and "stroma" not in dock.what.text()
    assert "in 12 windows, 2 of them held out" in dock.what.text() and "region" not in dock.what.text()
    assert dock.device.text().startswith("Device: ")
    assert (
        dock.settings.advanced["epochs"].native.text() == "2 (preset)"
        and "0.001" in dock.settings.advanced["learning_rate"].native.currentText()
    )
    points = dock.lesson.entry.document.points
    points.add((410.0, 410.0), 2)
    points.add_complete([(400, 400), (400, 450), (450, 450)])
    qtbot.waitUntil(lambda: "1 complete region" in dock.what.text() and known(dock), timeout=MINUTE)
    assert "1&nbsp;stroma" in dock.what.text()


def test_what_another_program_writes_is_seen_when_the_window_is_looked_at(ready, qtbot) -> None:
    _, dock, layer = ready
    saved = Autosave.of(slide_of(layer), "them")
    saved.points.add((410.0, 410.0), 2)
    qtbot.wait(50)
    QApplication.sendEvent(dock, QEvent(QEvent.Type.WindowActivate))
    qtbot.waitUntil(lambda: "1&nbsp;stroma" in dock.what.text() and known(dock), timeout=MINUTE)


def test_another_resolution_in_mid_run_ends_it(ready, qtbot) -> None:
    viewer, dock, _ = ready
    dock.settings.advanced["epochs"].value = 200
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) >= 1, timeout=MINUTE)
    dock._session.set_mpp(dock.lesson.entry, 0.25)
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    assert dock.lesson.run is None and dock.act.note.text() == OUTDATED and views(viewer) == {}


def test_a_training_ends_in_before_and_after(ready, path, qtbot) -> None:
    viewer, dock, layer = ready
    model = dock.model.chosen
    teach(qtbot, dock)
    assert views(viewer) == {BEFORE: False, AFTER: True}
    assert all(slide_of(each) is slide_of(layer) for each in viewer.layers)
    assert viewer.layers.selection.active is layer
    click(qtbot, dock.verdict.before)
    assert views(viewer) == {BEFORE: True, AFTER: False}
    dock.views.change_over()
    assert views(viewer) == {BEFORE: False, AFTER: True}
    assert dock.model.chosen == model, "the old model stays in use"
    assert not dock.act.button.isEnabled() and "Keep or discard" in dock.act.button.toolTip()
    assert "annotated cells found" in dock.verdict.table.text() and "per mm²" in dock.verdict.table.text()
    assert "F1" not in dock.verdict.table.text()
    trace = dock.lesson.trace
    assert len(trace.history) == 2 and len(trace.losses) >= 2 and trace.places[-1] == 2
    assert not dock.curves.isHidden() and "Trained in" in dock.act.note.text()
    (folder,) = (path.parent / "slide.models" / "runs").iterdir()
    about = json.loads((folder / RUN).read_text())
    assert about["model"] == Path(model).name and about["points"]["tumour"] == 12
    assert {"curves.csv", "config.json", "model.safetensors"} < {one.name for one in folder.iterdir()}


def test_a_kept_model_is_used_from_now_on(ready, path, qtbot) -> None:
    viewer, dock, _ = ready
    told = []

    def hear(folder, kind) -> None:
        told.append((folder, kind))

    dock._session.model_kept.connect(hear)
    teach(qtbot, dock)
    assert dock.verdict.name.text().startswith("yollo-1 20")
    dock.verdict.name.setText("mine")
    click(qtbot, dock.verdict.keep)
    kept = path.parent / "slide.models" / "mine"
    assert dock.model.chosen == str(kept) and dock.model.currentText() == "mine" and told == [(kept, "cells")]
    assert [one.name for one in load_cell_model(kept)[1].classes] == ["tumour"]
    assert views(viewer) == {} and dock.verdict.isHidden()
    assert f"Kept as {kept}, and chosen" in dock.act.note.text()
    qtbot.waitUntil(lambda: dock.lesson.found.kept == (kept,) and free(dock), timeout=MINUTE)
    assert dock.model.findText("mine") >= 0 and dock.act.button.isEnabled()
    teach(qtbot, dock)
    dock.verdict.name.setText("mine")
    click(qtbot, dock.verdict.keep)
    assert "already" in dock.act.note.text() and dock.lesson.run is not None
    assert views(viewer) == {BEFORE: False, AFTER: True}
    dock._session.model_kept.disconnect(hear)


def test_a_discarded_model_leaves_nothing(ready, path, qtbot) -> None:
    viewer, dock, _ = ready
    model = dock.model.chosen
    teach(qtbot, dock)
    click(qtbot, dock.verdict.discard)
    assert views(viewer) == {} and dock.model.chosen == model
    assert not (path.parent / "slide.models").exists()
    assert "yollo-1 stays in use" in dock.act.note.text() and dock.curves.isHidden()
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)


def test_a_cancelled_training_is_gone_on_with(ready, qtbot) -> None:
    viewer, dock, layer = ready
    cut_off(qtbot, dock)
    done = len(dock.lesson.unfinished.history)
    assert 2 <= done < 30 and views(viewer) == {} and dock.act.note.text() == "Cancelled"
    assert f"after epoch {done} of 30" in dock.unfinished.told.text() and not dock.unfinished.isHidden()
    saved = Autosave.of(slide_of(layer), "reader")
    saved.points.add((1500.0, 1500.0), 1)  # it goes on with the points it began with
    click(qtbot, dock.unfinished.resume)
    assert dock.unfinished.isHidden()
    qtbot.waitUntil(lambda: dock.lesson.run is not None and free(dock), timeout=MINUTE)
    assert [line["epoch"] for line in dock.lesson.run.history] == list(range(30))
    assert dock.lesson.trace.places[0] > done, "what was learned was not learned again"
    assert views(viewer) == {BEFORE: False, AFTER: True}


def test_what_was_cut_off_can_be_deleted(ready, path, qtbot) -> None:
    _, dock, _ = ready
    cut_off(qtbot, dock)
    click(qtbot, dock.unfinished.discard)
    qtbot.waitUntil(lambda: dock.unfinished.isHidden(), timeout=MINUTE)
    assert not (path.parent / "slide.models").exists()


def test_cancelled_before_the_first_epoch_it_leaves_nothing(ready, path, qtbot) -> None:
    _, dock, _ = ready
    click(qtbot, dock.act.button)
    dock._cancel()
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    assert not (path.parent / "slide.models").exists()
    assert dock.act.note.text() == "Cancelled" and dock.act.button.isEnabled()


def test_a_closed_dock_leaves_a_run_that_the_next_one_offers(ready, path, qtbot) -> None:
    viewer, dock, _ = ready
    dock.settings.advanced["epochs"].value = 200
    click(qtbot, dock.act.button)
    worker = dock._training._worker
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) >= 1, timeout=MINUTE)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not worker.is_running, timeout=MINUTE)
    assert [str(key) for key in viewer.keymap] == ["O"], "which hides overlays without any dock"
    again = show_dock(viewer, "Fine-tune")
    qtbot.waitUntil(lambda: not again.unfinished.isHidden(), timeout=MINUTE)
    assert "of 200" in again.unfinished.told.text() and again.unfinished.resume.isEnabled()


def test_a_model_nobody_decided_on_waits(ready, qtbot) -> None:
    viewer, dock, _ = ready
    teach(qtbot, dock)
    metrics = dock.lesson.run.metrics
    viewer.window.remove_dock_widget(dock)
    assert views(viewer) == {}
    again = show_dock(viewer, "Fine-tune")
    qtbot.waitUntil(lambda: not again.verdict.isHidden() and free(again), timeout=MINUTE)
    assert again.lesson.run.metrics == metrics and not again.verdict.after.isEnabled()
    click(qtbot, again.verdict.again)
    qtbot.waitUntil(lambda: free(again) and len(views(viewer)) == 2, timeout=MINUTE)
    assert again.verdict.before.isEnabled() and again.verdict.after.isEnabled()


def test_closing_the_window_in_mid_run_stops_it(ready_alone, qtbot, path) -> None:
    viewer, dock, _ = ready_alone
    dock.settings.advanced["epochs"].value = 200
    click(qtbot, dock.act.button)
    worker = dock._training._worker
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) >= 1, timeout=MINUTE)
    viewer.close()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=MINUTE)
    gc.collect()
    (folder,) = (path.parent / "slide.models" / "runs").iterdir()
    assert (folder / CHECKPOINT).exists()


def test_removing_the_slide_in_mid_run_stops_it(ready, qtbot) -> None:
    viewer, dock, layer = ready
    dock.settings.advanced["epochs"].value = 200
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: len(dock.lesson.trace.history) >= 1, timeout=MINUTE)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    assert dock.slide.text() == "Open a slide first" and not dock.act.button.isEnabled()


def test_another_slide_in_mid_run_gets_nothing_of_it(ready, bare, add_slide, qtbot) -> None:
    viewer, dock, layer = ready
    first = dock.lesson
    click(qtbot, dock.act.button)
    second = add_slide(viewer, bare)
    assert dock.lesson is not first and "other.svs" in dock.slide.text()
    qtbot.waitUntil(lambda: first.run is not None and free(dock), timeout=MINUTE)
    assert dock.verdict.isHidden() and set(views(viewer).values()) <= {False}
    assert "Mark a few places" in dock.act.button.toolTip()
    viewer.layers.selection.active = layer
    assert dock.lesson is first and not dock.verdict.isHidden()
    assert slide_of(second) is not slide_of(layer)


def test_what_goes_wrong_is_said_and_the_dock_is_ready_again(ready, path, qtbot, monkeypatch) -> None:
    _, dock, _ = ready

    def fails(*_args, **_kwargs):
        yield from ()
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(module, "finetune_in_run", fails)
    before = len(notification_manager.records)
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: free(dock), timeout=MINUTE)
    assert "CUDA out of memory" in notification_manager.records[before].message
    assert "CUDA out of memory" in dock.act.note.text()
    assert dock.act.button.text() == "Fine-tune" and dock.act.button.isEnabled()


def test_a_damaged_model_is_named(ready, tmp_path, qtbot) -> None:
    _, dock, _ = ready
    broken = Path(shutil.copytree(dock.model.chosen, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"")
    dock.model.choose(broken)
    qtbot.waitUntil(lambda: "broken" in dock.what.text(), timeout=MINUTE)
    assert not dock.act.button.isEnabled() and "broken" in dock.act.button.toolTip()


def test_the_button_says_what_it_lacks(hidden_window, make_cell_model, data, bare, add_slide, qtbot):
    viewer = hidden_window
    dock = show_dock(viewer, "Fine-tune")
    dock.model.choose(Path(make_cell_model()))
    assert "Open a slide" in dock.act.button.toolTip() and not dock.act.button.isEnabled()
    add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    assert "pixel size" in dock.act.button.toolTip() and not dock.act.button.isEnabled()
    add_slide(viewer, bare)
    qtbot.waitUntil(lambda: dock.lesson.found is not None, timeout=MINUTE)
    assert "Mark a few places" in dock.act.button.toolTip() and not dock.act.button.isEnabled()
    assert dock.unfinished.isHidden() and dock.verdict.isHidden() and dock.curves.isHidden()


def test_a_view_off_the_slide_is_told(ready, qtbot) -> None:
    viewer, dock, _ = ready
    viewer.scene.camera.center = (0, -90_000, 0)
    teach(qtbot, dock)
    assert "shows nothing of the slide" in dock.act.note.text() and views(viewer) == {}
    viewer.scene.camera.center = (0, 300, 400)
    click(qtbot, dock.verdict.again)
    qtbot.waitUntil(lambda: len(views(viewer)) == 2 and free(dock), timeout=MINUTE)


def test_the_page_is_not_wider_than_a_dock(ready, qtbot) -> None:
    _, dock, _ = ready
    teach(qtbot, dock)
    dock.settings.fold.button.setChecked(True)
    assert dock.widget().minimumSizeHint().width() <= 300


def test_a_slide_that_is_gone_is_forgotten(ready) -> None:
    viewer, dock, layer = ready
    assert len(dock._lessons) == 1
    viewer.layers.remove(layer)
    assert dock.lesson is None and not dock._lessons
    dock._refresh()
    dock._look()
    assert not dock._lessons, "and not made anew by being asked for"
