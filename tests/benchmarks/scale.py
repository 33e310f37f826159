"""What it costs to serve patches at the resolution that is asked for, on a slide of nearly that resolution.

    python tests/benchmarks/scale.py --json --slide SLIDE [--share 0.972] [--patches 500] [--repeats 5]

The slide is read as if its pixel size were that of its nominal magnification, which needs no resampling,
and as if it were ``share`` times that: 0.972 makes 0.243 µm/px of 0.25. Both read the same file on one core,
in turns, with empty caches; patches per second are medians over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from napari_zoommil import Slide
from napari_zoommil.geometry import PatchGrid, mpp_of
from napari_zoommil.slides.patching import detect_tissue, patch_grid, read_patch
from napari_zoommil.slides.readers.tiles import TILES

SIZE = 256


def patches_of(path: Path, mpp: float, magnification: float) -> PatchGrid:
    with Slide.open(path, mpp) as slide:
        return patch_grid(slide, detect_tissue(slide), (magnification,), SIZE)


def rate(path: Path, mpp: float, grid: PatchGrid, count: int) -> float:
    """Patches per second of CPU time, from the middle of the grid."""
    TILES.clear()
    rows = range(len(grid.levels[0]))[max(0, (len(grid.levels[0]) - count) // 2) :][:count]
    with Slide.open(path, mpp) as slide:
        begin = time.process_time()
        for row in rows:
            read_patch(slide, grid, 0, row)
        return len(rows) / (time.process_time() - begin)


def compared(path: Path, share: float, count: int, repeats: int) -> dict[str, Any]:
    with Slide.open(path) as slide:
        if slide.magnification is None:
            raise SystemExit(f"{path.name} states no resolution")
        finest = slide.magnification
    found: dict[str, Any] = {}
    for magnification in (finest, finest / 2, finest / 8):
        mpps = {"right": mpp_of(finest), "near": mpp_of(finest) * share}
        grids = {name: patches_of(path, mpp, magnification) for name, mpp in mpps.items()}
        rates: dict[str, list[float]] = {name: [] for name in mpps}
        for _ in range(repeats):
            for name, mpp in mpps.items():
                rates[name].append(rate(path, mpp, grids[name], count))
        right, near = (median(rates[name]) for name in ("right", "near"))
        found[f"{magnification:g}x"] = {
            "served_mpp": {name: grid.levels[0].mpp for name, grid in grids.items()},
            "right_per_s": round(right),
            "near_per_s": round(near),
            "near_of_right": round(near / right, 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slide", type=Path, nargs="+", required=True)
    parser.add_argument("--share", type=float, default=0.972)
    parser.add_argument("--patches", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON document (always)")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = {path.name: compared(path, args.share, args.patches, args.repeats) for path in args.slide}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
