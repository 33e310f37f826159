"""Peak memory of reading the bags of a cohort over and over, as a training does, and the time a bag takes.

    python tests/benchmarks/cohort.py --json [--slides 5 30] [--patches 10000] [--dim 1024] [--passes 3]

Bags of random features, half precision, one magnification, are made in a temporary folder. A process of its
own reads all of every bag, in random order, as often as told. Its peak is what the kernel says it was;
``over_gib`` is what it took over one that reads nothing, ``all_held_gib`` what the features of the whole
cohort would take.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import GIB, peak_of

from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags.cache import RECENT_BYTES, EncoderKey
from napari_zoommil.bags.grids import GridKey
from napari_zoommil.geometry import PatchGrid, PatchLevel, full_lattice

ENCODER, KEY = EncoderKey("made", "e" * 16), GridKey((20.0,), 256, 0.1, (0.5, 0.5), "made")


def make(folder: Path, slides: int, patches: int, dim: int) -> None:
    """A cohort of made slides."""
    cache, edge = FeatureCache(folder), int(np.ceil(patches**0.5))
    lattice = full_lattice((edge * 256, edge * 256), (256.0, 256.0))[:patches]
    parent, tissue = np.full(patches, -1), np.ones(patches, np.float32)
    level = PatchLevel.from_lattice(20.0, 0.5, (256.0, 256.0), lattice, parent, tissue)
    rng = np.random.default_rng(0)
    for number in range(slides):
        slide = f"{number:032x}"
        cache.keep_grid(slide, KEY, PatchGrid((edge * 256, edge * 256), 256, (level,)))
        group = cache.group(slide, ENCODER, level, 256)
        group.append(level.origins, rng.standard_normal((patches, dim), np.float32))


def read(folder: Path, slides: int, passes: int) -> None:
    """Read all of every bag, and print the seconds that one takes."""
    from napari_zoommil.bags import StoredBag

    cache, rng = FeatureCache(folder), np.random.default_rng(0)
    bags = [StoredBag(cache, f"{number:032x}", KEY, ENCODER) for number in range(slides)]
    started = time.perf_counter()
    for _ in range(passes):
        for number in rng.permutation(slides):
            rows = np.arange(len(bags[number].grid.levels[0]))
            bags[number].features(0, rows)
    seconds = (time.perf_counter() - started) / max(1, slides * passes)
    (folder / "seconds").write_text(str(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slides", type=int, nargs="+", default=[5, 30])
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        return read(args.read, args.slides[0], args.passes)
    results = []
    with tempfile.TemporaryDirectory() as work:
        make(Path(work), max(args.slides), args.patches, args.dim)
        for slides in (0, *args.slides):
            told = ["--slides", str(slides), "--passes", str(args.passes), "--read", work]
            peak, _ = peak_of([__file__, *told])
            seconds = float((Path(work) / "seconds").read_text())
            results.append(
                {"slides": slides, "peak_gib": round(peak, 3), "seconds_per_bag": round(seconds, 4)}
            )
            print(results[-1], file=sys.stderr, flush=True)
    base = results[0]["peak_gib"]
    for one in results:
        one["over_gib"] = round(one["peak_gib"] - base, 3)
        one["all_held_gib"] = round(one["slides"] * args.patches * args.dim * 2 / GIB, 3)
    print(json.dumps({"bound_gib": RECENT_BYTES / GIB, "results": results}, indent=2))


if __name__ == "__main__":
    main()
