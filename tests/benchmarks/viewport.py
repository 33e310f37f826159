"""A cold viewport, ours against napari-wsi's; and what panning a large slide costs in time and memory.

    xvfb-run -a -s "-screen 0 1700x1250x24" python tests/benchmarks/viewport.py --json --slide SLIDE
    xvfb-run -a -s "-screen 0 1700x1250x24" python tests/benchmarks/viewport.py --json --pan SLIDE

A jump puts the camera on tissue that has not been seen, one screen px to a level-0 px. Reported are
the time for which napari's slicing holds the event loop (``sliced``), and the times from the jump
until the new pixels are there (``loaded``) and painted (``drawn``). Each turn has a fresh viewer and
places of its own, the same for both. Slicing is synchronous. Without napari-wsi its side is null.

A pan goes along the middle of the slide at the same zoom. The stall of a step is the longest time for
which the event loop is held until the next one; beside it stands the same pan over 4000 × 4000 px in
memory, to and fro: as a plain image, which napari uploads once, and as a pyramid in the slide's blocks,
which it cuts and uploads anew like the slide. ``ratio`` is that of the 95th percentiles. What is newly
decoded is counted in 256-px blocks of the loaded box.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import napari
import numpy as np
import psutil
from napari.layers import Image
from napari.settings import get_settings
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from napari_zoommil import Slide
from napari_zoommil.slides.patching import detect_tissue
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.metadata import SLIDE

PLACE_PX = 4096
"""Distance of places from one another: more than a window shows and a prefetch adds."""

BLOCK = 256
TURNS = 3
STAGES = ("sliced", "loaded", "drawn")
STEP_SECONDS = 0.04
Floats = NDArray[np.float64]
Times = tuple[float, float, float]
Add = Callable[[napari.Viewer, Path], Image]


def settle(seconds: float = 0.5) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()


def rss_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def add_ours(viewer: napari.Viewer, path: Path) -> Image:
    TILES.clear()
    data, arguments, _ = open_slide_layer(path)
    return viewer.add_image(data, **arguments)


def add_napari_wsi(viewer: napari.Viewer, path: Path) -> Image:
    from napari_wsi.reader import wsi_reader_openslide

    [(data, arguments, _)] = wsi_reader_openslide(str(path))(str(path))
    return viewer.add_image(data, **arguments)


def add_plain(viewer: napari.Viewer, path: Path) -> Image:
    pixels = np.random.default_rng(0).integers(0, 255, (4000, 4000, 3), np.uint8)
    return viewer.add_image(pixels, rgb=True)


def add_pyramid(viewer: napari.Viewer, path: Path) -> Image:
    """In memory too, but cut and uploaded by napari in the blocks in which the slide is."""
    chunks = (*block_of(path), 3)
    pixels = np.random.default_rng(0).integers(0, 255, (4096, 4096, 3), np.uint8)
    levels = [da.from_array(np.ascontiguousarray(pixels[::step, ::step]), chunks) for step in (1, 4, 16)]
    return viewer.add_image(levels, rgb=True, multiscale=True, contrast_limits=(0, 255))


def block_of(path: Path) -> tuple[int, int]:
    """Edge of the blocks in which a slide's finest level comes to the viewer, px."""
    with Slide.open(path) as slide:
        return slide.pyramid()[0].chunksize[:2]


class Window:
    """A fresh viewer on one image, at one screen px to a level-0 px."""

    def __init__(self, add: Add, path: Path) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1600, 1150)
        self.layer = add(self.viewer, path)
        settle()
        self.viewer.scene.camera.zoom = 1 / self.layer.scale[0]
        settle()

    def look_at(self, y: float, x: float) -> None:
        """Centre a place, level-0 px."""
        camera = self.viewer.scene.camera
        camera.center = (*camera.center[:-2], y * self.layer.scale[0], x * self.layer.scale[1])

    def blocks(self) -> set[tuple[int, int, int]]:
        """What is loaded: (level, row, column) of its blocks."""
        (top, left), (bottom, right) = self.layer.corner_pixels[:, :2] // BLOCK
        level = self.layer.data_level
        return {(level, y, x) for y in range(top, bottom + 1) for x in range(left, right + 1)}

    def close(self) -> None:
        slide = self.layer.metadata.get(SLIDE)
        self.viewer.close()
        if slide is not None:
            slide.close()
        settle()
        gc.collect()


