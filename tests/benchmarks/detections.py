"""300,000 detected cells against 1,000: in the window, and written to files.

    xvfb-run -a python tests/benchmarks/detections.py --json [--counts 1000 300000] [--shots FOLDER]

The cells lie at random on the tissue of the sample slide, with random scores. ``slider_ms`` is a move of the
score slider until the window is drawn; ``pan_ratio`` the median time of a camera step (drawn) with the cells
over that without, in turns; views are the whole slide, 5x and 20x. ``export_s`` writes GeoJSON and tables.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.detection_files import export_cells
from napari_zoommil.slides import Slide
from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.docks.detect.dock import DetectDock
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.open_slide import DETECTION, ResultKey
from napari_zoommil.viewer.session import session_of

COUNTS = (1_000, 300_000)
SIZE = (1400, 1000)
VIEWS = {"whole": None, "middle": 5.0, "close": 20.0}
CLASSES = (CellClass("tumour", CLASS_CYCLE[1]), CellClass("lymphocyte", CLASS_CYCLE[0]))
REPEATS, TURNS = 15, 4


def detection(slide: Slide, count: int) -> Detection:
    """Cells where the slide is not white."""
    rng = np.random.default_rng(0)
    overview = np.asarray(slide.pyramid()[-1])
    tissue = np.argwhere(overview.min(-1) < 215)
    step = np.array(slide.shape) / overview.shape[:2]
    centres = (tissue[rng.integers(len(tissue), size=count)] + rng.random((count, 2))) * step
    half = rng.uniform(8, 16, (count, 2))
    labels = 1 + (centres[:, 1] + rng.normal(0, 2000, count) > slide.shape[1] / 2).astype(np.int64)
    finds = Finds(np.hstack([centres - half, centres + half]), rng.uniform(0.1, 1, count), labels)
    told = (slide.name, slide.fingerprint, "yollo", CLASSES, finds, 0.1, 25.0)
    return Detection(*told, least=0.1, mpp=slide.resolution())


def timed(step: object, repeats: int) -> float:
    """Median milliseconds of a step until the window is drawn."""
    taken = []
    for number in range(repeats):
        started = time.perf_counter()
        step(number)  # type: ignore[operator]
        QApplication.processEvents()
        taken.append(time.perf_counter() - started)
    return 1000 * float(np.median(taken))


def pan(viewer: napari.Viewer, repeats: int) -> float:
    """Camera steps of a twentieth of the window, there and back."""
    um = SIZE[0] / 20 / viewer.scene.camera.zoom

    def step(number: int) -> None:
        _, y, x = viewer.scene.camera.center
        viewer.scene.camera.center = (0, y, x + (um if number < repeats / 2 else -um))

    return timed(step, repeats)


def look(viewer: napari.Viewer, slide: Slide, magnification: float | None) -> None:
    viewer.reset_view()
    if magnification:
        camera.set_magnification(viewer, magnification)
        camera.go_to(viewer, slide, 0.42, 0.4)
    timed(lambda _: time.sleep(0.05), 4)


def measure(count: int, shots: Path | None) -> dict[str, object]:
    """All figures of one number of cells."""
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    data, arguments, _ = open_slide_layer(synthetic_slide())
    viewer.add_image(data, **arguments)
    dock = show_dock(viewer, "Detect cells")
    assert isinstance(dock, DetectDock) and session_of(viewer).active is not None
    entry = session_of(viewer).active
    found, figures = detection(entry.slide, count), {"cells": count}
    started = time.perf_counter()
    session_of(viewer).keep(entry, ResultKey(DETECTION, "yollo", made=time.time()), found)
    QApplication.processEvents()
    figures["show_s"] = round(time.perf_counter() - started, 2)
    (layer,) = [one for one in viewer.layers if "cells" in one.name]
    for view, magnification in VIEWS.items():
        look(viewer, entry.slide, magnification)
        if shots is not None:
            viewer.screenshot(str(shots / f"{count}-{view}.png"), flash=False)
        slider = timed(lambda number: dock.panel.slider.setValue(12 + 5 * number), REPEATS)
        dock.panel.slider.setValue(10)
        each = []
        for _ in range(TURNS):
            layer.visible = False
            pan(viewer, 4)
            without = pan(viewer, 2 * REPEATS)
            layer.visible = True
            pan(viewer, 4)
            each.append((pan(viewer, 2 * REPEATS), without))
        over, alone = np.median(each, 0)
        figures[view] = {
            "slider_ms": round(slider, 1),
            "pan_ms": round(over, 1),
            "pan_alone_ms": round(alone, 1),
            "pan_ratio": round(over / alone, 2),
        }
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        steps = sum(1 for _ in export_cells(Path(folder) / "cells.geojson", found, 0.1))
        figures["export_s"] = round(time.perf_counter() - started, 2)
        figures["export_steps"] = steps
        figures["export_mb"] = round(sum(one.stat().st_size for one in Path(folder).glob("*")) / 1e6)
    figures["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    viewer.close()
    timed(lambda _: time.sleep(0.05), 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--shots", type=Path, default=None, help="folder for pictures of the views")
    args = parser.parse_args()
    print(json.dumps([measure(count, args.shots) for count in args.counts], indent=2))


if __name__ == "__main__":
    main()
