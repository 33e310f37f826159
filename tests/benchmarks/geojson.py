"""Large annotation files: reading 900,000 points, and renaming a class of 50,000.

    python tests/benchmarks/geojson.py --json [--points 900000] [--renamed 50000] [--file FILE]

Each part runs in a process of its own, whose peak of memory is told. The file is made here unless given.
Renaming includes saving the file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import numpy as np

from napari_zoommil.annotations import Autosave, Points

NAMES = ("tumour", "stroma", "other")


def make(path: Path, count: int) -> None:
    """Points as QuPath writes them, in three classes."""
    rng = np.random.default_rng(0)
    places, ids = rng.uniform(0, 80_000, (count, 2)).round(2), rng.bytes(16 * count)
    with path.open("w") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for row, (x, y) in enumerate(places.tolist()):
            id, name = UUID(bytes=ids[16 * row : 16 * row + 16]), NAMES[row % len(NAMES)]
            file.write(
                ("," if row else "")
                + f'\n{{"type":"Feature","id":"{id}","geometry":{{"type":"Point","coordinates":[{x},{y}]}},'
                f'"properties":{{"objectType":"annotation",'
                f'"classification":{{"name":"{name}","color":[200,0,0]}}}}}}'
            )
        file.write("\n]}\n")


def timed(do: object) -> dict[str, float]:
    """Seconds by the clock and of the processor, and the peak of memory."""
    began = time.perf_counter(), time.process_time()
    do()  # type: ignore[operator]
    return {
        "s": round(time.perf_counter() - began[0], 2),
        "cpu_s": round(time.process_time() - began[1], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def read(path: Path) -> dict[str, float]:
    return timed(lambda: Points.read(path)) | {"file_mb": round(path.stat().st_size / 1e6)}


def rename(count: int) -> dict[str, float]:
    """Of all points of one class, and as many of another."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        points = Autosave.open(Path(folder) / "a.points.geojson").points
        for label, name in enumerate(NAMES[:2], 1):
            points.add_class(name)
            points.add(rng.uniform(0, 80_000, (count, 2)), label)
        return timed(lambda: points.rename_class(1, "carcinoma"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--points", type=int, default=900_000)
    parser.add_argument("--renamed", type=int, default=50_000)
    parser.add_argument("--file", type=Path, default=None)
    parser.add_argument("--part", choices=("read", "rename"), default=None, help="in this process")
    args = parser.parse_args()
    if args.part:
        print(json.dumps(read(args.file) if args.part == "read" else rename(args.renamed)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "made.geojson"
        if args.file is None:
            make(path, args.points)
        found = {}
        for part in ("read", "rename"):
            command = [
                sys.executable,
                __file__,
                "--part",
                part,
                "--file",
                path,
                "--renamed",
                str(args.renamed),
            ]
            found[part] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
