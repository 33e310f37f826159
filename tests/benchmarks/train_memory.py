"""Peak memory of `train` by the number of slides.

    python tests/benchmarks/train_memory.py --json [--slides 20 200 1000] [--patches 10000] [--dim 1024]

`train` runs as a command, in a process of its own, for one epoch over stored features, with an ABMIL that
reads all of each bag, so that every feature of the cohort is read. Slides are small files of their own.
Their features are those of 16 made slides (half precision), to which the folders of all others are hard
links, so that 1,000 bags of 10,000 × 1,024 take 0.3 GB of disk. Memory does not profit from that: what is
read is remembered by its path; but reading is from the page cache. ``all_held_gib`` is what the features
of the cohort would take, ``over_gib`` what a run takes over that of the fewest slides.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile
from memory import GIB, peak_of

from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags.cache import RECENT_BYTES, EncoderKey
from napari_zoommil.encoders import load_encoder
from napari_zoommil.geometry import PatchGrid, PatchLevel, full_lattice
from napari_zoommil.jobs.features import grid_key
from napari_zoommil.slides import Slide

PATCH, MPP, ENCODER = 16, 0.5, "mean-rgb"
MADE = 16


def write_slide(path: Path, number: int, edge: int) -> None:
    """A slide that differs from all others."""
    pixels = np.full((edge, edge, 3), 200, np.uint8)
    pixels[0, :8] = np.frombuffer(number.to_bytes(8, "big"), np.uint8)[:, None]
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, photometric="rgb", compression="deflate", tile=(256, 256), **scale)


def make(folder: Path, slides: int, patches: int, dim: int) -> Path:
    """A cohort and its features; the tables are made for each number of slides."""
    cache, edge = FeatureCache(folder / "features"), int(np.ceil(patches**0.5))
    shape, size = (edge * PATCH, edge * PATCH), (float(PATCH), float(PATCH))
    lattice = full_lattice(shape, size)[:patches]
    parent, tissue = np.full(patches, -1), np.ones(patches, np.float32)
    level = PatchLevel.from_lattice(20.0, MPP, size, lattice, parent, tissue)
    key, rng = EncoderKey(ENCODER, load_encoder(ENCODER).hash), np.random.default_rng(0)
    made: list[Path] = []
    for number in range(slides):
        path = folder / f"{number}.tif"
        write_slide(path, number, edge * PATCH)
        with Slide.open(path) as slide:
            own = cache.folder / slide.fingerprint
            if number >= MADE:
                shutil.copytree(made[number % MADE], own, copy_function=os.link)
                continue
            cache.keep_grid(
                slide.fingerprint, grid_key(slide, (20.0,), PATCH, 0.1), PatchGrid(shape, PATCH, (level,))
            )
            features = rng.standard_normal((patches, dim), np.float32) + number % 2 / 10
            cache.group(slide.fingerprint, key, level, PATCH).append(level.origins, features)
            made.append(own)
    return cache.folder


def table(folder: Path, slides: int) -> Path:
    """Seven of ten slides train."""
    splits = ("train",) * 7 + ("val", "val", "test")
    rows = [f"{number}.tif,{'ab'[number % 2]},{splits[number // 2 % 10]}" for number in range(slides)]
    path = folder / f"{slides}.csv"
    path.write_text("\n".join(["slide,label,split", *rows]))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slides", type=int, nargs="+", default=[20, 200, 1000])
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--work", type=Path, default=None, help="folder on a disk that allows hard links")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        folder = Path(work)
        store = make(folder, max(args.slides), args.patches, args.dim)
        for slides in sorted(args.slides):
            command = ["-m", "napari_zoommil.cli", "train", str(table(folder, slides)), "--model", "abmil"]
            reading = ["--encoder", ENCODER, "--magnifications", "20", "--patch-size", str(PATCH)]
            small = ["--set", "hidden=64", "--set", "attention=32", "--epochs", "1", "--device", "cpu"]
            where = ["--store", str(store), "--out", str(folder / f"model-{slides}")]
            peak, seconds = peak_of([*command, *reading, *small, *where])
            results.append({"slides": slides, "peak_gib": round(peak, 3), "seconds": round(seconds, 1)})
            print(results[-1], file=sys.stderr, flush=True)
    for one in results:
        one["over_gib"] = round(one["peak_gib"] - results[0]["peak_gib"], 3)
        one["all_held_gib"] = round(one["slides"] * args.patches * args.dim * 2 / GIB, 3)
    print(json.dumps({"bound_gib": RECENT_BYTES / GIB, "results": results}, indent=2))


if __name__ == "__main__":
    main()
