"""Panning a slide with a job running beside it against panning alone, in one window, in turns.

    xvfb-run -a python tests/benchmarks/panning.py --json [--slide SLIDE] [--repeats 5] [--async]

The camera moves over the slide at 20x, a step every 40 ms. The stall of a step is the longest time
for which the event loop is held until the next step. Printed is the ratio of the 95th percentiles,
with over without job.
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
from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs import Progress, predict
from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer.camera import set_magnification
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.metadata import SLIDE
from napari_zoommil.viewer.worker import JobRunner, spare_cores

SECONDS = 6.0
STEP_SECONDS = 0.04
STEP_UM = 25.0


def stalls(viewer: napari.Viewer, start: tuple[float, float]) -> np.ndarray:
    """The longest hold of the event loop after each step of the camera, s."""
    camera = viewer.scene.camera
    camera.center = (0, *start)
    longest = []
    for _ in range(int(SECONDS / STEP_SECONDS)):
        begin = time.perf_counter()
        _, y, x = camera.center
        camera.center = (0, y + STEP_UM / 4, x + STEP_UM)
        held = time.perf_counter() - begin
        while (now := time.perf_counter()) - begin < STEP_SECONDS:
            QApplication.processEvents()
            held = max(held, time.perf_counter() - now)
        longest.append(held)
    return np.array(longest)


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
    runner = JobRunner(viewer, lambda _: None, lambda _: None, lambda _: None)
    stalls(viewer, centre)  # warm up
    alone, beside = [], []
    for repeat in range(repeats):
        start = (centre[0] + 200 * repeat, centre[1])
        alone.append(stalls(viewer, start))
        runner.start(lambda: endless(slide), "benchmark")
        settle = time.perf_counter() + 3
        while time.perf_counter() < settle:
            QApplication.processEvents()
        beside.append(stalls(viewer, (start[0] + 100, start[1])))
        runner.cancel()
        while runner.running:
            QApplication.processEvents()
    viewer.close()
    each = [p95(with_job) / p95(without) for without, with_job in zip(alone, beside, strict=True)]
    return {
        "p95_stall_ms_alone": [round(1000 * p95(part), 1) for part in alone],
        "p95_stall_ms_beside_job": [round(1000 * p95(part), 1) for part in beside],
        "ratio": {
            "all_repeats": round(p95(np.concatenate(beside)) / p95(np.concatenate(alone)), 3),
            "each": [round(value, 3) for value in each],
        },
        "job_threads": spare_cores(),
    }


def p95(values: np.ndarray) -> float:
    return float(np.percentile(values, 95))


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