class Clock:
    """When a window slices, has loaded and has painted."""

    def __init__(self, window: Window) -> None:
        self._forget()
        self._slice = window.layer.set_view_slice
        window.layer.set_view_slice = self._timed_slice
        window.layer.events.set_data.connect(self._on_loaded)
        canvas = window.viewer.window._qt_viewer.canvas._scene_canvas  # no public way to hear of a paint
        canvas.events.draw.connect(self._on_draw, position="first")
        canvas.events.draw.connect(self._on_drawn, position="last")

    def _forget(self) -> None:
        self._sliced, self._loaded, self._draw, self._drawn = 0.0, 0.0, 0.0, 0.0

    def _timed_slice(self) -> None:
        started = time.perf_counter()
        self._slice()
        self._sliced += time.perf_counter() - started

    def _on_loaded(self) -> None:
        self._loaded, self._drawn = time.perf_counter(), 0.0

    def _on_draw(self, _: object) -> None:
        self._draw = time.perf_counter()

    def _on_drawn(self, _: object) -> None:
        if 0 < self._loaded < self._draw:  # napari slices at the end of a draw, too late for that one
            self._drawn = self._drawn or time.perf_counter()

    def jump(self, window: Window, place: Floats) -> Times:
        """Seconds of slicing, until loaded and until drawn."""
        self._forget()
        started = time.perf_counter()
        window.look_at(*place.tolist())
        while not self._drawn:
            QApplication.processEvents()
            if time.perf_counter() - started > 10:
                raise SystemExit(f"nothing was drawn within 10 s of a jump to {place}")
        return self._sliced, self._loaded - started, self._drawn - started


def tissue_places(path: Path, count: int) -> Floats:
    """(count, 2) far from one another, most of each view tissue."""
    with Slide.open(path) as slide:
        tissue, shape = detect_tissue(slide), slide.shape
    rows, columns = (np.arange(PLACE_PX, extent - PLACE_PX, PLACE_PX) for extent in shape)
    found = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2).astype(float)
    share = tissue.share(found - 700, (1400, 1400))
    best = found[np.argsort(-share, kind="stable")[: 2 * count]]
    return np.random.default_rng(0).permutation(best)[:count]


def jumps(path: Path, places: Floats, add: Add) -> tuple[list[Times], int]:
    """Each jump's times in a fresh viewer, and how many level-0 blocks the last one loaded."""
    window = Window(add, path)
    clock = Clock(window)
    found = []
    for place in places:
        found.append(clock.jump(window, place))
        if window.layer.data_level != 0:
            raise SystemExit(f"the view is at level {window.layer.data_level}, not at full resolution")
        settle()
    window.close()
    return found, len(window.blocks())


def measure_jumps(path: Path, count: int) -> dict[str, object]:
    """Both sides in turns, over places of which none is seen twice."""
    sides: dict[str, Add] = {"ours": add_ours}
    if find_spec("napari_wsi"):
        sides["napari_wsi"] = add_napari_wsi
    times: dict[str, list[Times]] = {name: [] for name in sides}
    loaded = {}
    for turn, places in enumerate(np.array_split(tissue_places(path, count), TURNS)):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            found, loaded[name] = jumps(path, places, sides[name])
            times[name] += found
    medians = {name: np.median(np.array(found), 0) for name, found in times.items()}
    theirs = medians.get("napari_wsi")
    return {
        "places": len(times["ours"]),
        "loaded_megapixels": {name: round(blocks * BLOCK**2 / 1e6, 2) for name, blocks in loaded.items()},
        "median_ms": {
            name: dict(zip(STAGES, (1000 * found).round(1).tolist(), strict=True))
            for name, found in medians.items()
        },
        "ratio": {
            stage: None if theirs is None else round(float(theirs[n] / medians["ours"][n]), 2)
            for n, stage in enumerate(STAGES)
        },
    }


