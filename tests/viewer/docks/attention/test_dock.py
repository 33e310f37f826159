"""The Attention dock: a run from slide to maps, its cancel, its end with slide, dock and window."""

from __future__ import annotations

import gc
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_zoommil.geometry import NATIVE, Box
from napari_zoommil.jobs import explain, predict, prediction_files, prediction_store
from napari_zoommil.jobs.prediction_files import read_prediction
from napari_zoommil.models import create
from napari_zoommil.models.spec import ModelSpec, save_model
from napari_zoommil.models.task import Classification
from napari_zoommil.viewer.docks import explaining, model_choice
from napari_zoommil.viewer.docks.attention import dock as module
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.where import WINDOW
from napari_zoommil.viewer.hiding import toggle_overlays
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.layers.overlays import MAP, TISSUE, find_layer
from napari_zoommil.viewer.metadata import TITLE, slide_of
from napari_zoommil.viewer.open_slide import EXPLANATION
from napari_zoommil.viewer.worker import OUTDATED

MINUTE = 60_000


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run(qtbot, dock) -> None:
    """Press Run and wait for the result."""
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)


def press(dock, then: str) -> None:
    """A mouse press, and what came next."""
    event = SimpleNamespace(type="mouse_press")
    handler = dock.readout.clicked(None, event)
    next(handler)
    event.type = then
    next(handler, None)


def maps_in(viewer) -> list[str]:
    return [layer.metadata[TITLE] for layer in viewer.layers if layer.metadata.get(MAP) is not None]


def seen(layer) -> np.ndarray:
    """The pixels of a layer at a low resolution."""
    return np.asarray(layer.data[-1][:, :])


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("patch-reader")]


def test_the_cost_is_told_before_the_run(ready) -> None:
    viewer, dock, _ = ready
    assert "patches, about" in dock.cost.text() and "Without zooming" in dock.cost.text()
    assert dock.device.text().startswith("Device: ")
    assert "small · tissue" in [layer.name for layer in viewer.layers]


def test_a_run_ends_in_probabilities_and_one_map_of_all_magnifications(ready, qtbot) -> None:
    viewer, dock, layer = ready
    run(qtbot, dock)
    prediction = dock._entry.prediction
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert maps_in(viewer) == ["attention"]
    assert all(slide_of(each) is slide_of(layer) for each in viewer.layers)
    cost = prediction.cost
    assert dock.act.note.text().startswith(f"{cost.counted}, ") and " s on cpu" in dock.act.note.text()
    assert not dock.maps.isHidden()
    opacity = seen(viewer.layers[2])[..., 3]
    assert opacity.any() and not opacity.all()


def test_maps_fill_while_the_model_works_coarse_first(ready, qtbot) -> None:
    _, dock, _ = ready
    seen: list[tuple[int, int]] = []
    original = dock.maps.show_partial

    def spy(entry, partial) -> None:
        seen.append((partial.level, int(np.isfinite(partial.map.values).sum())))
        original(entry, partial)

    dock.maps.show_partial = spy
    run(qtbot, dock)
    assert [level for level, _ in seen] == sorted(level for level, _ in seen)
    assert {level for level, _ in seen} == {0, 1, 2}


