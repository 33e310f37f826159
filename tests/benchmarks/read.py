"""Patches per second on one thread, ours against the usual readers, in turns on the same slide.

    python tests/benchmarks/read.py --json --slide SLIDE [SLIDE ...] [--patches 2000] [--repeats 3]

The process is held on one core, so that no reader gains by threads of its own. Every pass has a
freshly opened handle and an empty cache; OpenSlide and FastSlide get as large a tile cache as ours.
What a slide does not store, the other readers read at the next finer level and halve with Pillow.
A reader that is not installed, or cannot read the slide, is null.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil import Slide
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch
from napari_zoommil.slides.readers.tiles import CACHE_BYTES, TILES

SIZE = 256
LEAST_PATCHES = 1000
"""Read in all the passes of a case together; a small slide takes more turns."""

Read = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Case:
    """Places to read: (y, x) at level 0, each SIZE px at a whole downsample; by the grid, if there is one."""

    places: NDArray[np.int64]
    downsample: int
    grid: PatchGrid | None = None
    rows: NDArray[np.int64] | None = None


@contextmanager
def ours(path: Path, case: Case) -> Iterator[Read]:
    TILES.clear()
    with Slide.open(path) as slide:
        if case.grid is None:
            pair = (float(case.downsample),) * 2
            places = case.places.tolist()
            yield lambda i: slide.read_downsampled(places[i][0], places[i][1], SIZE, SIZE, pair)
        else:
            grid, rows = case.grid, case.rows
            yield lambda i: read_patch(slide, grid, len(grid.levels) - 1, int(rows[i]))  # type: ignore[index]


def reduced(pixels: NDArray[np.uint8] | Image.Image, factor: int) -> NDArray[np.uint8]:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    return np.asarray(image.reduce(factor)) if factor > 1 else np.asarray(pixels)


def window(
    downsamples: tuple[float, ...], case: Case, i: int
) -> tuple[tuple[int, int], tuple[int, int], int, int, int]:
    """(x, y) at level 0 and at the level, the level, the edge to read there, and what is left to reduce."""
    level = max(n for n, factor in enumerate(downsamples) if factor <= case.downsample * 1.002)
    rest = round(case.downsample / downsamples[level])
    y, x = case.places[i].tolist()
    at_level = round(x / downsamples[level]), round(y / downsamples[level])
    return (x, y), at_level, level, SIZE * rest, rest


@contextmanager
def with_openslide(path: Path, case: Case) -> Iterator[Read]:
    import openslide

    with openslide.OpenSlide(path) as slide:
        slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        downsamples = slide.level_downsamples

        def read(i: int) -> NDArray[np.uint8]:
            place, _, level, edge, rest = window(downsamples, case, i)
            return reduced(slide.read_region(place, level, (edge, edge)).convert("RGB"), rest)

        yield read


@contextmanager
def with_tiffslide(path: Path, case: Case) -> Iterator[Read]:
    import tiffslide

    with tiffslide.TiffSlide(path) as slide:
        downsamples = slide.level_downsamples

        def read(i: int) -> NDArray[np.uint8]:
            place, _, level, edge, rest = window(downsamples, case, i)
            return reduced(slide.read_region(place, level, (edge, edge), as_array=True), rest)

        yield read


@contextmanager
def with_tifffile(path: Path, case: Case) -> Iterator[Read]:
    import tifffile
    import zarr

    with tifffile.TiffFile(path) as file:
        shapes = [level.shape for level in file.series[0].levels]
        downsamples = tuple(shapes[0][1] / shape[1] for shape in shapes)
        _, _, level, _, _ = window(downsamples, case, 0)
        with closing(file.series[0].aszarr(level=level)) as store:
            pixels = zarr.open_array(store, mode="r")

            def read(i: int) -> NDArray[np.uint8]:
                _, (x, y), _, edge, rest = window(downsamples, case, i)
                return reduced(np.asarray(pixels[y : y + edge, x : x + edge]), rest)

            yield read


@contextmanager
def with_fastslide(path: Path, case: Case) -> Iterator[Read]:
    import fastslide

    with closing(fastslide.FastSlide.from_file_path(str(path), cache=CACHE_BYTES)) as slide:
        downsamples = slide.level_downsamples

        def read(i: int) -> NDArray[np.uint8]:
            _, place, level, edge, rest = window(downsamples, case, i)
            return reduced(slide.read_region(place, level, (edge, edge)).numpy(), rest)

        yield read


READERS = {
    "ours": ours,
    "openslide": with_openslide,
    "tiffslide": with_tiffslide,
    "tifffile_zarr": with_tifffile,
    "fastslide": with_fastslide,
}


def grid_case(slide: Slide, magnification: float, downsample: int, count: int) -> Case:
    """The patches of one magnification in the order a job reads them, from the middle of the grid."""
    tissue = detect_tissue(slide)
    grid = patch_grid(slide, tissue, tuple(magnification / n for n in (4, 2, 1)), SIZE)
    inside = (grid.levels[-1].origins + SIZE * downsample <= np.asarray(slide.shape)).all(1)
    rows = np.flatnonzero(inside)
    start = max(0, (len(rows) - count) // 2)
    rows = rows[start : start + count]
    return Case(np.rint(grid.levels[-1].origins[rows]).astype(np.int64), downsample, grid, rows)


def random_case(slide: Slide, grid: Case, count: int) -> Case:
    """Places off every tile's corner, within patches that hold tissue."""
    assert grid.grid is not None
    chance = np.random.default_rng(0)
    patches = grid.grid.levels[-1].origins
    places = patches[chance.integers(len(patches), size=count)] + chance.integers(1, SIZE, (count, 2))
    return Case(np.minimum(places, np.asarray(slide.shape) - SIZE).astype(np.int64), 1)


