"""The Explain dock: methods of a prediction, places, a click on a patch, agreement and faithfulness."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer

from napari_zoommil import model_folder
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import predict, run
from napari_zoommil.viewer.docks import explaining
from napari_zoommil.viewer.docks.explain.dock import prepare_job
from napari_zoommil.viewer.docks.explain.place import ASK_PATCH, PATCH, WINDOW
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.overlays import MAP
from napari_zoommil.viewer.metadata import TITLE, per_pixel
from napari_zoommil.viewer.open_slide import EXPLANATION, PREDICTION, ResultKey

MINUTE = 60_000


@pytest.fixture
def ready(window, small_slide, add_slide, qtbot):
    """Viewer, dock and a prediction that is shown."""
    viewer = window
    dock = show_dock(viewer, "Explain")
    assert dock.slide.text() == "Open a slide first" and not dock.act.button.isEnabled()
    add_slide(viewer, small_slide)
    assert "Run a model in the Attention dock" in dock.act.button.toolTip()
    entry = dock._session.active
    prediction = run(predict(small_slide, "demo", workers=1))
    dock._session.keep(entry, ResultKey(PREDICTION, "demo", made=1.0, where="all tissue"), prediction)
    return viewer, dock, entry


def explained(qtbot, dock, method: str) -> None:
    dock.method.setCurrentIndex(dock.method.findData(method))
    qtbot.mouseClick(dock.act.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock._explainer.runner.running, timeout=MINUTE)


def maps_in(viewer) -> list[str]:
    return [layer.metadata[TITLE] for layer in viewer.layers if layer.metadata.get(MAP) is not None]


def pick(viewer, dock, y: float, x: float) -> None:
    """A press and release on the slide."""
    unit = per_pixel(dock._entry.slide)
    viewer.cursor.position = ((y - 0.5) * unit[0], (x - 0.5) * unit[1])
    event = SimpleNamespace(type="mouse_press")
    handler = dock.place._clicked(None, event)
    next(handler)
    event.type = "mouse_release"
    next(handler, None)


def test_showing_a_prediction_fetches_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "_download", lambda _: pytest.fail("fetched"))
    with pytest.raises(ModelError, match="there is no model"):
        run(prepare_job("owner/name", {}))


def test_from_a_prediction_to_a_map_that_was_tested(ready, qtbot, monkeypatch, tmp_path) -> None:
    viewer, dock, entry = ready
    qtbot.waitUntil(lambda: not dock._preparing.running, timeout=MINUTE)
    assert dock._preparing.done and dock._prepared == {"demo"}, "what the first explanation takes is loaded"
    assert "captum.attr" in sys.modules
    titles = [dock.method.itemText(index) for index in range(dock.method.count())]
    assert titles[:4] == ["Attention", "Evidence", "Leave-one-out", "Grad-CAM"]
    assert "Local evidence" not in titles, "this model has none"
    assert dock.method.currentData() == "grad-cam" and "activation of each patch" in dock.about.text()

    calls: list[str] = []
    real = explaining.explain
    monkeypatch.setattr(explaining, "explain", lambda *a, **k: calls.append(k["method"]) or real(*a, **k))
    explained(qtbot, dock, "grad-cam")
    assert maps_in(viewer) == [f"Grad-CAM {entry.prediction.explained}"]
    other = next(name for name in entry.prediction.task.names if name != entry.prediction.explained)
    dock.output.setCurrentText(other)
    assert maps_in(viewer) == [f"Grad-CAM {other}"], "all outputs are computed together"
    explained(qtbot, dock, "grad-cam")
    assert calls == ["grad-cam"], "what was computed is shown at once"

    assert dock.evaluation.told.text().startswith("Draw regions")
    qtbot.waitUntil(lambda: entry.document is not None, timeout=MINUTE)
    height, width = entry.slide.shape
    ring = np.array([[0, 0], [0, width / 2], [height, width / 2], [height, 0]])
    entry.document.points.add_region(ring)
    qtbot.waitUntil(lambda: dock.evaluation.agreement is not None, timeout=MINUTE)
    assert dock.evaluation.told.text().startswith("Jaccard ") and dock.evaluation.regions.count() == 1

    qtbot.mouseClick(dock.evaluation.act.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.evaluation.curves is not None, timeout=MINUTE)
    assert not dock.evaluation.plot.isHidden() and "Areas: deletion" in dock.evaluation.act.note.text()
    dock.export_to(tmp_path)
    qtbot.waitUntil(lambda: dock.export.isEnabled(), timeout=MINUTE)
    (folder,) = tmp_path.iterdir()
    names = {path.name for path in folder.iterdir()}
    of = f"grad-cam-{other.lower()}"
    assert {f"agreement-{of}.json", f"faithfulness-{of}.png", "patches-grad-cam.csv"} <= names


def test_a_click_explains_a_patch_and_the_window_does_not_stall(ready, qtbot) -> None:
    viewer, dock, entry = ready
    dock.place.choice.setCurrentText(PATCH)
    assert not dock.act.button.isEnabled() and dock.place.told.text() == ASK_PATCH
    step = entry.prediction.steps[-1]
    level = entry.prediction.grid.levels[step.level]
    y, x = level.origins[step.rows[0]] + np.asarray(level.size) / 2
    gaps, timer = [], QTimer()
    timer.setInterval(5)
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        gaps.append(now - last[0])
        last[0] = now

    timer.timeout.connect(tick)
    timer.start()
    pick(viewer, dock, y, x)
    qtbot.waitUntil(lambda: dock.explanation is not None, timeout=MINUTE)
    timer.stop()
    (shown,) = dock.explanation.maps_for(dock.target)
    assert min(shown.values.shape) >= 16 and shown.at(y, x) is not None
    assert maps_in(viewer) == [f"Grad-CAM {dock.target}"]
    assert "A patch alone is not compared" in dock.evaluation.told.text()
    assert max(gaps) < 1.0
    pick(viewer, dock, y + 2, x - 2)
    qtbot.waitUntil(lambda: not dock._explainer.runner.running, timeout=MINUTE)
    assert len(entry.keys(EXPLANATION)) == 1, "two clicks in one patch are one place"
    dock.method.setCurrentIndex(dock.method.findData("attention"))
    assert "gives a value to a patch and none to its pixels" in dock.act.button.toolTip()


def test_the_window_alone_takes_fewer_passes(ready, qtbot) -> None:
    viewer, dock, entry = ready
    dock.place.choice.setCurrentText(WINDOW)
    dock.place.magnification.setCurrentIndex(1)
    viewer.scene.camera.zoom *= 6
    explained(qtbot, dock, "occlusion")
    found = dock.explanation
    assert found is not None and {one.level for one in found.scores} == {0}
    assert 0 < sum(len(one.rows) for one in found.scores) < len(entry.prediction.grid.levels[0])
    assert [key.variant for key in entry.keys(EXPLANATION)] != ["occlusion"], "it is another one than of all"
    explained(qtbot, dock, "occlusion")
    assert len(entry.keys(EXPLANATION)) == 1