def test_a_result_stays_until_the_next_one_is_whole(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    first, shown = dock._entry.prediction, list(viewer.layers)
    painted = {layer: seen(layer) for layer in shown if layer.metadata.get(MAP) is not None}
    gone: list[str] = []

    def removed(event) -> None:
        gone.append(event.value.name)

    viewer.layers.events.removed.connect(removed)
    for cancelled in (True, False):
        click(qtbot, dock.act.button)
        qtbot.waitUntil(lambda: dock.act.bar.value() > 0, timeout=MINUTE)
        assert dock._entry.prediction is first and dock.maps.isEnabled() and not dock.results.isHidden()
        assert all(np.array_equal(seen(layer), was) for layer, was in painted.items())
        if cancelled:
            dock._predicting.cancel()
        qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
        assert (dock._entry.prediction is first) == cancelled
    assert list(viewer.layers) == shown and gone == []
    viewer.layers.events.removed.disconnect(removed)


def test_results_are_a_list_to_go_back_in(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    first = dock._entry.prediction
    run(qtbot, dock)
    second, choice = dock._entry.prediction, dock.results
    assert second is not first and choice.list.count() == 2 and choice.list.currentIndex() == 0
    assert " · demo · " in choice.list.itemText(1) and choice.list.itemText(1).endswith(" · all tissue")
    dock.maps.what.setCurrentText("Evidence")
    choice.list.activated.emit(1)
    assert dock._entry.prediction is first and dock.maps.what.currentText() == "Evidence"
    explained(qtbot, dock, "Grad-CAM")
    click(qtbot, choice.back)
    assert dock._entry.prediction is second and dock.maps.what.currentText() == "Attention"
    click(qtbot, choice.back)
    assert dock._entry.prediction is first and dock._entry.explanation("grad-cam") is not None
    dock.tissue.setChecked(True)
    click(qtbot, choice.remove)
    assert dock._entry.prediction is second and choice.list.count() == 1
    choice.list.activated.emit(0)
    assert dock.tissue.isChecked(), "only the first result takes the place of the tissue"
    assert not choice.back.isEnabled() and not dock._entry.keys(EXPLANATION)
    click(qtbot, choice.remove)
    assert dock._entry.prediction is None and choice.isHidden() and maps_in(viewer) == []


def test_results_are_there_when_the_slide_is_opened_again(ready, qtbot, add_slide) -> None:
    viewer, dock, layer = ready
    run(qtbot, dock)
    path, logits = slide_of(layer).path, dock._entry.prediction.logits
    viewer.layers.remove(layer)
    assert dock.results.isHidden() and dock.bars.isEnabled()
    add_slide(viewer, path)
    qtbot.waitUntil(lambda: dock._entry is not None and dock._entry.prediction is not None, timeout=MINUTE)
    np.testing.assert_array_equal(dock._entry.prediction.logits, logits)
    assert dock.results.list.count() == 1 and maps_in(viewer) == ["attention"]
    assert not dock.tissue.isChecked(), "maps are there in its place"
    click(qtbot, dock.results.remove)
    assert not list(prediction_store.folder().glob("*/*"))


def test_a_result_inside_regions_is_explained_when_the_slide_is_opened_again(ready, qtbot, add_slide) -> None:
    viewer, dock, layer = ready
    path, (height, width) = slide_of(layer).path, slide_of(layer).shape
    region = Box(0, 0, height // 2, width)
    dock.where.regions = lambda: ((region,), "")
    dock.how.advanced["min_tissue"].value = 0.3
    qtbot.waitUntil(dock.act.button.isEnabled, timeout=MINUTE)
    run(qtbot, dock)
    made = dock._entry.prediction
    assert made.regions_mm2 is not None
    assert dock._entry.shown("prediction").where.endswith(", tissue share from 0.3")
    viewer.layers.remove(layer)
    del dock.where.regions
    add_slide(viewer, path)
    qtbot.waitUntil(lambda: dock._entry is not None and dock._entry.prediction is not None, timeout=MINUTE)
    explained(qtbot, dock, "Grad-CAM")
    found = dock._entry.explanation("grad-cam")
    assert found is not None and found.prediction.is_of_the_patches_of(made)


def test_a_result_is_exported_where_it_is_shown(ready, qtbot, tmp_path, monkeypatch) -> None:
    _, dock, layer = ready
    monkeypatch.setattr(prediction_files, "OVERVIEW_PX", 200)  # pictures are most of the time
    assert dock.export.isHidden()
    run(qtbot, dock)
    explained(qtbot, dock, "Grad-CAM")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(tmp_path))
    click(qtbot, dock.export)
    assert not dock.export.isEnabled()
    qtbot.waitUntil(dock.export.isEnabled, timeout=MINUTE)
    folder = tmp_path / f"{slide_of(layer).stem} demo"
    names = {path.name for path in folder.iterdir()}
    assert {"patches.csv", "patches.geojson", "attention-20x.ome.tiff", "patches-grad-cam.csv"} <= names
    np.testing.assert_array_equal(read_prediction(folder).logits, dock._entry.prediction.logits)


def test_nothing_of_other_pixels_comes_back_after_a_cancel(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    click(qtbot, dock.act.button)
    dock._session.set_mpp(dock._entry, 0.3)
    dock._predicting.cancel()
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=10_000)
    assert dock._entry.prediction is None and maps_in(viewer) == []


def explained(qtbot, dock, method: str) -> None:
    """Choose a method and wait for it."""
    dock.maps.what.setCurrentText(method)
    qtbot.waitUntil(lambda: not dock._explainer.runner.running, timeout=MINUTE)


def test_a_method_is_computed_once_and_belongs_to_its_prediction(ready, qtbot, monkeypatch) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    first, calls = dock._entry.prediction, []
    monkeypatch.setattr(explaining, "explain", lambda *a, **k: calls.append(k["method"]) or explain(*a, **k))
    explained(qtbot, dock, "Grad-CAM")
    dock.maps.output.setCurrentText("tumour")
    assert maps_in(viewer) == ["Grad-CAM tumour"]
    found = dock._entry.explanation("grad-cam")
    np.testing.assert_array_equal(found.prediction.logits, first.logits)
    dock.maps.what.setCurrentText("Attention")
    explained(qtbot, dock, "Grad-CAM")
    assert calls == ["grad-cam"] and dock.act.button.text() == "Run"
    run(qtbot, dock)
    assert dock._entry.explanation("grad-cam") is None, "it explains another prediction"
    assert dock.maps.what.currentText() == "Attention"


def test_explaining_is_cancelled_and_what_was_shown_stays(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    dock.maps.what.setCurrentText("Occlusion")
    assert dock.act.button.text() == "Cancel"
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: not dock._explainer.runner.running, timeout=10_000)
    assert dock.act.note.text() == "Cancelled" and dock.act.button.text() == "Run"
    assert dock.maps.what.currentText() == "Attention"
    assert maps_in(viewer) == ["attention"]


def test_scaling_style_toggles_and_opacity(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    dock.maps.what.setCurrentText("Evidence")
    assert maps_in(viewer)[0].startswith("evidence ")
    dock.maps.what.setCurrentText("Attention")
    (layer,) = (layer for layer in viewer.layers if MAP in layer.metadata)
    dock.maps.toggles["10x"].setChecked(False)
    assert [one.magnification for one in layer.metadata[MAP].maps] == [5, 20]
    assert [one.magnification for one in layer.metadata[MAP].frames] == [5]
    dock.maps.toggles["Frames"].setChecked(False)
    assert layer.metadata[MAP].frames == ()
    dock.maps.opacity.setValue(40)
    assert layer.opacity == pytest.approx(0.4)
    for box, text in ((dock.maps.scaling, "Percentile"), (dock.maps.style_of_maps, "Outlines")):
        before = seen(layer)
        box.setCurrentText(text)
        assert not np.array_equal(before, seen(layer)) and layer in viewer.layers


def test_pointing_at_a_patch_reads_its_scores_and_a_click_keeps_them(ready, qtbot) -> None:
    viewer, dock, _ = ready
    run(qtbot, dock)
    prediction = dock._entry.prediction
    step = prediction.steps[0]
    y, x = prediction.grid.levels[0].origins[step.rows[0]] + 10
    viewer.cursor.position = (y * 0.25, x * 0.25)
    dock.readout.pointed(viewer, None)
    rank = 1 + int((step.attention > step.attention[0]).sum())
    expected = f"times the average attention at 5x (no. {rank} of {len(step.rows)})"
    assert expected in dock.readout.text()
    press(dock, "mouse_move")  # a pan
    assert "kept" not in dock.readout.text()
    press(dock, "mouse_release")
    assert "kept" in dock.readout.text() and "leave-one-out" in dock.readout.text()
    dock.maps.what.setCurrentText("Evidence")
    kept = dock.readout.text()
    assert "kept" in kept and "evidence" in kept and "leave-one-out" not in kept
    viewer.cursor.position = (-100.0, -100.0)
    dock.readout.pointed(viewer, None)
    assert dock.readout.text() == kept
    press(dock, "mouse_release")
    assert dock.readout.text() == "Off the tissue"


def test_regions_change_the_tissue_and_the_cost(ready, qtbot) -> None:
    viewer, dock, layer = ready
    slide = slide_of(layer)
    before = dock._estimate.tissue.mask.sum()
    click(qtbot, dock.leave)
    shapes = tissue_regions.regions_layer(viewer, slide, "leave out")
    assert shapes.mode == "add_polygon"
    shapes.add_polygons(np.array([(0, 0), (0, 4096), (2048, 4096), (2048, 0)]))
    qtbot.waitUntil(
        lambda: dock._estimate is not None and dock._estimate.tissue.mask.sum() < before, timeout=MINUTE
    )
    added, left_out = tissue_regions.polygons(viewer, slide)
    assert len(added) == 0 and len(left_out) == 1
    run(qtbot, dock)
    rows = dock._entry.prediction.grid.levels[0].origins[:, 0]
    assert rows.min() > 2048 - 1024 - 1  # no patch lies wholly in what was left out


def test_advanced_is_what_the_run_and_its_estimate_take(ready, qtbot, monkeypatch) -> None:
    _, dock, _ = ready
    before = dock._estimate.patches[0]
    dock.how.advanced["min_tissue"].value = 0.9
    qtbot.waitUntil(lambda: dock._estimate is not None and dock._estimate.patches[0] < before, timeout=MINUTE)
    dock.how.device.setCurrentText("cpu")
    dock.how.advanced["batch_size"].value = 5
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    taken: list[dict] = []
    monkeypatch.setattr(module, "predict", lambda *a, **k: taken.append(k) or predict(*a, **k))
    run(qtbot, dock)
    found = dock._entry.prediction
    assert len(found.steps[0].rows) == dock._estimate.patches[0]
    monkeypatch.setattr(explaining, "explain", lambda *a, **k: taken.append(k) or explain(*a, **k))
    explained(qtbot, dock, "Saliency")
    for options in taken:
        assert (options["min_tissue"], options["batch_size"], options["device"]) == (0.9, 5, "cpu")
    assert len(taken) == 2


@pytest.mark.parametrize("moment", range(10))
def test_cancel_at_any_moment_leaves_nothing_half_done(ready, qtbot, moment: int) -> None:
    viewer, dock, _ = ready
    layers = [layer.name for layer in viewer.layers]
    click(qtbot, dock.act.button)
    qtbot.wait(random.Random(moment).randrange(0, 700))
    dock._predicting.cancel()
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=10_000)
    if dock._entry.prediction is None:
        assert [layer.name for layer in viewer.layers] == layers
        assert dock.act.note.text() == "Cancelled"
    assert dock.act.button.text() == "Run" and dock.act.button.isEnabled()
    qtbot.waitUntil(lambda: not readers(), timeout=5_000)


def test_tissue_is_shown_before_each_slides_first_run(ready, other_slide, add_slide, qtbot) -> None:
    viewer, dock, layer = ready
    run(qtbot, dock)
    assert not dock.tissue.isChecked()
    assert not find_layer(viewer, slide_of(layer), TISSUE).visible
    second = add_slide(viewer, other_slide)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    outline = find_layer(viewer, slide_of(second), TISSUE)
    assert outline.visible
    toggle_overlays(viewer)
    dock._reconsider()
    assert not dock.act.button.isEnabled()
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    assert dock.tissue.isChecked() and not outline.visible, "it was put away by key"
    assert toggle_overlays(viewer) and outline.visible


def test_another_slide_in_mid_run_gets_nothing_of_it(ready, other_slide, add_slide, qtbot) -> None:
    viewer, dock, layer = ready
    click(qtbot, dock.act.button)
    second = add_slide(viewer, other_slide)
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
    first_slide, second_slide = slide_of(layer), slide_of(second)
    entries = {entry.slide: entry for entry in dock._session.slides}
    assert entries[first_slide].prediction is not None
    assert entries[second_slide].prediction is None
    maps = [each for each in viewer.layers if MAP in each.metadata]
    assert maps and all(slide_of(each) is first_slide and not each.visible for each in maps)
    viewer.layers.selection.active = layer
    assert maps_in(viewer) and all(each.visible for each in viewer.layers if MAP in each.metadata)


def test_no_method_is_computed_while_another_slide_is_read(ready, other_slide, add_slide, qtbot) -> None:
    viewer, dock, layer = ready
    run(qtbot, dock)
    add_slide(viewer, other_slide)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    click(qtbot, dock.act.button)
    viewer.layers.selection.active = layer
    dock.maps.what.setCurrentText("Grad-CAM")
    assert dock.maps.what.currentText() == "Attention", "what is shown is what is chosen"
    assert dock.act.note.text() == "Grad-CAM can be computed when the run has ended"
    dock._predicting.cancel()
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)


def test_a_dock_that_is_opened_again_explains_as_it_was_read(ready, qtbot) -> None:
    viewer, dock, _ = ready
    dock.how.advanced["min_tissue"].value = 0.9
    qtbot.waitUntil(lambda: dock._estimate is not None, timeout=MINUTE)
    run(qtbot, dock)
    prediction = dock._entry.prediction
    viewer.window.remove_dock_widget(dock)
    again = show_dock(viewer, "Attention")
    explained(qtbot, again, "Saliency")
    found = again._entry.explanation("saliency")
    assert found is not None and found.prediction.is_of_the_patches_of(prediction)
    again._entry.readings.clear()  # as of a result that an earlier version stored
    explained(qtbot, again, "Grad-CAM")
    found = again._entry.explanation("grad-cam")
    assert found is not None and found.prediction.is_of_the_patches_of(prediction)


def test_another_resolution_in_mid_run_ends_it(ready, qtbot) -> None:
    viewer, dock, _ = ready
    click(qtbot, dock.act.button)
    dock._session.set_mpp(dock._entry, 0.5)
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
    assert dock._entry.prediction is None and dock.maps.isHidden() and not maps_in(viewer)
    assert dock.act.note.text() == OUTDATED
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    run(qtbot, dock)
    assert dock._entry.prediction is not None and maps_in(viewer) == ["attention"]


def test_a_result_that_is_late_by_a_moment_is_dropped(ready, qtbot, monkeypatch) -> None:
    viewer, dock, _ = ready
    returning, release = threading.Event(), threading.Event()

    def whole(*arguments, **options):
        result = yield from predict(*arguments, **options)
        returning.set()
        assert release.wait(60)
        return result

    monkeypatch.setattr(module, "predict", whole)
    click(qtbot, dock.act.button)
    qtbot.waitUntil(returning.is_set, timeout=MINUTE)
    dock._session.set_mpp(dock._entry, 0.5)
    release.set()
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
    assert dock._entry.prediction is None and not maps_in(viewer) and dock.act.note.text() == OUTDATED


def test_removing_the_slide_in_mid_run_stops_it(ready, qtbot) -> None:
    viewer, dock, layer = ready
    click(qtbot, dock.act.button)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: not dock._predicting.running, timeout=MINUTE)
    assert len(viewer.layers) == 0
    assert not dock.act.button.isEnabled() and dock.act.button.toolTip()