def cases(path: Path, count: int) -> dict[str, Case]:
    """All that is measured on one slide."""
    with Slide.open(path) as slide:
        if slide.magnification is None:
            raise SystemExit(f"{path.name} states no resolution")
        native = grid_case(slide, slide.magnification, 1, count)
        half = grid_case(slide, slide.magnification / 2, 2, count)
        return {
            f"grid_{slide.magnification:g}x": native,
            f"grid_{slide.magnification / 2:g}x": half,
            "unaligned_level_0": random_case(slide, native, count),
        }


def difference(path: Path, case: Case, name: str) -> dict[str, float] | None:
    """Largest and mean absolute difference of a reader's pixels to OpenSlide's; None if it cannot read."""
    worst, total = 0, 0.0
    try:
        with READERS[name](path, case) as read, with_openslide(path, case) as reference:
            for i in range(len(case.places)):
                error = np.abs(read(i).astype(np.int16) - reference(i))
                worst, total = max(worst, int(error.max())), total + float(error.mean())
    except ImportError:
        return None
    except Exception as error:  # each library raises types of its own
        return {"error": f"{type(error).__name__}: {error}"}  # type: ignore[dict-item]
    return {"max": worst, "mean": round(total / len(case.places), 4)}


def timed(path: Path, case: Case, name: str) -> tuple[float, float, float]:
    """Seconds to open and empty the cache, then wall and CPU seconds of one pass."""
    opening = time.perf_counter()
    with READERS[name](path, case) as read:
        cpu, started = time.process_time(), time.perf_counter()
        for i in range(len(case.places)):
            read(i)
        return started - opening, time.perf_counter() - started, time.process_time() - cpu


def measure(path: Path, case: Case, repeats: int) -> dict[str, object]:
    """One case with every reader, in turns."""
    differences = {name: difference(path, case, name) for name in READERS}
    able = [name for name, found in differences.items() if found and "error" not in found]
    passes: dict[str, list[tuple[float, float, float]]] = {name: [] for name in able}
    count = len(case.places)
    for turn in range(max(repeats, LEAST_PATCHES // count)):
        for name in able if turn % 2 == 0 else able[::-1]:
            passes[name].append(timed(path, case, name))
    rate = {name: count / median(wall for _, wall, _ in found) for name, found in passes.items()}
    best = {name: min(wall for _, wall, _ in found) for name, found in passes.items()}
    cpu = {name: median(seconds for _, _, seconds in found) for name, found in passes.items()}
    others = [name for name in READERS if name != "ours"]
    return {
        "patches": count,
        "patches_per_second": {name: round(rate[name], 1) if name in rate else None for name in READERS},
        "open_ms": {name: round(1000 * median(o for o, _, _ in found), 1) for name, found in passes.items()},
        "difference_to_openslide": differences,
        "ratio": {name: round(rate["ours"] / rate[name], 2) if name in rate else None for name in others},
        "ratio_best": {
            name: round(best[name] / best["ours"], 2) if name in rate else None for name in others
        },
        "ratio_cpu": {name: round(cpu[name] / cpu["ours"], 2) if name in rate else None for name in others},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slide", type=Path, nargs="+", required=True)
    parser.add_argument("--patches", type=int, default=2000, help="at most, in each case")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = {
        path.name: {
            name: measure(path, case, args.repeats) for name, case in cases(path, args.patches).items()
        }
        for path in args.slide
    }
    print(json.dumps({"cache_bytes": CACHE_BYTES, "slides": found}, indent=2))


if __name__ == "__main__":
    main()
