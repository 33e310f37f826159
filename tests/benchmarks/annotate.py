"""One point more, with 1,000, 20,000 and 100,000 points there already, in a real window.

    xvfb-run -a python tests/benchmarks/annotate.py --json [--counts 1000 100000] [--slide SLIDE] [--ours]

Each point goes the whole way: document, undo history, the file written anew beside (a copy of) the slide,
napari's layer, the dock, and the window drawn. ``edit_ms`` is from the click to when the program is ready
for the next; ``drawn_ms`` goes on until the window shows it. Views: ``close`` is 20x, where one annotates,
``whole`` the whole slide with all points in it. ``pan_ratio`` is a camera step with the points over one
without; ``move_ms`` one point moved; ``rename_ms`` a new name for their class, with the file written and the
layer brought to it. All are milliseconds of the processor, which other work on the machine lengthens least.
``close_napari`` and ``whole_napari`` are a bare Points layer of as many points in the same window, without
document, file and dock: what napari itself takes; left out with ``--ours``, because for 100,000 points they
take seconds each far out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.docks.annotate.dock import AnnotateDock
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.point_looks import looks
from napari_zoommil.viewer.layers.slide import open_slide_layer

COUNTS = (1_000, 20_000, 100_000)
REPEATS = 15
WARM_UP = 3
TURNS = 4
SIZE = (1400, 1000)
VIEWS = ("close", "whole")


def settle(seconds: float) -> None:
    """Let the window finish what it is at."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()


def timed(add: Callable[[np.ndarray], object], places: np.ndarray) -> dict[str, float]:
    """Median milliseconds of adding one point at each of (n, 2) places, the first few not counted."""
    edits, drawn = [], []
    for place in places:
        started = time.process_time()
        add(place)
        edits.append(time.process_time() - started)
        QApplication.processEvents()
        drawn.append(time.process_time() - started)
        settle(0.02)
    return {
        "edit_ms": round(1000 * float(np.median(edits[WARM_UP:])), 1),
        "drawn_ms": round(1000 * float(np.median(drawn[WARM_UP:])), 1),
    }


def look(viewer: napari.Viewer, dock: AnnotateDock, view: str) -> None:
    """Go where one annotates, or far enough away to see everything."""
    viewer.reset_view()
    if view == "close":
        assert dock.current is not None
        camera.set_magnification(viewer, 20)
        camera.go_to(viewer, dock.current.entry.slide, 0.5, 0.5)
    settle(0.5)


def panned(viewer: napari.Viewer, layer: Layer) -> float:
    """Median time of a camera step, drawn, with a layer over that without, in turns."""
    step, taken = SIZE[0] / 20 / viewer.scene.camera.zoom, {True: [], False: []}
    for turn in range(2 * TURNS):
        layer.visible = bool(turn % 2)
        settle(0.2)
        for number in range(REPEATS):
            _, y, x = viewer.scene.camera.center
            started = time.process_time()
            viewer.scene.camera.center = (0, y, x + (step if number < REPEATS / 2 else -step))
            QApplication.processEvents()
            taken[layer.visible].append(time.process_time() - started)
    return round(float(np.median(taken[True]) / np.median(taken[False])), 2)


def measure(slide: Path, count: int, bare_too: bool) -> dict[str, object]:
    """Both views of one slide with ``count`` points, ours and napari's bare layer."""
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    data, arguments, _ = open_slide_layer(slide)
    viewer.add_image(data, **arguments)
    dock = show_dock(viewer, "Annotate")
    assert isinstance(dock, AnnotateDock) and dock.current is not None
    of, rng = dock.current, np.random.default_rng(0)
    extent = np.array(of.entry.slide.shape) - 1
    of.points.add(rng.uniform(0, extent, (count, 2)), 1)
    found: dict[str, object] = {"points": count}
    shown = looks(of.points.classes, of.entry.slide.mpp)
    for view in VIEWS:
        look(viewer, dock, view)
        middle = extent / 2 + rng.uniform(-200, 200, (REPEATS + WARM_UP, 2))
        found[view] = timed(of.view.place, middle) | {"pan_ratio": panned(viewer, of.view.layer)}
        one = of.points.ids[-1:]
        found[view]["move_ms"] = timed(lambda place, one=one: of.points.move(one, place), middle)["drawn_ms"]
        if not bare_too:
            continue
        of.view.layer.visible = False
        bare = viewer.add_points(
            of.points.coordinates,
            size=shown.sizes[1],
            face_color=shown.faces[1],
            scale=of.view.layer.scale,
            units=of.view.layer.units,
        )
        settle(0.3)
        found[f"{view}_napari"] = timed(bare.add, middle)
        viewer.layers.remove(bare)
        of.view.layer.visible = True
    started = time.process_time()
    of.points.rename_class(1, "another")
    found["rename_ms"] = round(1000 * (time.process_time() - started), 1)
    viewer.close()
    settle(0.2)
    return found


def ratios(results: list[dict], view: str, what: str) -> dict[str, float]:
    """Each cost over that of the first count."""
    return {str(one["points"]): round(one[view][what] / results[0][view][what], 2) for one in results}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--ours", action="store_true", help="without the bare layer")
    args = parser.parse_args()
    source, results = args.slide or synthetic_slide(), []
    for count in args.counts:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(shutil.copy(source, folder)), count, not args.ours))
    found = {
        "slide": source.name,
        "results": results,
        "ratio_to_fewest": {
            view: {what: ratios(results, view, what) for what in ("edit_ms", "drawn_ms")}
            for view in (*VIEWS, *(f"{view}_napari" for view in VIEWS if not args.ours))
        },
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