def test_closing_the_dock_in_mid_run_stops_the_job(ready_alone, qtbot) -> None:
    viewer, dock, _ = ready_alone
    click(qtbot, dock.act.button)
    worker = dock._predicting._worker
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not worker.is_running, timeout=10_000)
    qtbot.waitUntil(lambda: not readers(), timeout=5_000)
    assert dock.readout.pointed not in viewer.mouse_move_callbacks


def test_closing_the_window_in_mid_run_stops_the_job(ready_alone, qtbot) -> None:
    viewer, dock, _ = ready_alone
    click(qtbot, dock.act.button)
    worker = dock._predicting._worker
    viewer.close()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=10_000)
    gc.collect()
    assert not readers()


def test_running_out_of_memory_is_told_and_the_dock_is_ready_again(ready, qtbot, monkeypatch) -> None:
    _, dock, _ = ready

    def fails(*_args, **_kwargs):
        yield from ()
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(module, "predict", fails)
    before = len(notification_manager.records)
    run(qtbot, dock)
    assert "CUDA out of memory" in notification_manager.records[before].message
    assert "CUDA out of memory" in dock.act.note.text()
    assert dock.act.button.text() == "Run" and dock.act.button.isEnabled()


def test_without_a_resolution_only_models_of_images_run_in_its_own_pixels(
    attention, data, add_slide, tmp_path, qtbot
) -> None:
    """As by the command: those that were trained on such images, and others at the magnification 0."""
    models = {}
    for name, magnification in (("own", NATIVE), ("ten", 10.0)):
        mil = create("bagnet", 3, 2, (magnification,), receptive_field=9, width=1 / 64, blocks=(1, 1, 1, 1))
        mil.task = Classification(("normal", "tumour"))
        spec = ModelSpec("bagnet", mil.config(), "", "", 0, ("normal", "tumour"))
        save_model(models.setdefault(name, tmp_path / name), mil, spec, "")
    viewer, dock = attention
    add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    for button in (dock.act.button, dock.add, dock.leave):
        assert not button.isEnabled()
        assert "pixel size" in button.toolTip()
    dock.model.choose(models["ten"])
    assert not dock.act.button.isEnabled() and "magnification 0 under Advanced" in dock.cost.text()
    magnification = dock.how.advanced["magnification"]
    magnification.value = 0.0
    qtbot.waitUntil(lambda: not dock._estimating.running, timeout=MINUTE)
    assert "pixel size" not in dock.cost.text()
    magnification.value = magnification.min
    dock.model.choose(models["own"])
    viewer.camera.zoom = 8
    dock.where.choose(WINDOW)
    qtbot.waitUntil(dock.act.button.isEnabled, timeout=MINUTE)
    assert dock.cost.text().startswith("An image of ")
    run(qtbot, dock)
    assert dock._entry.prediction.maps and maps_in(viewer)


