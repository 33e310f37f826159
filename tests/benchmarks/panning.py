"""Panning a slide with a job running beside it against panning alone, in one window, in turns.

    xvfb-run -a python tests/benchmarks/panning.py --json [--slide SLIDE] [--repeats 5] [--async]

A timer beats on the window's event loop; a stall is the time between two beats. The camera moves
over the slide at 20x meanwhile. Printed is the ratio of the 95th percentiles, with over without job.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Generator
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs import Progress, predict
from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer.camera import set_magnification
from napari_zoommil.viewer.slide_layer import SLIDE, open_slide_layer
from napari_zoommil.viewer.worker import JobRunner, spare_cores

SECONDS = 6.0
STEP_SECONDS = 0.04
STEP_UM = 25.0


def stalls(viewer: napari.Viewer, start: tuple[float, float]) -> np.ndarray:
    """Times between beats of the event loop while the camera pans, s."""
    beats: list[float] = []
    beat = QTimer()
    beat.timeout.connect(lambda: beats.append(time.perf_counter()))
    beat.start(0)
    app = QApplication.instance()
    assert app is not None
    begin = time.perf_counter()
    moved = begin
    viewer.camera.center = (0, *start)
    while (now := time.perf_counter()) - begin < SECONDS:
        if now - moved >= STEP_SECONDS:
            moved = now
            _, y, x = viewer.camera.center
            viewer.camera.center = (0, y + STEP_UM / 4, x + STEP_UM)
        app.processEvents()
    beat.stop()
    return np.diff(beats)


def endless(slide: object) -> Generator[Progress, None, None]:
    """Predictions one after the other, as a dock would run them."""
    while True:
        yield from predict(slide, threads=spare_cores(), workers=spare_cores())  # type: ignore[arg-type]


def measure(path: Path, repeats: int) -> dict[str, object]:
    """Alternate panning alone and panning beside a job."""
    viewer = napari.Viewer()
    data, arguments, _ = open_slide_layer(path)
    layer = viewer.add_image(data, **arguments)
    slide = layer.metadata[SLIDE]
    viewer.window.resize(1400, 900)
    set_magnification(viewer, 20)
    centre = (slide.shape[0] * slide.mpp[0] * 0.3, slide.shape[1] * slide.mpp[1] * 0.25)
    runner = JobRunner(viewer, lambda _: None, lambda _: None, lambda: None)
    stalls(viewer, centre)  # warm up
    alone, beside = [], []
    for repeat in range(repeats):
        start = (centre[0] + 200 * repeat, centre[1])
        alone.append(np.percentile(stalls(viewer, start), 95))
        runner.start(lambda: endless(slide), "benchmark")
        settle = time.perf_counter() + 3
        while time.perf_counter() < settle:
            QApplication.processEvents()
        beside.append(np.percentile(stalls(viewer, (start[0] + 100, start[1])), 95))
        runner.cancel()
        while runner.running:
            QApplication.processEvents()
    viewer.close()
    ratios = [b / a for a, b in zip(alone, beside, strict=True)]
    return {
        "p95_stall_ms_alone": [round(1000 * v, 2) for v in alone],
        "p95_stall_ms_beside_job": [round(1000 * v, 2) for v in beside],
        "ratio": {"each": [round(r, 3) for r in ratios], "median": round(float(np.median(ratios)), 3)},
        "job_threads": spare_cores(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--async", dest="smooth", action="store_true", help="napari's asynchronous slicing on"
    )
    args = parser.parse_args()
    get_settings().experimental.async_ = args.smooth
    print(json.dumps(measure(args.slide or synthetic_slide(), args.repeats), indent=2))


if __name__ == "__main__":
    main()