class Pan(NamedTuple):
    """What each step cost: s, newly decoded megapixels, MiB."""

    stalls: Floats
    megapixels: Floats
    rss: Floats


def pan(add: Add, path: Path, track: Callable[[int], tuple[float, float]], steps: int) -> Pan:
    """Move the camera of a fresh viewer along a track, a step at a time."""
    window = Window(add, path)
    window.look_at(*track(0))
    settle(2)
    seen = window.blocks()
    stalls, megapixels, rss = [], [], [rss_mib()]
    for step in range(1, steps + 1):
        begin = time.perf_counter()
        window.look_at(*track(step))
        held = time.perf_counter() - begin
        while (now := time.perf_counter()) - begin < STEP_SECONDS:
            QApplication.processEvents()
            held = max(held, time.perf_counter() - now)
        new = window.blocks() - seen
        seen |= new
        stalls.append(held)
        megapixels.append(len(new) * BLOCK**2 / 1e6)
        rss.append(rss_mib())
    window.close()
    return Pan(np.array(stalls), np.array(megapixels), np.array(rss))


def along(shape: tuple[int, int], stride: float, step: int) -> tuple[float, float]:
    """Place of a step on the middle row, reflected at the ends."""
    low, span = 1000.0, shape[1] - 2000.0
    there = (step * stride) % (2 * span)
    return shape[0] / 2, low + (there if there < span else 2 * span - there)


def measure_pan(path: Path, steps: int) -> dict[str, object]:
    """The slide and a plain image, panned alike."""
    with Slide.open(path) as slide:
        shape = slide.shape
    pace = (shape[1] - 2000) / steps
    beside = pan(add_plain, path, partial(along, (4000, 4000), pace), steps)
    pyramid = pan(add_pyramid, path, partial(along, (4096, 4096), pace), steps)
    found = pan(add_ours, path, partial(along, shape, pace), steps)
    decoded = float(found.megapixels.sum())
    excess = found.stalls - np.median(beside.stalls)
    loading = found.megapixels > 0
    memory = {"before": found.rss[0], "peak": found.rss.max(), "after": found.rss[-1], "closed": rss_mib()}
    return {
        "steps": steps,
        "px_per_step": round(pace, 1),
        "rss_mib": {name: round(float(value)) for name, value in memory.items()},
        "decoded_megapixels": round(decoded, 1),
        "steps_that_decode": int(loading.sum()),
        "stall_ms": {
            "slide": stall_summary(found.stalls),
            "in_memory": stall_summary(beside.stalls),
            "in_memory_pyramid": stall_summary(pyramid.stalls),
        },
        "stall_difference_ms": {
            "max": round(1000 * float(found.stalls.max() - beside.stalls.max()), 1),
            "per_decoded_megapixel": round(1000 * float(excess[loading].sum()) / max(decoded, 1e-9), 2),
        },
        "ratio": ratio_95(found, beside),
        "ratio_to_pyramid": ratio_95(found, pyramid),
    }


def ratio_95(one: Pan, other: Pan) -> float:
    return round(float(np.percentile(one.stalls, 95) / np.percentile(other.stalls, 95)), 2)


def stall_summary(stalls: Floats) -> dict[str, float]:
    points = zip(("median", "p95", "max"), np.percentile(stalls, (50, 95, 100)), strict=True)
    return {name: round(1000 * float(value), 1) for name, value in points}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--places", type=int, default=12)
    parser.add_argument("--pan", type=Path, default=None, help="a large slide to pan across")
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    if not (args.slide or args.pan):
        parser.error("give --slide, --pan or both")
    get_settings().experimental.async_ = False
    found: dict[str, object] = {}
    if args.slide:
        found["jump"] = {"slide": args.slide.name, **measure_jumps(args.slide, args.places)}
    if args.pan:
        found["pan"] = {"slide": args.pan.name, **measure_pan(args.pan, args.steps)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