def test_a_click_with_the_lasso_is_no_region(ready, qtbot) -> None:
    viewer, dock, layer = ready
    click(qtbot, dock.add)
    shapes = tissue_regions.regions_layer(viewer, slide_of(layer), "add")
    shapes.add_polygons(np.array([(0, 0), (0, 1000), (1000, 1000)]))
    shapes.add_lines(np.array([(0, 0), (10, 10)]))
    added, left_out = tissue_regions.polygons(viewer, slide_of(layer))
    assert (len(added), len(left_out)) == (1, 0)


def test_each_use_stays_with_its_region(ready, qtbot) -> None:
    viewer, dock, layer = ready
    slide = slide_of(layer)
    square = np.array([(0, 0), (0, 900), (900, 900), (900, 0)])
    for button, use, offset in (
        (dock.add, "add", 0),
        (dock.leave, "leave out", 1000),
        (dock.add, "add", 2000),
    ):
        click(qtbot, button)
        tissue_regions.regions_layer(viewer, slide, use).add_polygons(square + offset)
    shapes = tissue_regions.regions_layer(viewer, slide, "add")
    shapes.selected_data = {0}
    shapes.remove_selected()
    added, left_out = tissue_regions.polygons(viewer, slide)
    assert [shape.min() for shape in added] == [2000] and [shape.min() for shape in left_out] == [1000]


