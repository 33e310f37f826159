"""The Detect dock: from a place on a slide to rings, counts and a file; its cancel, its end."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_zoommil.annotations import Points
from napari_zoommil.cells.model import load_cell_model, save_cell_model
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.docks.detect.parts import Search
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.where import SETTLED_MS, TISSUE, WINDOW, Inside
from napari_zoommil.viewer.layers.detections import cells_layer
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.worker import OUTDATED

MINUTE = 60_000
UNKNOWN = "How long it takes is not known yet"
SQUARE = np.array([(400.0, 400.0), (400.0, 900.0), (900.0, 900.0), (900.0, 400.0)])


@pytest.fixture
def model(make_cell_model) -> Path:
    """Untrained, and so generous that it finds something everywhere."""
    import torch

    folder = make_cell_model(classes=2)
    network, spec = load_cell_model(folder)
    with torch.no_grad():
        network.head.weight *= 10
    save_cell_model(Path(folder), network, spec, "# Test\n")
    return Path(folder)


@pytest.fixture
def path(cmu: Path, tmp_path: Path) -> Path:
    """A real slide of its own: files are written beside it."""
    return Path(shutil.copy(cmu, tmp_path / "cmu.svs"))


@pytest.fixture
def ready(window, path, add_slide, model, qtbot):
    """A viewer at 20x on the middle of the slide, and the dock with the model."""
    return prepared(window, path, add_slide, model, qtbot)


@pytest.fixture
def ready_alone(make_napari_viewer, path, add_slide, model, qtbot):
    """The same in a window that is new."""
    return prepared(make_napari_viewer(show=True), path, add_slide, model, qtbot)


def prepared(viewer, path, add_slide, model, qtbot):
    add_slide(viewer, path)
    dock = show_dock(viewer, "Detect cells")
    dock.how.device.setCurrentText("cpu")
    entry = session_of(viewer).active
    camera.set_magnification(viewer, 20)
    camera.go_to(viewer, entry.slide, 0.5, 0.5)
    dock.add_model(model)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled())
    qtbot.wait(2 * SETTLED_MS)
    return viewer, dock, entry


def press(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run(qtbot, dock) -> None:
    """Press Detect and wait for the result."""
    press(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=MINUTE)


def draw(viewer, dock, entry, qtbot, outline=SQUARE) -> None:
    press(qtbot, dock.where.draw)
    regions = entry.annotations.regions
    count = len(regions.layer.data)
    regions.layer.add_polygons(outline)
    qtbot.waitUntil(lambda: len(entry.document.points.regions) == count + 1 and not regions.drawing)


def rings(viewer, dock, entry):
    return cells_layer(viewer, entry.slide, f"cells ({Path(dock.model.chosen).name})")


def shown_in_table(dock) -> list[list[str]]:
    table = dock.panel.table
    items = [table.topLevelItem(row) for row in range(table.topLevelItemCount())]
    return [[item.text(column) for column in (1, 2, 3)] for item in items]


def test_the_window_is_searched(ready, qtbot) -> None:
    viewer, dock, entry = ready
    seen = camera.field_of_view(viewer, entry.slide)
    mm2 = seen.height * seen.width * np.prod(np.array(entry.slide.shape) * entry.slide.mpp) / 1e6
    assert dock.area.text() == f"{mm2:.3g} mm². {UNKNOWN}" and dock.slide.text() == "on cmu.svs"
    run(qtbot, dock)
    found = entry.detection
    assert found.area_mm2 == pytest.approx(mm2) and len(found.finds) > 100
    from_corner = found.finds.centres / entry.slide.shape - (seen.y, seen.x)
    assert (from_corner >= 0).all() and (from_corner < (seen.height, seen.width)).all()
    layer = rings(viewer, dock, entry)
    assert len(layer.rings.counted) == sum(found.counts().values()) > 0
    assert viewer.layers.selection.active is entry.layer
    assert dock.act.note.text().startswith("Done in ") and dock.act.note.text().endswith("on cpu")
    assert UNKNOWN in dock.area.text(), "one batch tells nothing of how long others take"


def test_the_slider_filters_and_counts_without_another_run(ready, qtbot) -> None:
    viewer, dock, entry = ready
    assert dock.panel.isHidden()
    run(qtbot, dock)
    found = entry.detection
    assert dock.panel.score.value() == found.threshold == entry.threshold and not dock.panel.isHidden()
    for score in (0.6, 0.3):
        dock.panel.slider.setValue(round(score * 100))
        counts, densities = found.counts(score), found.per_mm2(score)
        assert dock.panel.score.value() == entry.threshold == score
        assert len(rings(viewer, dock, entry).rings.counted) == sum(counts.values())
        rows = shown_in_table(dock)
        assert [row[:2] for row in rows[:2]] == [[name, f"{count:,}"] for name, count in counts.items()]
        assert rows[2][:2] == ["all", f"{sum(counts.values()):,}"]
        assert float(rows[0][2].replace(",", "")) == pytest.approx(densities["class 0"], rel=0.01, abs=0.5)
    assert entry.detection is found
    viewer.layers.remove(rings(viewer, dock, entry))
    assert dock.panel.slider.minimum() == 10 and "0.1 to 1" in dock.panel.slider.toolTip()
    dock.panel.score.setValue(0.5)
    assert len(rings(viewer, dock, entry).rings.counted) == sum(found.counts(0.5).values())


def test_drawn_regions_are_searched(ready, qtbot) -> None:
    viewer, dock, entry = ready
    dock.where.choose(Inside())
    assert not dock.act.button.isEnabled() and dock.act.button.toolTip() == "Draw a region first"
    draw(viewer, dock, entry, qtbot)
    assert viewer.layers.selection.active is entry.layer
    draw(viewer, dock, entry, qtbot, SQUARE + np.array((0, 250)))  # overlaps by half
    draw(viewer, dock, entry, qtbot, SQUARE - 900)  # has nothing on the slide
    mm2 = 500 * 750 * np.prod(entry.slide.mpp) / 1e6
    assert dock.area.text() == f"{mm2:.3g} mm². {UNKNOWN}"
    run(qtbot, dock)
    centres = entry.detection.finds.centres
    assert entry.detection.area_mm2 == pytest.approx(mm2)
    assert len(centres) and (centres >= 400).all() and (centres <= (901, 1151)).all()
    entry.document.points.remove_regions(entry.document.points.regions)
    assert not dock.act.button.isEnabled()


def test_the_tissue_is_searched(ready, qtbot) -> None:
    _, dock, entry = ready
    dock.where.choose(TISSUE)
    assert dock.area.text() == f"The tissue, at most 1.64 mm². {UNKNOWN}"
    mask = np.zeros((30, 23), bool)
    mask[4:8, 4:10] = True
    entry.tissue = Tissue(mask, (100.0, 100.0))
    dock._reconsider()
    assert dock.area.text() == f"{24e4 * np.prod(entry.slide.mpp) / 1e6:.3g} mm² of tissue. {UNKNOWN}"
    run(qtbot, dock)
    centres = entry.detection.finds.centres
    assert len(centres) and (centres >= 400).all() and (centres < (800, 1000)).all()


def test_cells_appear_while_it_works(ready, qtbot, monkeypatch) -> None:
    viewer, dock, entry = ready
    monkeypatch.setattr("napari_zoommil.viewer.docks.detect.parts.PAINT_SECONDS", 0.0)
    dock.how.advanced["batch_size"].value = 1
    painted = []
    usual = Search.paint

    def paint(self, of, part) -> None:
        usual(self, of, part)
        painted.append(len(rings(viewer, dock, entry).rings.counted))

    monkeypatch.setattr(Search, "paint", paint)
    run(qtbot, dock)
    assert len(painted) > 1 and painted == sorted(painted) and painted[0] < painted[-1]


def test_results_are_a_list_to_go_back_in(ready, qtbot) -> None:
    viewer, dock, entry = ready
    run(qtbot, dock)
    first = entry.detection
    dock.panel.score.setValue(0.8)
    count = len(rings(viewer, dock, entry).rings.counted)
    viewer.scene.camera.zoom *= 2
    run(qtbot, dock)
    assert entry.detection is not first and entry.threshold == first.threshold
    listed = dock.results.list
    assert listed.count() == 2 and listed.itemText(0).endswith(" · visible window")
    assert " cells · yollo" in listed.itemText(0)
    press(qtbot, dock.results.back)
    assert entry.detection is first and entry.threshold == 0.8 == dock.panel.score.value()
    assert len(rings(viewer, dock, entry).rings.counted) == count
    press(qtbot, dock.results.remove)
    press(qtbot, dock.results.remove)
    assert entry.detection is None and dock.panel.isHidden() and rings(viewer, dock, entry) is None


def test_cancel_brings_back_what_was_there(ready, qtbot, monkeypatch) -> None:
    viewer, dock, entry = ready
    monkeypatch.setattr("napari_zoommil.viewer.docks.detect.parts.PAINT_SECONDS", 0.0)
    dock.where.choose(TISSUE)
    dock.how.advanced["batch_size"].value = 1
    press(qtbot, dock.act.button)
    assert dock.act.button.text() == "Cancel"
    qtbot.waitUntil(lambda: rings(viewer, dock, entry) is not None, timeout=MINUTE)
    press(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=10_000)
    assert rings(viewer, dock, entry) is None and entry.detection is None
    assert dock.act.note.text() == "Cancelled" and dock.act.button.text() == "Detect"
    dock.where.choose(WINDOW)
    run(qtbot, dock)
    dock.panel.score.setValue(0.4)
    before, found = rings(viewer, dock, entry).rings.counted.copy(), entry.detection
    dock.where.choose(TISSUE)
    press(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: dock.act.bar.value() > 0, timeout=MINUTE)
    np.testing.assert_array_equal(rings(viewer, dock, entry).rings.counted, before)
    press(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=10_000)
    assert entry.detection is found
    np.testing.assert_array_equal(rings(viewer, dock, entry).rings.counted, before)
    assert not [one for one in threading.enumerate() if one.name.startswith("tile-reader")]


def test_qupath_gets_what_counts(ready, qtbot, monkeypatch, path) -> None:
    _, dock, entry = ready
    run(qtbot, dock)
    score = round(float(np.quantile(entry.detection.finds.scores, 0.8)), 2)
    dock.panel.score.setValue(score)
    asked = []

    def ask(_parent, _title, start, _filter):
        asked.append(start)
        return start, ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    press(qtbot, dock.panel.export)
    qtbot.waitUntil(lambda: not dock._exporting.running)
    file = path.with_name("cmu.cells.geojson")
    told = notification_manager.records[-1].message
    assert asked == [str(file)] and str(file.parent) in told
    for name in (file.name, "cmu.cells.csv", "cmu.cells.counts.csv"):
        assert name in told and file.with_name(name).exists()
    counted = entry.detection.finds.scores >= score
    features = json.loads(file.read_text())["features"]
    assert (
        0 < len(features) == counted.sum() < len(counted)
        and features[0]["properties"]["objectType"] == "detection"
    )
    np.testing.assert_allclose(
        np.sort(Points.read(file).coordinates, axis=0),
        np.sort(entry.detection.finds.centres[counted], axis=0),
        atol=0.02,
    )


def test_an_export_that_fails_is_told(ready, qtbot, monkeypatch, tmp_path) -> None:
    _, dock, _ = ready
    run(qtbot, dock)
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file" / "cells.geojson")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (where, ""))
    press(qtbot, dock.panel.export)
    qtbot.waitUntil(lambda: not dock._exporting.running)
    assert "cannot be made" in notification_manager.records[-1].message
    assert dock.panel.export.isEnabled()


def test_each_slide_keeps_its_own(ready, other_slide, add_slide, qtbot) -> None:
    viewer, dock, first = ready
    run(qtbot, dock)
    dock.panel.score.setValue(0.6)
    add_slide(viewer, other_slide)
    second = session_of(viewer).active
    assert dock.panel.isHidden() and dock.slide.text() == "on other.tif"
    layer = rings(viewer, dock, first)
    assert not layer.visible
    viewer.layers.selection.active = first.layer
    assert dock.panel.score.value() == 0.6 and not dock.panel.isHidden() and layer.visible
    press(qtbot, dock.act.button)
    viewer.layers.selection.active = second.layer  # in mid-run
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=MINUTE)
    assert second.detection is None and first.threshold == first.detection.threshold
    assert rings(viewer, dock, second) is None and not rings(viewer, dock, first).visible
    assert dock.panel.isHidden()


def test_another_resolution_in_mid_run_ends_it(ready, qtbot) -> None:
    viewer, dock, entry = ready
    dock.where.choose(TISSUE)
    press(qtbot, dock.act.button)
    session_of(viewer).set_mpp(entry, 0.25)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=MINUTE)
    assert entry.detection is None and rings(viewer, dock, entry) is None
    assert dock.act.note.text() == OUTDATED


def test_results_of_another_resolution_are_forgotten(ready, qtbot) -> None:
    viewer, dock, entry = ready
    run(qtbot, dock)
    session_of(viewer).set_mpp(entry, 0.25)
    assert entry.detection is None and rings(viewer, dock, entry) is None and dock.panel.isHidden()


@pytest.mark.parametrize("annotate_first", [True, False])
def test_the_walk_goes_through_what_was_found(ready, qtbot, annotate_first, monkeypatch) -> None:
    viewer, dock, entry = ready
    monkeypatch.setattr("napari_zoommil.viewer.settings.annotator", lambda: "reader")
    if annotate_first:
        annotate = show_dock(viewer, "Annotate")
        annotate._fly(1)
        assert "Detect cells" in annotate.note.text()
    run(qtbot, dock)
    if not annotate_first:
        annotate = show_dock(viewer, "Annotate")
    annotate._fly(1)
    finds = entry.detection.finds
    row = np.abs(finds.scores - entry.threshold).argmin()
    assert annotate.note.text() == f"Detection 1 of {len(finds):,}, score {finds.scores[row]:.2f}"
    np.testing.assert_allclose(
        np.array(viewer.scene.camera.center[-2:]), finds.centres[row] * entry.slide.mpp, atol=0.01
    )


def test_removing_the_slide_in_mid_run_stops_it(ready, qtbot) -> None:
    viewer, dock, entry = ready
    press(qtbot, dock.act.button)
    viewer.layers.remove(entry.layer)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=MINUTE)
    assert len(viewer.layers) == 0 and not dock.act.button.isEnabled()
    assert dock.act.button.toolTip() == "Open a slide first"


def test_closing_the_dock_in_mid_run_stops_the_job(ready, qtbot) -> None:
    viewer, dock, _ = ready
    press(qtbot, dock.act.button)
    worker = dock._detecting._worker
    before = len(session_of(viewer).slide_changed)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not worker.is_running, timeout=10_000)
    assert len(session_of(viewer).slide_changed) == before - 1
    assert not [one for one in threading.enumerate() if one.name.startswith("tile-reader")]


def test_a_finished_run_is_forgotten(ready_alone, qtbot) -> None:
    _, dock, _ = ready_alone
    press(qtbot, dock.act.button)
    held = weakref.ref(dock._search)
    qtbot.waitUntil(lambda: not dock._detecting.running, timeout=MINUTE)
    qtbot.wait(20)
    gc.collect()
    assert held() is None


def test_without_a_resolution_the_buttons_say_the_way_out(window, data, add_slide) -> None:
    viewer = window
    dock = show_dock(viewer, "Detect cells")
    assert dock.area.text() == "Open a slide first" and not dock.act.button.isEnabled()
    add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    assert not dock.act.button.isEnabled() and "Slide dock" in dock.act.button.toolTip()
    assert dock.where.draw.isEnabled(), "a region needs no resolution"
    assert "pixel size" in dock.area.text()


def test_what_is_no_cell_model_is_told(ready, qtbot, model) -> None:
    _, dock, entry = ready
    (model / "config.json").write_text('{"class_names": []}')
    before = len(notification_manager.records)
    press(qtbot, dock.act.button)
    assert "is a MIL model" in notification_manager.records[before].message
    assert not dock._detecting.running and entry.detection is None and dock.act.button.text() == "Detect"


def test_off_the_slide_there_is_nothing_to_search(ready, qtbot) -> None:
    viewer, dock, _ = ready
    viewer.scene.camera.center = (0, -5000, -5000)
    qtbot.waitUntil(lambda: not dock.act.button.isEnabled(), timeout=10 * SETTLED_MS)
    assert not dock.act.button.isEnabled() and "nothing of the slide" in dock.act.button.toolTip()