def test_deleting_the_regions_by_hand_undoes_them(ready, qtbot) -> None:
    viewer, dock, layer = ready
    found = dock._estimate.tissue.mask.sum()
    click(qtbot, dock.add)
    shapes = tissue_regions.regions_layer(viewer, slide_of(layer), "add")
    shapes.add_polygons(np.array([(0, 0), (0, 4000), (4000, 4000), (4000, 0)]))
    qtbot.waitUntil(
        lambda: dock._estimate is not None and dock._estimate.tissue.mask.sum() > found, timeout=MINUTE
    )
    viewer.layers.remove(shapes)
    qtbot.waitUntil(
        lambda: dock._estimate is not None and dock._estimate.tissue.mask.sum() == found, timeout=MINUTE
    )


def test_a_cancelled_dialog_keeps_the_model(ready, monkeypatch) -> None:
    _, dock, _ = ready
    monkeypatch.setattr(model_choice.QFileDialog, "getExistingDirectory", lambda *_: "")
    index = dock.model.findText(model_choice.FOLDER)
    dock.model.setCurrentIndex(index)
    dock.model.activated.emit(index)
    assert dock.model.chosen == "demo" and dock.model.currentIndex() == 0
    assert dock.act.button.isEnabled()


def test_the_window_keeps_nothing_of_a_finished_job(ready_alone, qtbot) -> None:
    viewer, dock, _ = ready_alone
    run(qtbot, dock)
    for task in viewer.window._task_status_manager._tasks.values():
        assert task.cancel() == []
